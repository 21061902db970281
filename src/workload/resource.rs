//! What is read from the API server, and where.

use std::fmt;

use futures::stream::BoxStream;
use kube::{Client, runtime::watcher};

use super::{
    api::{List, ListFault, Watch, status, with_api},
    inventory::{Kind, links},
    object::Object,
};
use crate::model::WorkloadKind;

/// Owners after what they own: when one is listed after the other, a new Pod is not seen without its new owner.
const UPWARDS: [Kind; 7] = [
    Kind::Workload(WorkloadKind::Pod),
    Kind::ReplicaSet,
    Kind::Workload(WorkloadKind::Job),
    Kind::Workload(WorkloadKind::CronJob),
    Kind::Workload(WorkloadKind::DaemonSet),
    Kind::Workload(WorkloadKind::StatefulSet),
    Kind::Workload(WorkloadKind::Deployment),
];

/// Where workloads are looked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Namespaces {
    /// Everywhere, by cluster-wide requests.
    All,
    /// In these, by requests to each, so that a Role in each is enough.
    Named(Vec<String>),
}

/// What is watched or listed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WatchSettings {
    /// Where.
    pub namespaces: Namespaces,
    /// The kinds of workloads that count. ReplicaSets, Jobs and Namespaces are read besides as far as owners and
    /// labels need it.
    pub resources: Vec<WorkloadKind>,
    /// Whether nodes are read too, so that uses tell the platforms that they need.
    pub nodes: bool,
}

/// A kind of objects that is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Read {
    /// Objects that go into the inventory; of links only the metadata.
    Objects { kind: Kind, metadata_only: bool },
    /// The labels of namespaces.
    Namespaces,
    /// The labels of nodes.
    Nodes,
}

/// A kind of objects in one namespace or everywhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Part {
    pub read: Read,
    pub namespace: Option<String>,
}

impl WatchSettings {
    /// All that is to be read, owners after what they own.
    pub(super) fn parts(&self) -> Vec<Part> {
        let links = links(&self.resources);
        let reads = UPWARDS.into_iter().filter_map(|kind| {
            let is_counted = matches!(kind, Kind::Workload(workload) if self.resources.contains(&workload));
            let is_read = is_counted || links.contains(&kind);
            is_read.then_some(Read::Objects { kind, metadata_only: !is_counted })
        });
        let mut namespaces: Vec<Option<String>> = match &self.namespaces {
            Namespaces::All => vec![None],
            Namespaces::Named(names) => names.iter().cloned().map(Some).collect(),
        };
        namespaces.sort();
        namespaces.dedup();
        let objects =
            reads.flat_map(|read| namespaces.iter().map(move |namespace| Part { read, namespace: namespace.clone() }));
        let nodes = self.nodes.then_some(Part { read: Read::Nodes, namespace: None });
        objects.chain([Part { read: Read::Namespaces, namespace: None }]).chain(nodes).collect()
    }
}

impl Part {
    /// As the API calls these objects.
    pub fn plural(&self) -> &'static str {
        match self.read {
            Read::Objects { kind: Kind::Workload(kind), .. } => kind.plural(),
            Read::Objects { kind: Kind::ReplicaSet, .. } => "replicasets",
            Read::Namespaces => "namespaces",
            Read::Nodes => "nodes",
        }
    }

    /// What an administrator has to grant.
    pub fn rule(&self) -> String {
        let group = match self.read {
            Read::Objects { kind: Kind::Workload(WorkloadKind::Pod), .. } | Read::Namespaces | Read::Nodes => "",
            Read::Objects { kind: Kind::Workload(WorkloadKind::Job | WorkloadKind::CronJob), .. } => "batch",
            Read::Objects { .. } => "apps",
        };
        let role = match &self.namespace {
            Some(namespace) => format!("a Role in namespace {namespace}"),
            None => "a ClusterRole".to_owned(),
        };
        format!("grant list and watch on {} (API group {group:?}) by {role}", self.plural())
    }

    /// Watches for ever; after an error it waits, a minute at most, and goes on.
    pub fn watch(&self, client: &Client) -> BoxStream<'static, watcher::Result<watcher::Event<Object<()>>>> {
        with_api(self, client, Watch)
    }

    /// Lists once and hands each object to `take`; when the list changes while it is read, some of them twice.
    pub async fn list(&self, client: &Client, take: &mut (dyn FnMut(Object<()>) + Send)) -> Result<(), ListError> {
        with_api(self, client, List { take }).await.map_err(|fault| ListError {
            part: self.to_string(),
            rule: self.rule(),
            fault,
        })
    }
}

