//! The stored part of an object.

use std::{
    collections::{HashMap, HashSet},
    fmt,
    sync::Arc,
};

use super::intern::{Interner, Pairs};
use crate::{
    model::{ContainerKind, Owner, PullSecretRefs, Reference, WorkloadKind},
    workload::object::{Object, Spec, Status},
};

/// The kinds of objects that are stored: workloads, and ReplicaSets between Pods and Deployments.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(in crate::workload) enum ObjectKind {
    Workload(WorkloadKind),
    ReplicaSet,
}

impl ObjectKind {
    pub fn workload(self) -> Option<WorkloadKind> {
        match self {
            Self::Workload(kind) => Some(kind),
            Self::ReplicaSet => None,
        }
    }

    /// The kind in an owner reference, if Pods, ReplicaSets or Jobs are counted under it.
    fn of_owner(group: &str, kind: &str) -> Option<Self> {
        match (group, kind) {
            ("apps", "Deployment") => Some(Self::Workload(WorkloadKind::Deployment)),
            ("apps", "StatefulSet") => Some(Self::Workload(WorkloadKind::StatefulSet)),
            ("apps", "DaemonSet") => Some(Self::Workload(WorkloadKind::DaemonSet)),
            ("apps", "ReplicaSet") => Some(Self::ReplicaSet),
            ("batch", "Job") => Some(Self::Workload(WorkloadKind::Job)),
            ("batch", "CronJob") => Some(Self::Workload(WorkloadKind::CronJob)),
            _ => None,
        }
    }

    /// Whether the controller of kind `owner` creates objects of this kind. There are no cycles, so a chain of owners ends.
    fn is_counted_under(self, owner: Self) -> bool {
        use WorkloadKind::{CronJob, DaemonSet, Deployment, Job, Pod, StatefulSet};
        match self {
            Self::Workload(Pod) => {
                matches!(owner, Self::ReplicaSet | Self::Workload(Deployment | StatefulSet | DaemonSet | Job))
            }
            Self::ReplicaSet => owner == Self::Workload(Deployment),
            Self::Workload(Job) => owner == Self::Workload(CronJob),
            Self::Workload(Deployment | StatefulSet | DaemonSet | CronJob) => false,
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(in crate::workload) struct ObjectKey {
    pub kind: ObjectKind,
    pub namespace: Arc<str>,
    pub name: Arc<str>,
}

impl fmt::Display for ObjectKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.kind {
            ObjectKind::Workload(kind) => write!(f, "{kind} {}/{}", self.namespace, self.name),
            ObjectKind::ReplicaSet => write!(f, "ReplicaSet {}/{}", self.namespace, self.name),
        }
    }
}

/// The longest name of an object or a kind. The API server does not enforce it in owner references.
const MAX_NAME: usize = 253;

/// The stored part of an object.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Record {
    pub uid: Box<str>,
    /// In seconds since the Unix epoch.
    pub created: i64,
    pub labels: Pairs,
    pub annotations: Pairs,
    pub controller: Option<Controller>,
    pub containers: Box<[ContainerRecord]>,
    /// The node of a Pod.
    pub node: Option<Arc<str>>,
    /// The pull secrets for its containers, if those of its namespace are used.
    pub pull_secrets: Option<Arc<PullSecretRefs>>,
}

/// The controller that an object names as its owner.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Controller {
    group: Arc<str>,
    kind: Arc<str>,
    name: Arc<str>,
}

impl Controller {
    pub fn to_owner(&self) -> Owner {
        Owner { group: self.group.to_string(), kind: self.kind.to_string(), name: self.name.to_string() }
    }
}

/// A container or an image volume.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ContainerRecord {
    pub kind: ContainerKind,
    pub name: Arc<str>,
    pub image: Arc<str>,
    /// The running image: a valid reference with a digest. Stored as text, because thousands of Pods share it.
    pub running: Option<Arc<str>>,
}

impl ContainerRecord {
    /// Distinguishes it within its workload: the same container with another image is another image use.
    pub fn key(&self) -> ContainerKey<'_> {
        (self.kind, &self.name, &self.image)
    }
}

/// ObjectKind, name and image of a container.
pub(super) type ContainerKey<'a> = (ContainerKind, &'a str, &'a str);

