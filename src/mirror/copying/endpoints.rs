//! Where a job reads and writes.

use crate::registry::{Store, StoreRepository};

use super::source::Source;

pub(super) struct Endpoints<'a> {
    /// The image's repository at the source.
    pub source: Source,
    /// The target.
    pub store: &'a Store,
    /// The image's repository at the target.
    pub target: StoreRepository,
}
