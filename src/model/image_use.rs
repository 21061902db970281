//! Image uses: containers, image volumes, and their images.

use std::{collections::BTreeSet, fmt, sync::Arc};

use super::{Platform, PullSecretRefs, Reference, Workload};

/// Where a Pod's specification names an image: the list that a container is in, or its volumes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ContainerKind {
    /// `initContainers`
    Init,
    /// `containers`
    Regular,
    /// `ephemeralContainers`
    Ephemeral,
    /// `volumes`, with the source `image`
    Volume,
}

impl ContainerKind {
    /// `init`, `regular`, `ephemeral` or `volume`, as in the plugin contract and in the output of `plan`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Init => "init",
            Self::Regular => "regular",
            Self::Ephemeral => "ephemeral",
            Self::Volume => "volume",
        }
    }
}

impl fmt::Display for ContainerKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A container of a workload, or an image volume in its place.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Container {
    /// Its name.
    pub name: String,
    /// Where it is in the Pod's specification.
    pub kind: ContainerKind,
}

/// One container or image volume of one workload, and the image it names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImageUse {
    /// The workload.
    pub workload: Arc<Workload>,
    /// The container.
    pub container: Container,
    /// The image as written in the specification, trimmed; it may be invalid, and in a manifest file empty.
    pub image: String,
    /// The images that its Pods report (`imageID`, of a volume `imageRef`), without duplicates; the newest Pod's first.
    pub running: Vec<Running>,
    /// The platforms of the nodes that its Pods run on or may be scheduled on; none if not known or not needed.
    pub platforms: Option<BTreeSet<Platform>>,
    /// The pull secrets that may open the image, without duplicates: those of its Pods, the newest Pod's first, then those
    /// of the template. Empty if they are not used.
    pub pull_secrets: Vec<Arc<PullSecretRefs>>,
}

/// An image that Pods report as running.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Running {
    /// The image, always with a digest.
    pub image: Reference,
    /// When the newest such Pod was created, in seconds since 1970.
    pub since: i64,
}
