//! What is read from the API server, and in which namespaces.

use std::fmt;

use k8s_openapi::api::{
    apps::v1::{DaemonSet, Deployment, ReplicaSet, StatefulSet},
    batch::v1::{CronJob, Job},
    core::v1::{Namespace, Node, Pod},
};
use kube::api::ApiResource;

use super::inventory::{ObjectKind, intermediate_kinds};
use crate::model::{PullSecretScope, WorkloadKind};

/// Owners come after what they own: a new Pod is then never seen without its new owner.
const OWNERS_LAST: [ObjectKind; 7] = [
    ObjectKind::Workload(WorkloadKind::Pod),
    ObjectKind::ReplicaSet,
    ObjectKind::Workload(WorkloadKind::Job),
    ObjectKind::Workload(WorkloadKind::CronJob),
    ObjectKind::Workload(WorkloadKind::DaemonSet),
    ObjectKind::Workload(WorkloadKind::StatefulSet),
    ObjectKind::Workload(WorkloadKind::Deployment),
];

/// The namespaces whose workloads are read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Namespaces {
    /// All, with cluster-wide requests.
    All,
    /// These, with requests to each, so that a Role in each is sufficient.
    Named(Vec<String>),
}

/// What to watch or list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WatchSettings {
    /// The namespaces.
    pub namespaces: Namespaces,
    /// The kinds of workloads whose images are mirrored. ReplicaSets, Jobs and Namespaces are read as well, as far as
    /// owners and namespace labels require.
    pub resources: Vec<WorkloadKind>,
    /// Whether to read nodes too, so that image uses carry the platforms that they need.
    pub nodes: bool,
    /// The namespaces whose image uses carry the pull secrets that may open them.
    pub pull_secrets: PullSecretScope,
}

/// A kind of API object that is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ResourceKind {
    /// Objects that go into the inventory.
    Objects { kind: ObjectKind, metadata_only: bool },
    /// Namespaces, for their labels.
    Namespaces,
    /// Nodes, for their labels.
    Nodes,
}

impl ResourceKind {
    /// Whether only metadata is requested.
    pub fn is_metadata_only(self) -> bool {
        match self {
            Self::Objects { metadata_only, .. } => metadata_only,
            Self::Namespaces | Self::Nodes => true,
        }
    }

    pub fn api_resource(self) -> ApiResource {
        match self {
            Self::Namespaces => ApiResource::erase::<Namespace>(&()),
            Self::Nodes => ApiResource::erase::<Node>(&()),
            Self::Objects { kind: ObjectKind::ReplicaSet, .. } => ApiResource::erase::<ReplicaSet>(&()),
            Self::Objects { kind: ObjectKind::Workload(kind), .. } => match kind {
                WorkloadKind::Deployment => ApiResource::erase::<Deployment>(&()),
                WorkloadKind::StatefulSet => ApiResource::erase::<StatefulSet>(&()),
                WorkloadKind::DaemonSet => ApiResource::erase::<DaemonSet>(&()),
                WorkloadKind::Job => ApiResource::erase::<Job>(&()),
                WorkloadKind::CronJob => ApiResource::erase::<CronJob>(&()),
                WorkloadKind::Pod => ApiResource::erase::<Pod>(&()),
            },
        }
    }
}

/// A kind of API object, in one namespace or in all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct WatchScope {
    pub resource: ResourceKind,
    pub namespace: Option<String>,
}

impl WatchSettings {
    /// Everything to read, owners after what they own.
    pub(super) fn scopes(&self) -> Vec<WatchScope> {
        let intermediate_kinds = intermediate_kinds(&self.resources);
        let resources = OWNERS_LAST.into_iter().filter_map(|kind| {
            let is_watched = matches!(kind, ObjectKind::Workload(workload) if self.resources.contains(&workload));
            let is_read = is_watched || intermediate_kinds.contains(&kind);
            is_read.then_some(ResourceKind::Objects { kind, metadata_only: !is_watched })
        });
        let mut namespaces: Vec<Option<String>> = match &self.namespaces {
            Namespaces::All => vec![None],
            Namespaces::Named(names) => names.iter().cloned().map(Some).collect(),
        };
        namespaces.sort();
        namespaces.dedup();
        let objects = resources.flat_map(|resource| {
            namespaces.iter().map(move |namespace| WatchScope { resource, namespace: namespace.clone() })
        });
        let nodes = self.nodes.then_some(WatchScope { resource: ResourceKind::Nodes, namespace: None });
        objects.chain([WatchScope { resource: ResourceKind::Namespaces, namespace: None }]).chain(nodes).collect()
    }
}

