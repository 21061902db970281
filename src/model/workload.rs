//! Workloads of a cluster.

use std::{collections::BTreeMap, fmt, str::FromStr, sync::Arc};

/// The kinds of workloads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum WorkloadKind {
    /// apps/v1 Deployment
    Deployment,
    /// apps/v1 StatefulSet
    StatefulSet,
    /// apps/v1 DaemonSet
    DaemonSet,
    /// batch/v1 Job
    Job,
    /// batch/v1 CronJob
    CronJob,
    /// v1 Pod
    Pod,
}

impl WorkloadKind {
    /// Every kind, in the order in which they are listed and counted.
    pub const ALL: [Self; 6] =
        [Self::Deployment, Self::StatefulSet, Self::DaemonSet, Self::Job, Self::CronJob, Self::Pod];

    /// As in Kubernetes: `StatefulSet`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Deployment => "Deployment",
            Self::StatefulSet => "StatefulSet",
            Self::DaemonSet => "DaemonSet",
            Self::Job => "Job",
            Self::CronJob => "CronJob",
            Self::Pod => "Pod",
        }
    }

    /// As in `WATCH_RESOURCES`: `statefulsets`.
    pub fn plural(self) -> &'static str {
        match self {
            Self::Deployment => "deployments",
            Self::StatefulSet => "statefulsets",
            Self::DaemonSet => "daemonsets",
            Self::Job => "jobs",
            Self::CronJob => "cronjobs",
            Self::Pod => "pods",
        }
    }

    /// The kind with this plural, in any case.
    pub fn from_plural(plural: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.plural().eq_ignore_ascii_case(plural))
    }
}

impl fmt::Display for WorkloadKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A text that is not the name of a kind of workload.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a kind of workload")]
pub struct UnknownKind(String);

impl FromStr for WorkloadKind {
    type Err = UnknownKind;

    fn from_str(text: &str) -> Result<Self, UnknownKind> {
        Self::ALL.into_iter().find(|kind| kind.name() == text).ok_or_else(|| UnknownKind(text.to_owned()))
    }
}

/// Identifies an object of the cluster.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct WorkloadId {
    /// Its kind.
    pub kind: WorkloadKind,
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

/// `deployment ns/name`
impl fmt::Display for WorkloadId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}/{}", self.kind.name().to_ascii_lowercase(), self.namespace, self.name)
    }
}

/// A controller that owns an object.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Owner {
    /// The API group; empty for the core group.
    pub group: String,
    /// The kind, not necessarily one of [`WorkloadKind`].
    pub kind: String,
    /// The name; it is in the same namespace.
    pub name: String,
}

/// An object that runs containers, with everything that plugins get.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Workload {
    /// The object.
    pub id: WorkloadId,
    /// Its uid; empty if a manifest file has none.
    pub uid: String,
    /// Its chain of owning controllers, nearest first.
    pub owners: Vec<Owner>,
    /// The object's own labels, not its template's.
    pub labels: BTreeMap<String, String>,
    /// The object's annotations, limited as the plugin contract defines.
    pub annotations: BTreeMap<String, String>,
    /// The labels of its namespace, if they can be read; shared by all workloads of the namespace.
    pub namespace_labels: Arc<BTreeMap<String, String>>,
    /// When it was created, in seconds since 1970; 0 if a manifest file does not say.
    pub created: i64,
}
