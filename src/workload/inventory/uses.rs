//! The image uses of one workload.

use std::{
    cmp::Reverse,
    collections::{HashMap, HashSet},
    hash::{BuildHasher, Hash, Hasher as _, RandomState},
    sync::Arc,
};

use super::{
    Inventory, ObjectKey, ObjectKind,
    record::{ContainerKey, ContainerRecord, Record},
};
use crate::model::{Container, ImageUse, Owner, PullSecretRefs, Running, Workload, WorkloadId, WorkloadKind};

impl Inventory {
    /// The image uses of the workload `root`: its own containers, then those that only its descendants have.
    pub(super) fn uses(&self, root: &ObjectKey, id: WorkloadId) -> Vec<ImageUse> {
        let Some(record) = self.objects.get(root) else { return Vec::new() };
        let descendants = self.descendants(root);
        let members = || descendants.iter().filter_map(|key| Some((key, self.objects.get(key)?)));

        let mut containers: Vec<&ContainerRecord> = record.containers.iter().collect();
        let mut indexes: HashMap<ContainerKey<'_>, usize> =
            containers.iter().copied().map(ContainerRecord::key).zip(0..).collect();
        let mut extra: Vec<&ContainerRecord> = members()
            .flat_map(|(_, member)| &member.containers)
            .filter(|container| !indexes.contains_key(&container.key()))
            .collect();
        extra.sort_by_key(|container| container.key());
        extra.dedup_by_key(|container| container.key());
        for container in extra {
            indexes.insert(container.key(), containers.len());
            containers.push(container);
        }

        let mut pods: Vec<(&ObjectKey, &Record)> =
            members().filter(|(key, _)| key.kind == ObjectKind::Workload(WorkloadKind::Pod)).collect();
        pods.sort_by_key(|(key, pod)| (Reverse(pod.created), &key.name));
        let mut running: Vec<RunningImages<'_>> = containers.iter().map(|_| RunningImages::default()).collect();
        for (_, pod) in &pods {
            for container in &pod.containers {
                let index = indexes.get(&container.key()).copied();
                if let Some(running) = index.and_then(|index| running.get_mut(index)) {
                    running.add(container.running.as_deref(), pod);
                }
            }
        }
        // A template names the secrets for all of its containers, also for those that only its Pods have.
        let templates = || members().filter(|(key, _)| key.kind != ObjectKind::Workload(WorkloadKind::Pod));
        let of_templates: Vec<&Arc<PullSecretRefs>> = [record]
            .into_iter()
            .chain(templates().map(|(_, member)| member))
            .filter_map(|member| member.pull_secrets.as_ref())
            .collect();

        let workload = Arc::new(self.workload(root, record, id));
        containers
            .into_iter()
            .zip(running)
            .filter(|(container, _)| self.keep_missing_images || !container.image.is_empty())
            .map(|(container, running)| ImageUse {
                platforms: self.nodes.as_ref().and_then(|nodes| nodes.needed(running.nodes.into_iter())),
                pull_secrets: without_duplicates(running.pull_secrets.into_iter().chain(of_templates.iter().copied())),
                workload: Arc::clone(&workload),
                container: Container { name: container.name.to_string(), kind: container.kind },
                image: container.image.to_string(),
                running: running
                    .images
                    .into_iter()
                    .filter_map(|(text, since)| Some(Running { image: text.parse().ok()?, since }))
                    .collect(),
            })
            .collect()
    }

    fn workload(&self, key: &ObjectKey, record: &Record, id: WorkloadId) -> Workload {
        let namespace_labels = self.namespaces.as_ref().and_then(|namespaces| namespaces.get(&key.namespace));
        Workload {
            id,
            uid: record.uid.to_string(),
            owners: self.owners(key, record),
            labels: record.labels.to_map(),
            annotations: record.annotations.to_map(),
            namespace_labels: namespace_labels.cloned().unwrap_or_default(),
            created: record.created,
        }
    }

    /// The known chain of controllers, nearest first.
    fn owners(&self, key: &ObjectKey, record: &Record) -> Vec<Owner> {
        let mut owners = Vec::new();
        let mut next = Some((key.clone(), record));
        while let Some((key, record)) = next {
            owners.extend(record.controller.as_ref().map(super::record::Controller::to_owner));
            next = record.parent(&key).and_then(|parent| {
                let record = self.objects.get(&parent)?;
                Some((parent, record))
            });
        }
        owners
    }
}

/// How many different lists of pull secrets one image use has at most, and how many of them its Pods have: the rest are those
/// of old revisions.
const MAX_REFS: usize = 8;
const MAX_REFS_OF_PODS: usize = 4;

fn without_duplicates<'a>(refs: impl Iterator<Item = &'a Arc<PullSecretRefs>>) -> Vec<Arc<PullSecretRefs>> {
    let mut seen: Vec<Arc<PullSecretRefs>> = Vec::new();
    for refs in refs {
        if seen.len() == MAX_REFS {
            break;
        }
        if !seen.contains(refs) {
            seen.push(Arc::clone(refs));
        }
    }
    seen
}

/// The images that the Pods of a workload run in one container, and the nodes of these Pods.
#[derive(Default)]
struct RunningImages<'a> {
    /// Each with the creation time of the newest Pod that runs it; newest first.
    images: Vec<(&'a str, i64)>,
    seen: HashSet<&'a str>,
    nodes: HashSet<Option<&'a str>>,
    /// The newest Pod's first, without most duplicates.
    pull_secrets: Vec<&'a Arc<PullSecretRefs>>,
}

impl<'a> RunningImages<'a> {
    /// Adds a Pod's container; Pods come newest first.
    fn add(&mut self, image: Option<&'a str>, pod: &'a Record) {
        self.nodes.insert(pod.node.as_deref());
        if let Some(refs) = &pod.pull_secrets
            && self.pull_secrets.len() < MAX_REFS_OF_PODS
            && !self.pull_secrets.contains(&refs)
        {
            self.pull_secrets.push(refs);
        }
        if let Some(image) = image
            && self.seen.insert(image)
        {
            self.images.push((image, pod.created));
        }
    }
}

/// A hash of everything in the image uses of one workload that is reported. Its key is random for each inventory, so
/// nobody can construct a collision.
pub(super) fn fingerprint(hasher: &RandomState, uses: &[ImageUse]) -> u64 {
    let mut state = hasher.build_hasher();
    if let Some(first) = uses.first() {
        let Workload { id, uid, owners, labels, annotations, namespace_labels, created } = first.workload.as_ref();
        (id, uid, owners, labels, annotations, namespace_labels, created).hash(&mut state);
    }
    for ImageUse { workload: _, container, image, running, platforms, pull_secrets } in uses {
        (container, image, platforms, pull_secrets).hash(&mut state);
        // A newer Pod with the same image is not a change.
        for Running { image, since: _ } in running {
            image.hash(&mut state);
        }
    }
    state.finish()
}