/// `deployments in namespace shop`
impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.namespace {
            Some(namespace) => write!(f, "{} in namespace {namespace}", self.plural()),
            None if matches!(self.read, Read::Namespaces | Read::Nodes) => f.write_str(self.plural()),
            None => write!(f, "{} in all namespaces", self.plural()),
        }
    }
}

/// A list that the API server did not give.
#[derive(Debug, thiserror::Error)]
#[error("cannot list {part}: {fault}{}", self.remedy())]
pub struct ListError {
    part: String,
    rule: String,
    #[source]
    fault: ListFault,
}

impl ListError {
    /// Whether the same list may be given later without anybody's doing.
    pub fn can_pass(&self) -> bool {
        match &self.fault {
            ListFault::Api(error) => status(error).is_none_or(|code| code == 429 || code >= 500),
            ListFault::Deadline => true,
        }
    }

    /// Whether the right to list is missing.
    pub(super) fn is_forbidden(&self) -> bool {
        matches!(&self.fault, ListFault::Api(error) if status(error) == Some(403))
    }

    fn remedy(&self) -> String {
        if self.is_forbidden() { format!("; {}", self.rule) } else { String::new() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(namespaces: Namespaces, resources: &[WorkloadKind]) -> Vec<String> {
        let settings = WatchSettings { namespaces, resources: resources.to_vec(), nodes: false };
        settings.parts().iter().map(Part::to_string).collect()
    }

    #[test]
    fn owners_are_read_after_what_they_own_and_only_where_they_are_needed() {
        let everywhere = |resources: &[WorkloadKind]| {
            let text = parts(Namespaces::All, resources).join(", ");
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
    fn named_namespaces_are_asked_one_by_one() {
        let names = ["b", "a", "b"].map(str::to_owned).to_vec();
        assert_eq!(
            parts(Namespaces::Named(names), &[WorkloadKind::Job]),
            ["jobs in namespace a", "jobs in namespace b", "namespaces"]
        );
        assert_eq!(parts(Namespaces::Named(Vec::new()), &[WorkloadKind::Job]), ["namespaces"]);
    }

    #[test]
    fn only_the_metadata_of_links_is_read() {
        let settings = WatchSettings { namespaces: Namespaces::All, resources: vec![WorkloadKind::Pod], nodes: true };
        let metadata: Vec<_> = settings
            .parts()
            .iter()
            .filter_map(|part| match part.read {
                Read::Objects { metadata_only, .. } => Some((part.plural(), metadata_only)),
                Read::Namespaces | Read::Nodes => None,
            })
            .collect();
        assert_eq!(metadata, [("pods", false), ("replicasets", true), ("jobs", true)]);
    }

    #[test]
    fn a_missing_right_is_told_with_its_remedy() {
        let part =
            Part { read: Read::Objects { kind: Kind::ReplicaSet, metadata_only: true }, namespace: Some("a".into()) };
        let status = kube::core::Status { code: 403, message: "no".to_owned(), ..Default::default() };
        let fault = ListFault::Api(Box::new(kube::Error::Api(Box::new(status))));
        let error = ListError { part: part.to_string(), rule: part.rule(), fault };
        assert!(!error.can_pass());
        assert_eq!(
            error.to_string(),
            "cannot list replicasets in namespace a: no; \
             grant list and watch on replicasets (API group \"apps\") by a Role in namespace a"
        );
    }
}
