//! What runs containers in a cluster.

use std::{collections::BTreeMap, fmt, str::FromStr, sync::Arc};

/// The kinds that are watched.
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
    /// Every kind, in the order in which the original lists them.
    pub const ALL: [Self; 6] =
        [Self::Deployment, Self::StatefulSet, Self::DaemonSet, Self::Job, Self::CronJob, Self::Pod];

    /// As Kubernetes writes it: `StatefulSet`.
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

    /// As `WATCH_RESOURCES` writes it: `statefulsets`.
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

    /// The kind of that plural, in any case; nothing for a name that is no watched kind.
    pub fn from_plural(plural: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.plural().eq_ignore_ascii_case(plural))
    }
}

impl fmt::Display for WorkloadKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A text that is not the name of a watched kind.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a watched kind")]
pub struct UnknownKind(String);

impl FromStr for WorkloadKind {
    type Err = UnknownKind;

    fn from_str(text: &str) -> Result<Self, UnknownKind> {
        Self::ALL.into_iter().find(|kind| kind.name() == text).ok_or_else(|| UnknownKind(text.to_owned()))
    }
}

/// Which object of the cluster.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct WorkloadId {
    /// Its kind.
    pub kind: WorkloadKind,
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

/// `deployment ns/name`, as the original writes it in its answers.
impl fmt::Display for WorkloadId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}/{}", self.kind.name().to_ascii_lowercase(), self.namespace, self.name)
    }
}

/// A controller that made an object.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Owner {
    /// API group, empty for the core group.
    pub group: String,
    /// Kind, which need not be a watched one.
    pub kind: String,
    /// Name, in the namespace of what it owns.
    pub name: String,
}

/// An object that runs containers, with all that a policy may ask of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Workload {
    /// Which object.
    pub id: WorkloadId,
    /// Its uid; empty where a manifest file says none.
    pub uid: String,
    /// The chain of controllers that made it, nearest first.
    pub owners: Vec<Owner>,
    /// The object's own labels, not its template's.
    pub labels: BTreeMap<String, String>,
    /// The object's annotations, bounded as the plugin contract says.
    pub annotations: BTreeMap<String, String>,
    /// The labels of its namespace, where they can be read; all workloads of a namespace share them.
    pub namespace_labels: Arc<BTreeMap<String, String>>,
    /// When it was made, in seconds since 1970; 0 where a manifest file says nothing.
    pub created: i64,
}
