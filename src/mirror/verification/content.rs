//! What a look at a part finds.

use crate::model::PartProblemKind;

/// The state of a part of an image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum PartState {
    Present {
        /// Bytes that were read and hashed.
        read: u64,
    },
    Problem(PartProblemKind, String),
}