impl WatchScope {
    /// The plural in the API's paths and in RBAC rules.
    pub fn plural(&self) -> &'static str {
        match self.resource {
            ResourceKind::Objects { kind: ObjectKind::Workload(kind), .. } => kind.plural(),
            ResourceKind::Objects { kind: ObjectKind::ReplicaSet, .. } => "replicasets",
            ResourceKind::Namespaces => "namespaces",
            ResourceKind::Nodes => "nodes",
        }
    }

    /// The API group in RBAC rules.
    pub fn group(&self) -> &'static str {
        match self.resource {
            ResourceKind::Objects { kind: ObjectKind::Workload(WorkloadKind::Pod), .. }
            | ResourceKind::Namespaces
            | ResourceKind::Nodes => "",
            ResourceKind::Objects { kind: ObjectKind::Workload(WorkloadKind::Job | WorkloadKind::CronJob), .. } => {
                "batch"
            }
            ResourceKind::Objects { .. } => "apps",
        }
    }

    /// The permission that an administrator has to grant.
    pub fn rule(&self) -> String {
        let group = self.group();
        let role = match &self.namespace {
            Some(namespace) => format!("a Role in namespace {namespace}"),
            None => "a ClusterRole".to_owned(),
        };
        format!("grant list and watch on {} (API group {group:?}) with {role}", self.plural())
    }
}

/// `deployments in namespace shop`
impl fmt::Display for WatchScope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.namespace {
            Some(namespace) => write!(f, "{} in namespace {namespace}", self.plural()),
            None if matches!(self.resource, ResourceKind::Namespaces | ResourceKind::Nodes) => {
                f.write_str(self.plural())
            }
            None => write!(f, "{} in all namespaces", self.plural()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scopes(namespaces: Namespaces, resources: &[WorkloadKind]) -> Vec<String> {
        let settings = WatchSettings {
            namespaces,
            resources: resources.to_vec(),
            nodes: false,
            pull_secrets: PullSecretScope::Off,
        };
        settings.scopes().iter().map(WatchScope::to_string).collect()
    }

    #[test]
    fn owners_are_read_after_their_dependents_and_only_if_needed() {
        let everywhere = |resources: &[WorkloadKind]| {
            let text = scopes(Namespaces::All, resources).join(", ");
            text.replace(" in all namespaces", "")
        };
        assert_eq!(
            everywhere(&WorkloadKind::ALL),
            "pods, replicasets, jobs, cronjobs, daemonsets, statefulsets, deployments, namespaces"
        );
        assert_eq!(everywhere(&[WorkloadKind::Pod]), "pods, replicasets, jobs, namespaces");
        assert_eq!(everywhere(&[WorkloadKind::Deployment, WorkloadKind::Job]), "jobs, deployments, namespaces");
    }

    #[test]
    fn named_namespaces_are_read_one_by_one() {
        let names = ["b", "a", "b"].map(str::to_owned).to_vec();
        assert_eq!(
            scopes(Namespaces::Named(names), &[WorkloadKind::Job]),
            ["jobs in namespace a", "jobs in namespace b", "namespaces"]
        );
        assert_eq!(scopes(Namespaces::Named(Vec::new()), &[WorkloadKind::Job]), ["namespaces"]);
    }

    #[test]
    fn intermediate_kinds_are_read_as_metadata_only() {
        let settings = WatchSettings {
            namespaces: Namespaces::All,
            resources: vec![WorkloadKind::Pod],
            nodes: true,
            pull_secrets: PullSecretScope::Off,
        };
        let metadata: Vec<_> = settings
            .scopes()
            .iter()
            .filter_map(|scope| match scope.resource {
                ResourceKind::Objects { metadata_only, .. } => Some((scope.plural(), metadata_only)),
                ResourceKind::Namespaces | ResourceKind::Nodes => None,
            })
            .collect();
        assert_eq!(metadata, [("pods", false), ("replicasets", true), ("jobs", true)]);
    }
}
