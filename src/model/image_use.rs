//! Image uses: containers and their images.

use std::{collections::BTreeSet, fmt, sync::Arc};

use super::{Platform, Reference, Workload};

/// The list of a Pod's specification that a container is in.
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
    /// `init`, `regular` or `ephemeral`, as in the plugin contract and in the output of `plan`.
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

/// A container of a workload.
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
    /// The workload.
    pub workload: Arc<Workload>,
    /// The container.
    pub container: Container,
    /// The image as written in the specification, trimmed; it may be invalid, and in a manifest file empty.
    pub image: String,
    /// The images that its Pods report (`imageID`), without duplicates; the newest Pod's first.
    pub running: Vec<Running>,
    /// The platforms of the nodes that its Pods run on or may be scheduled on; none if not known or not needed.
    pub platforms: Option<BTreeSet<Platform>>,
}

/// An image that Pods report as running.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Running {
    /// The image, always with a digest.
    pub image: Reference,
    /// When the newest such Pod was created, in seconds since 1970.
    pub since: i64,
}
