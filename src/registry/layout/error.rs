//! What can go wrong with a layout.

use std::{io, path::PathBuf, sync::Arc};

use crate::model::{Digest, Retry};

/// Something that was wanted of a layout did not come about.
#[derive(Clone, Debug, thiserror::Error)]
pub enum LayoutError {
    /// The file system refused.
    #[error("cannot {action} {}: {source}", path.display())]
    Io {
        /// What was tried: `read`, `write`, `create`…
        action: &'static str,
        /// On which file or folder.
        path: PathBuf,
        /// What the file system said; several names may share one failure.
        #[source]
        source: Arc<io::Error>,
    },
    /// A file of the layout is not what the image layout specification says.
    #[error("{} is damaged ({reason}); it was left as it is: repair it, or take another folder", path.display())]
    Corrupt {
        /// Which file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// Another writer has held the lock for too long.
    #[error("{} stays locked by another writer; is one hanging?", path.display())]
    Locked {
        /// The lock file.
        path: PathBuf,
    },
    /// What arrived is not what was announced; it was thrown away.
    #[error("refused a blob for {}: announced were {digest} and {size} bytes, {found}", path.display())]
    Mismatch {
        /// The layout.
        path: PathBuf,
        /// The digest announced.
        digest: Digest,
        /// The size announced, in bytes.
        size: u64,
        /// What was found.
        found: String,
    },
    /// A manifest names content that is not there.
    #[error("refused manifest {manifest}: {missing}, which it needs, is missing or damaged in {}", path.display())]
    Incomplete {
        /// The layout.
        path: PathBuf,
        /// The manifest.
        manifest: Digest,
        /// The first thing that is missing.
        missing: Digest,
    },
    /// A manifest was to be stored under a digest that is not its own.
    #[error("refused manifest {manifest} under the digest {asked}")]
    OtherDigest {
        /// The manifest's digest.
        manifest: Digest,
        /// The one asked for.
        asked: Digest,
    },
}

impl LayoutError {
    /// Whether another try can help.
    pub fn retry(&self) -> Retry {
        match self {
            Self::Io { source, .. } => match source.kind() {
                io::ErrorKind::StorageFull
                | io::ErrorKind::QuotaExceeded
                | io::ErrorKind::FileTooLarge
                | io::ErrorKind::PermissionDenied
                | io::ErrorKind::ReadOnlyFilesystem
                | io::ErrorKind::NotADirectory
                | io::ErrorKind::IsADirectory
                | io::ErrorKind::CrossesDevices
                | io::ErrorKind::InvalidFilename
                | io::ErrorKind::Unsupported => Retry::Later,
                _ => Retry::Soon,
            },
            Self::Corrupt { .. } | Self::OtherDigest { .. } => Retry::Later,
            Self::Locked { .. } | Self::Mismatch { .. } | Self::Incomplete { .. } => Retry::Soon,
        }
    }

    /// For `map_err`: what was tried, and on what.
    pub(super) fn io(action: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { action, path, source: Arc::new(source) }
    }
}

/// Why a blob did not reach a layout.
#[derive(Debug, thiserror::Error)]
pub enum LayoutUploadError {
    /// It could not be read where it comes from.
    #[error(transparent)]
    Source(super::super::Error),
    /// It could not be stored.
    #[error(transparent)]
    Target(#[from] LayoutError),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_someone_must_change_is_not_tried_again_at_once() {
        for (kind, retry) in [
            (io::ErrorKind::StorageFull, Retry::Later),
            (io::ErrorKind::PermissionDenied, Retry::Later),
            (io::ErrorKind::ReadOnlyFilesystem, Retry::Later),
            (io::ErrorKind::Interrupted, Retry::Soon),
        ] {
            assert_eq!(LayoutError::io("write", "/x")(kind.into()).retry(), retry, "{kind}");
        }
    }

    #[test]
    fn an_error_says_what_was_tried_and_where() {
        let error = LayoutError::io("write", "/mirror/index.json")(io::ErrorKind::StorageFull.into());
        assert_eq!(error.to_string(), "cannot write /mirror/index.json: no storage space");
    }
}
