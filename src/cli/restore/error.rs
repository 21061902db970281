//! Why there is no restore.

use super::folder::FolderError;

/// Why there is no restore.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    /// `--target` names none.
    #[error("--target {given:?}: there is no such target; the configuration has {known}")]
    UnknownTarget { given: String, known: String },
    /// `--target` names a folder.
    #[error("--target {0:?}: nodes can't pull from an OCI layout; name a registry")]
    Layout(String),
    /// There are only folders.
    #[error("no target is a registry: nodes can't pull from an OCI layout")]
    NoRegistry,
    /// The runtime's configuration does not distinguish tags and digests.
    #[error("--digest-only: {0} can't be told to leave tags to their registry; use containerd, crio or openshift")]
    TagsToo(&'static str),
    /// There is nothing to restore.
    #[error("no workload names an image: check the cluster's context and includeNamespaces, or the files")]
    NoImages,
    /// The folder can't be used.
    #[error(transparent)]
    Folder(#[from] FolderError),
}

impl RestoreError {
    /// Whether the command line or the configuration has to change.
    pub fn is_usage(&self) -> bool {
        match self {
            Self::UnknownTarget { .. } | Self::Layout(_) | Self::NoRegistry | Self::TagsToo(_) => true,
            Self::NoImages | Self::Folder(_) => false,
        }
    }
}
