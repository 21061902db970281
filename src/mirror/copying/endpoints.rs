//! Where a job reads and writes.

use crate::registry::{Repository, Store, StoreRepository};

pub(super) struct Endpoints<'a> {
    /// The image's repository at the source.
    pub source: Repository,
    /// The target.
    pub store: &'a Store,
    /// The image's repository at the target.
    pub target: StoreRepository,
}
