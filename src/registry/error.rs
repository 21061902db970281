//! What can go wrong with a registry.

use crate::model::Retry;

/// A registry did not do what it was asked for. One line: the operation, where, what happened, what to do.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{operation}")]
pub struct Error {
    operation: String,
}

impl Error {
    /// Whether another try can help.
    pub fn retry(&self) -> Retry {
        Retry::Later
    }
}

/// TLS could not be set up.
#[derive(Debug, thiserror::Error)]
#[error("HTTPS can't be set up: {0}")]
pub struct SetupError(#[source] pub(super) reqwest::Error);

/// Which side of an upload broke.
#[derive(Clone, Debug, thiserror::Error)]
pub enum UploadError {
    /// The blob could not be read.
    #[error(transparent)]
    Source(Error),
    /// The blob could not be written.
    #[error(transparent)]
    Target(Error),
}
