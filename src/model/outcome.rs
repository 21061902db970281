//! What came of a copy.

use std::{
    fmt,
    time::{Duration, SystemTime},
};

use super::{Destination, Digest, Reference, WorkloadId};

/// Whether trying again can help, without a change by anyone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retry {
    /// It passes by itself: network, timeouts, 429, 5xx.
    Soon,
    /// Not before this long, as the registry said (`Retry-After`).
    After(Duration),
    /// Someone has to change something: not found, denied, refused.
    Later,
}

/// Which side of the copy failed, and how; a closed list, fit for a metric's label.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FailureKind {
    /// The source's digest could not be resolved, or its manifest not be read.
    Source,
    /// A blob could not be read at the source: counted as a failed push, as in the original.
    SourceBlob,
    /// The target could not be asked, or refused what was sent.
    Target,
    /// The target has another digest under that tag and must keep it.
    DifferentDigest,
    /// Another workload's image has this name at the target.
    Conflict,
    /// What stands at the target after the push is not what was sent.
    Verification,
}

impl FailureKind {
    /// A metric's label.
    pub fn name(self) -> &'static str {
        match self {
            Self::Source => "source",
            Self::SourceBlob => "source_blob",
            Self::Target => "target",
            Self::DifferentDigest => "different_digest",
            Self::Conflict => "conflict",
            Self::Verification => "verification",
        }
    }
}

/// A copy that did not come about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// Which side.
    pub kind: FailureKind,
    /// What happened, where, and what to do; one line, no secrets.
    pub message: String,
    /// Whether another try can help.
    pub retry: Retry,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

/// How a copy ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Status {
    /// It was pushed, and the target answers with this digest.
    Copied(Digest),
    /// The target had this digest already.
    AlreadyThere(Digest),
    /// A dry run: it would have been pushed.
    WouldCopy(Digest),
    /// A dry pull: nobody was asked anything.
    WouldPull,
    /// It is not there.
    Failed(Failure),
}

impl Status {
    /// A metric's label.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Copied(_) => "copied",
            Self::AlreadyThere(_) => "already_there",
            Self::WouldCopy(_) => "would_copy",
            Self::WouldPull => "would_pull",
            Self::Failed(_) => "failed",
        }
    }
}

/// How one image's way to one destination ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// The image as the oldest of its users writes it.
    pub image: String,
    /// The image's fully qualified name.
    pub source: Reference,
    /// Where it was to go.
    pub destination: Destination,
    /// Who uses it: the oldest ten at most, oldest first; never empty.
    pub workloads: Vec<WorkloadId>,
    /// How it ended.
    pub status: Status,
    /// Bytes of blobs that were sent.
    pub bytes: u64,
    /// From the first request to the last.
    pub took: Duration,
    /// When it is tried again by itself; none where it is not.
    pub next_try: Option<SystemTime>,
}
