//! Configured targets, and destinations at them.

use std::{fmt, path::Path, sync::Arc};

use super::{Digest, TargetAddress};

/// The kinds of targets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TargetKind {
    /// Amazon Elastic Container Registry.
    Ecr,
    /// Any registry that implements the OCI distribution specification.
    Docker,
    /// An OCI image layout in a folder.
    OciLayout,
}

impl TargetKind {
    /// As in the setting `targetKind`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Ecr => "ecr",
            Self::Docker => "docker",
            Self::OciLayout => "oci-layout",
        }
    }
}

impl fmt::Display for TargetKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A configured target as plugins see it: without secrets.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Target {
    /// Its name in the configuration; `default` for the one that the top-level settings define.
    pub name: String,
    /// Its kind.
    pub kind: TargetKind,
    /// `host[:port][/path]` of a registry, or the folder of a layout; see [`Target::address`].
    pub registry: String,
    /// The configured repository prefix, with tokens such as `$namespace` unexpanded.
    pub repo_prefix: String,
}

impl Target {
    /// Where it stores its images.
    pub fn address(&self) -> TargetAddress<'_> {
        match self.kind {
            TargetKind::Ecr | TargetKind::Docker => TargetAddress::registry(&self.registry),
            TargetKind::OciLayout => TargetAddress::Layout(Path::new(&self.registry)),
        }
    }
}

/// A repository and a tag or digest at a target.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Destination {
    /// Which target.
    pub target: Arc<Target>,
    /// The repository relative to the target's address; a valid repository name.
    pub repository: String,
    /// The tag; none for an image that is referenced by digest alone.
    pub tag: Option<String>,
    /// The digest in the image reference, if it has one.
    pub digest: Option<Digest>,
}

/// `registry/repository:tag`, `registry/repository@digest` without a tag, and `oci:FOLDER:REPOSITORY:TAG` for a layout.
impl fmt::Display for Destination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let address = self.target.address();
        match address {
            TargetAddress::Registry { .. } => write!(f, "{address}/{}", self.repository)?,
            TargetAddress::Layout(_) => write!(f, "{address}:{}", self.repository)?,
        }
        match (&self.tag, &self.digest) {
            (Some(tag), _) => write!(f, ":{tag}"),
            (None, Some(digest)) => write!(f, "@{digest}"),
            (None, None) => Ok(()),
        }
    }
}
