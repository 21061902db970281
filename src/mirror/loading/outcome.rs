//! What became of the names of a layout.

use std::{sync::Arc, time::Duration};

use crate::model::{CopyProgress, Destination, Failure, ReferrerOutcome, Status};

/// The result of loading one name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Loaded {
    /// As in the layout; empty if the entry has none.
    pub name: String,
    /// Where it goes; none if the name can't be used.
    pub destination: Option<Destination>,
    /// The result.
    pub status: Status,
    /// Of a list of referrers: what became of them.
    pub referrers: Option<ReferrerOutcome>,
    /// Bytes of blobs that were uploaded.
    pub bytes: u64,
    /// From the first request to the last.
    pub took: Duration,
}

/// Something that happened.
#[derive(Debug)]
pub enum LoadEvent<'a> {
    /// The layout was read: it has this many names.
    Names(usize),
    /// A name has begun; a [`LoadEvent::Loaded`] follows.
    Started {
        /// As in the layout.
        name: &'a str,
        /// Where it goes.
        destination: &'a Destination,
        /// How far it is, from now on.
        progress: &'a Arc<CopyProgress>,
    },
    /// This many further bytes of a blob were uploaded.
    Sent(u64),
    /// A name was loaded, or was not.
    Loaded(&'a Loaded),
}

/// Receives events. Called from many tasks; must not block.
pub(super) type OnEvent = Arc<dyn Fn(LoadEvent<'_>) + Send + Sync>;

/// A result without a failure, or a failure.
pub(super) fn status(result: Result<Status, Failure>) -> Status {
    result.unwrap_or_else(Status::Failed)
}
