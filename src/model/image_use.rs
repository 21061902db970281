//! One container and the image it runs.

use std::{collections::BTreeSet, fmt, sync::Arc};

use super::{Platform, Reference, Workload};

/// Which list of a pod's specification a container stands in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ContainerKind {
    /// `initContainers`
    Init,
    /// `containers`
    Regular,
    /// `ephemeralContainers`
    Ephemeral,
}

impl ContainerKind {
    /// `init`, `regular` or `ephemeral`, as plugins and `plan` are told.
    pub fn name(self) -> &'static str {
        match self {
            Self::Init => "init",
            Self::Regular => "regular",
            Self::Ephemeral => "ephemeral",
        }
    }
}

impl fmt::Display for ContainerKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Which container of a workload.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Container {
    /// Its name.
    pub name: String,
    /// Its list.
    pub kind: ContainerKind,
}

/// One container of one workload, and the image it names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImageUse {
    /// Whose container it is.
    pub workload: Arc<Workload>,
    /// Which of its containers.
    pub container: Container,
    /// The image as written in the specification, trimmed; it may be malformed, and in a manifest file missing: empty.
    pub image: String,
    /// What its Pods say that they run (`imageID`); the newest Pod's first, no image twice.
    pub running: Vec<Running>,
    /// The platforms of the nodes that its Pods run on, or may come to; none where that is not known, or not asked.
    pub platforms: Option<BTreeSet<Platform>>,
}

/// What a Pod says that it runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Running {
    /// The image, always with a digest.
    pub image: Reference,
    /// When the newest Pod that says so was made, in seconds since 1970.
    pub since: i64,
}
