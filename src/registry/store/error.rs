//! Errors of stores.

use crate::{
    model::Retry,
    registry::{error::Error, layout::LayoutError},
};

/// A failed operation at a store.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// A registry.
    #[error(transparent)]
    Remote(#[from] Error),
    /// A layout.
    #[error(transparent)]
    Layout(#[from] LayoutError),
}

impl StoreError {
    /// Whether the store rejected the content, as it does a manifest whose blobs it lacks.
    pub fn is_rejection(&self) -> bool {
        match self {
            Self::Remote(error) => error.is_rejection(),
            Self::Layout(error) => matches!(error, LayoutError::Incomplete { .. }),
        }
    }

    /// Whether content had another digest than expected.
    pub fn is_wrong_content(&self) -> bool {
        match self {
            Self::Remote(error) => error.is_wrong_content(),
            Self::Layout(error) => matches!(error, LayoutError::WrongContent { .. }),
        }
    }

    /// Whether an existing tag can't be moved.
    pub fn is_immutable_tag(&self) -> bool {
        matches!(self, Self::Remote(error) if error.is_immutable_tag())
    }

    /// Whether the store limits requests.
    pub fn is_throttling(&self) -> bool {
        matches!(self, Self::Remote(error) if error.is_throttling())
    }

    /// Whether the store failed (5xx), which says nothing about other requests.
    pub fn is_server_error(&self) -> bool {
        matches!(self, Self::Remote(error) if error.is_server_error())
    }

    /// Whether a retry can help.
    pub fn retry(&self) -> Retry {
        match self {
            Self::Remote(error) => error.retry(),
            Self::Layout(error) => error.retry(),
        }
    }
}

/// A failed upload to a store, by the side that failed.
#[derive(Debug, thiserror::Error)]
pub enum StoreUploadError {
    /// The blob could not be read.
    #[error(transparent)]
    Source(Error),
    /// The blob could not be written.
    #[error(transparent)]
    Target(StoreError),
}
