//! Errors of image layouts.

use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use crate::{
    model::{Digest, Retry},
    registry::error::Error,
};

/// A failed operation at a layout. `Display` includes the cause, so there is no `source`.
#[derive(Clone, Debug, thiserror::Error)]
pub enum LayoutError {
    /// An I/O error.
    #[error("can't {action} {}: {error}", path.display())]
    Io {
        /// The operation: `read`, `write`, `create`…
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// The cause; entries that are written together share it.
        error: Arc<io::Error>,
    },
    /// A file violates the image layout specification.
    #[error("{} is damaged ({reason}) and was not changed: repair it, or use another folder", path.display())]
    Corrupt {
        /// The file.
        path: PathBuf,
        /// The violation.
        reason: String,
    },
    /// Another process holds the lock for too long.
    #[error("{} stays locked: check whether another process that writes to the layout hangs", path.display())]
    Locked {
        /// The lock file.
        path: PathBuf,
    },
    /// A blob differs from its descriptor; it was discarded.
    #[error("discarded a blob for {}: expected {digest} with {size} bytes, {found}", path.display())]
    Mismatch {
        /// The layout.
        path: PathBuf,
        /// The expected digest.
        digest: Digest,
        /// The expected size in bytes.
        size: u64,
        /// The difference.
        found: String,
    },
    /// A blob has other bytes than its name says.
    #[error("{} has the digest {found}", path.display())]
    WrongContent {
        /// The file.
        path: PathBuf,
        /// The digest of its bytes.
        found: Digest,
    },
    /// A folder that is to be read is no layout.
    #[error("{} is no image layout: it has no file oci-layout", path.display())]
    NoLayout {
        /// The folder.
        path: PathBuf,
    },
    /// A file that can't be read as the tar file of a layout.
    #[error("{} {reason}", path.display())]
    Unusable {
        /// The file.
        path: PathBuf,
        /// What is wrong, and what to do: `is compressed: …`.
        reason: String,
    },
    /// A file that is to be copied is missing, or too short or too long, or no manifest.
    #[error("{} {reason}: copy the layout again", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong: `is missing`.
        reason: String,
    },
    /// A manifest references missing content.
    #[error("rejected the manifest {manifest}: {missing}, which it references, is missing or damaged in {}", path.display())]
    Incomplete {
        /// The layout.
        path: PathBuf,
        /// The manifest.
        manifest: Digest,
        /// The first missing reference.
        missing: Digest,
    },
    /// A manifest was written under another digest.
    #[error("rejected the manifest {manifest} under the digest {requested}")]
    OtherDigest {
        /// The manifest's digest.
        manifest: Digest,
        /// The requested one.
        requested: Digest,
    },
}

impl LayoutError {
    /// Whether a retry can help.
    pub fn retry(&self) -> Retry {
        match self {
            Self::Io { error, .. } => match error.kind() {
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
            Self::Corrupt { .. }
            | Self::OtherDigest { .. }
            | Self::WrongContent { .. }
            | Self::NoLayout { .. }
            | Self::Unusable { .. }
            | Self::Damaged { .. } => Retry::Later,
            Self::Locked { .. } | Self::Mismatch { .. } | Self::Incomplete { .. } => Retry::Soon,
        }
    }

    /// For `map_err`: the operation and the file.
    pub(super) fn io(action: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |error| Self::Io { action, path, error: Arc::new(error) }
    }

    /// For `map_err`: the file with invalid JSON.
    pub(super) fn corrupt(path: &Path) -> impl FnOnce(serde_json::Error) -> Self {
        let path = path.to_owned();
        move |error| Self::Corrupt { path, reason: error.to_string() }
    }
}

/// A failed upload to a layout, by the side that failed.
#[derive(Debug, thiserror::Error)]
pub enum LayoutUploadError {
    /// The blob could not be read.
    #[error(transparent)]
    Source(Error),
    /// The blob could not be written.
    #[error(transparent)]
    Target(#[from] LayoutError),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn does_not_retry_what_needs_a_change() {
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
    fn names_the_operation_and_the_file() {
        let error = LayoutError::io("write", "/mirror/index.json")(io::ErrorKind::StorageFull.into());
        assert_eq!(error.to_string(), "can't write /mirror/index.json: no storage space");
    }
}
