//! Errors of registries and stores as failures of a copy.

use crate::{
    model::{Failure, FailureKind, error_chain},
    registry::{Error, StoreError},
};

/// The source could not be reached, or does not have the image.
pub fn at_source(error: &Error) -> Failure {
    Failure { kind: FailureKind::Source, message: error_chain(error), retry: error.retry() }
}

/// A blob could not be read at the source.
pub fn at_source_blob(error: &Error) -> Failure {
    Failure { kind: FailureKind::SourceBlob, message: error_chain(error), retry: error.retry() }
}

/// The target could not be reached, or rejected the request.
pub fn at_target(error: &StoreError) -> Failure {
    Failure { kind: FailureKind::Target, message: error_chain(error), retry: error.retry() }
}