impl Record {
    /// The record of an object. If its kind is not watched, only its controller is stored.
    pub fn new(kind: ObjectKind, is_watched: bool, object: &Object, interner: &mut Interner) -> Self {
        let meta = &object.metadata;
        let controller = meta.owner_references.iter().flatten().find(|owner| owner.controller == Some(true));
        // No object has a longer name.
        let controller = controller.filter(|owner| {
            [&owner.api_version, &owner.kind, &owner.name].into_iter().all(|text| text.len() <= MAX_NAME)
        });
        let controller = controller.map(|owner| Controller {
            group: interner.text(owner.api_version.split_once('/').map_or("", |(group, _)| group)),
            kind: interner.text(&owner.kind),
            name: interner.text(&owner.name),
        });
        let Some(workload) = kind.workload().filter(|_| is_watched) else {
            return Self {
                uid: Box::default(),
                created: 0,
                labels: Pairs::default(),
                annotations: Pairs::default(),
                controller,
                containers: Box::default(),
                node: None,
                pull_secrets: None,
            };
        };
        Self {
            uid: meta.uid.as_deref().unwrap_or_default().into(),
            created: meta.creation_timestamp.as_ref().map_or(0, |time| time.0.as_second()),
            labels: interner.pairs(object.bounded_labels()),
            annotations: interner.pairs(object.bounded_annotations()),
            controller,
            containers: containers(workload, object, interner),
            node: object.spec.as_ref().and_then(Spec::node).map(|node| interner.text(node)),
            pull_secrets: None,
        }
    }

    /// Adds the pull secrets of an object of this kind in this namespace.
    pub fn with_pull_secrets(
        mut self,
        kind: ObjectKind,
        namespace: &str,
        object: &Object,
        interner: &mut Interner,
    ) -> Self {
        let spec = kind.workload().filter(|_| !self.containers.is_empty()).and_then(|kind| object.pod_spec(kind));
        self.pull_secrets = spec.and_then(|spec| {
            let secrets = spec.pull_secrets().to_vec();
            // Admission has given a Pod those of its ServiceAccount, if it named none itself.
            let is_pod = kind == ObjectKind::Workload(WorkloadKind::Pod);
            let service_account = (secrets.is_empty() && !is_pod).then(|| spec.service_account().unwrap_or("default"));
            if secrets.is_empty() && service_account.is_none() {
                return None;
            }
            let service_account = service_account.map(str::to_owned);
            Some(interner.refs(PullSecretRefs { namespace: namespace.to_owned(), service_account, secrets }))
        });
        self
    }

    /// The owner that this object is counted under.
    pub fn parent(&self, key: &ObjectKey) -> Option<ObjectKey> {
        let controller = self.controller.as_ref()?;
        let kind = ObjectKind::of_owner(&controller.group, &controller.kind)?;
        key.kind.is_counted_under(kind).then(|| ObjectKey {
            kind,
            namespace: Arc::clone(&key.namespace),
            name: Arc::clone(&controller.name),
        })
    }

    /// Keeps running images of the earlier state if the same object reports none now, as during a container restart.
    pub fn keep_running_images(&mut self, earlier: &Self) {
        if self.uid != earlier.uid {
            return;
        }
        if self.containers.iter().all(|container| container.running.is_some()) {
            return;
        }
        let running = |before: &'_ ContainerRecord| before.running.clone();
        let before: HashMap<ContainerKey<'_>, _> =
            earlier.containers.iter().filter_map(|before| Some((before.key(), running(before)?))).collect();
        for container in self.containers.iter_mut().filter(|container| container.running.is_none()) {
            container.running = before.get(&container.key()).cloned();
        }
    }
}

fn containers(kind: WorkloadKind, object: &Object, interner: &mut Interner) -> Box<[ContainerRecord]> {
    let image_ids = object.status.as_ref().map(Status::image_ids).unwrap_or_default();
    let mut containers: Vec<ContainerRecord> = Vec::new();
    let mut seen: HashSet<ContainerKey<'_>> = HashSet::new();
    for (kind, container) in object.pod_spec(kind).into_iter().flat_map(Spec::containers) {
        let (name, image) = (container.name.0.trim(), container.image.0.trim());
        if !seen.insert((kind, name, image)) {
            continue;
        }
        let image_id = image_ids.get(&(kind, name)).copied();
        containers.push(ContainerRecord {
            kind,
            name: interner.text(name),
            image: interner.text(image),
            running: image_id.and_then(running).map(|running| interner.text(running)),
        });
    }
    containers.into()
}

/// The reference in an `imageID` such as `docker-pullable://nginx@sha256:…`; none for a bare image ID, which is unknown to
/// registries.
fn running(image_id: &str) -> Option<&str> {
    let text = image_id.rsplit_once("://").map_or(image_id, |(_, reference)| reference).trim();
    text.parse::<Reference>().ok()?.digest().map(|_| text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_image_ids_with_a_registry_digest_are_read() {
        let digest = format!("sha256:{}", "0a".repeat(32));
        for (image_id, read) in [
            (format!("docker.io/library/nginx@{digest}"), Some(format!("docker.io/library/nginx@{digest}"))),
            (format!("docker-pullable://q.io/app@{digest}"), Some(format!("q.io/app@{digest}"))),
            (digest.clone(), None),
            (format!("docker://{digest}"), None),
            ("docker.io/library/nginx:1".to_owned(), None),
            (String::new(), None),
        ] {
            assert_eq!(running(&image_id), read.as_deref(), "{image_id}");
        }
    }
}
