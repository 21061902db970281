//! Where images go.

use std::{fmt, sync::Arc};

use super::Digest;

/// The kinds of targets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TargetKind {
    /// Amazon Elastic Container Registry.
    Ecr,
    /// Any registry that speaks the OCI distribution specification.
    Docker,
    /// An OCI image layout in a folder.
    OciLayout,
}

impl TargetKind {
    /// As `targetKind` writes it.
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

/// A configured target, as policies see it: nothing secret is in it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Target {
    /// Its name in the configuration; `default` for the one that the original's settings make.
    pub name: String,
    /// Its kind.
    pub kind: TargetKind,
    /// `host[:port][/path]` of a registry, or the folder of a layout.
    pub registry: String,
    /// The configured repository prefix, tokens unexpanded.
    pub repo_prefix: String,
}

/// A name at a target.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Destination {
    /// Which target.
    pub target: Arc<Target>,
    /// The repository below the target's registry, clean.
    pub repository: String,
    /// The tag; none for what was asked for by digest alone.
    pub tag: Option<String>,
    /// The digest that was asked for, where one was.
    pub digest: Option<Digest>,
}

/// The reference as the original writes it: `registry/repository:tag`, `registry/repository@digest` where there is no
/// tag, and `oci:PATH:REPOSITORY:TAG` for a layout.
impl fmt::Display for Destination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.target.kind {
            TargetKind::OciLayout => write!(f, "oci:{}:{}", self.target.registry, self.repository)?,
            TargetKind::Ecr | TargetKind::Docker => write!(f, "{}/{}", self.target.registry, self.repository)?,
        }
        match (&self.tag, &self.digest) {
            (Some(tag), _) => write!(f, ":{tag}"),
            (None, Some(digest)) => write!(f, "@{digest}"),
            (None, None) => Ok(()),
        }
    }
}
