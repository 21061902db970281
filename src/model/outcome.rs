//! Outcomes of copies.

use std::{
    fmt,
    time::{Duration, SystemTime},
};

use super::{Destination, Digest, Reference, ReferrerOutcome, Retry, Seen, WorkloadId};

/// Which part of a copy failed; a closed list, used as a metric label.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FailureKind {
    /// The source's digest could not be resolved, or its manifest could not be read.
    Source,
    /// A blob could not be read at the source; counted as a failed push for compatibility.
    SourceBlob,
    /// The target could not be reached, or rejected the request.
    Target,
    /// The target has another digest under the tag, and the tag must not be moved.
    DifferentDigest,
    /// Another image owns the destination.
    Conflict,
    /// After the push the target has another digest than the pushed one.
    Verification,
    /// `referrersRequired`: a signature or another referrer of the image could not be copied.
    Referrer,
}

impl FailureKind {
    /// The metric label.
    pub fn name(self) -> &'static str {
        match self {
            Self::Source => "source",
            Self::SourceBlob => "source_blob",
            Self::Target => "target",
            Self::DifferentDigest => "different_digest",
            Self::Conflict => "conflict",
            Self::Verification => "verification",
            Self::Referrer => "referrer",
        }
    }
}

/// Why a copy failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// Which part failed.
    pub kind: FailureKind,
    /// What happened, where, and what to do; one line, without secrets.
    pub message: String,
    /// When a retry can help.
    pub retry: Retry,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

/// The result of a copy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Status {
    /// Pushed, and the target reports this digest.
    Copied(Digest),
    /// The target already had this digest.
    AlreadyThere(Digest),
    /// `dryRun`: it would have been pushed.
    WouldCopy(Digest),
    /// `dryPull`: no registry was contacted.
    WouldPull,
    /// Not copied.
    Failed(Failure),
}

impl Status {
    /// Its kind.
    pub fn kind(&self) -> StatusKind {
        match self {
            Self::Copied(_) => StatusKind::Copied,
            Self::AlreadyThere(_) => StatusKind::AlreadyThere,
            Self::WouldCopy(_) => StatusKind::WouldCopy,
            Self::WouldPull => StatusKind::WouldPull,
            Self::Failed(_) => StatusKind::Failed,
        }
    }

    /// Whether it is a failure.
    pub fn is_failure(&self) -> bool {
        matches!(self, Self::Failed(_))
    }

    /// The metric label.
    pub fn name(&self) -> &'static str {
        self.kind().name()
    }
}

/// The kinds of [`Status`]; a closed list, used as a metric label.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StatusKind {
    /// [`Status::Copied`]
    Copied,
    /// [`Status::AlreadyThere`]
    AlreadyThere,
    /// [`Status::WouldCopy`]
    WouldCopy,
    /// [`Status::WouldPull`]
    WouldPull,
    /// [`Status::Failed`]
    Failed,
}

impl StatusKind {
    /// Every kind.
    pub const ALL: [Self; 5] = [Self::Copied, Self::AlreadyThere, Self::WouldCopy, Self::WouldPull, Self::Failed];

    /// The metric label.
    pub fn name(self) -> &'static str {
        match self {
            Self::Copied => "copied",
            Self::AlreadyThere => "already_there",
            Self::WouldCopy => "would_copy",
            Self::WouldPull => "would_pull",
            Self::Failed => "failed",
        }
    }
}

/// A pass over all workloads that has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PassSummary {
    /// When it began.
    pub began: SystemTime,
    /// When it ended.
    pub ended: SystemTime,
    /// Workloads that were not skipped, including failed ones.
    pub workloads: usize,
    /// Containers that were processed without an error.
    pub images: usize,
    /// Failures; 0 on success.
    pub failures: usize,
}

/// Who told what a tag means, in an attempt to mirror an image.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TagMeaning {
    /// Nobody was asked: Pods run what the target has.
    #[default]
    NotAsked,
    /// The source, or the reference names a digest.
    Told,
    /// The source did not tell. It is what it was when it was last known.
    LastKnown,
}

/// The outcome of copying one image to one destination.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// The image as written by the oldest workload that uses it.
    pub image: String,
    /// The fully qualified source.
    pub source: Reference,
    /// The destination.
    pub destination: Destination,
    /// The workloads that use it, at most the ten oldest, oldest first; never empty.
    pub workloads: Vec<WorkloadId>,
    /// The result.
    pub status: Status,
    /// What the attempt saw at the target and at the source, whatever the result.
    pub seen: Seen,
    /// What became of its signatures and other referrers; none if they were not looked for.
    pub referrers: Option<ReferrerOutcome>,
    /// The further sources (`sources` in the configuration) that gave the image or a part of it, because its registry could
    /// not; in the configured order.
    pub copied_from: Vec<String>,
    /// Who told what the tag means.
    pub tag: TagMeaning,
    /// Bytes of blobs that were uploaded.
    pub bytes: u64,
    /// From the first request to the last.
    pub took: Duration,
    /// When it is retried automatically; none if it is not.
    pub next_try: Option<SystemTime>,
}
