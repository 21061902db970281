//! The state of the replica as JSON: what `/status` serves.

pub mod document;
mod entry;
mod query;
mod recent;
mod row;
mod snapshot;
mod snapshots;
mod traffic;

pub use query::{LACKS_REFERRERS, Query, QueryError, STATES};
pub use snapshot::{ReplicaStatus, Snapshot};
pub use snapshots::Snapshots;
pub use traffic::Traffic;
