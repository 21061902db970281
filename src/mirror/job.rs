//! Copying one image to one destination.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use tokio::time::Instant;

use crate::model::{
    Destination, Digest, Failure, Outcome, Platform, PullSecretRefs, Reference, Seen, Status, TagMeaning, WorkloadId,
};

/// How many workloads a job names at most: its size must not grow with the cluster.
pub const MAX_WORKLOADS: usize = 10;

/// How many lists of pull secrets a job tries at most: an image that thousands of namespaces use is not tried with all of
/// theirs.
pub const MAX_PULL_SECRET_REFS: usize = 16;

/// Copies one image to one destination.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CopyJob {
    /// The image as written by the oldest workload that uses it.
    pub image: String,
    /// The fully qualified source.
    pub source: Reference,
    /// The destination.
    pub destination: Destination,
    /// The workloads that use the image, the oldest [`MAX_WORKLOADS`] first; never empty.
    pub workloads: Vec<WorkloadId>,
    /// The digests that Pods report for the image, without duplicates; the newest Pod's first.
    pub running: Vec<Digest>,
    /// Where the policy places the image too, at other targets.
    pub other_destinations: Vec<Destination>,
    /// The platforms of the nodes that run the image or may run it; none if not known.
    pub platforms: Option<BTreeSet<Platform>>,
    /// The pull secrets that may open the image, the oldest workload's first, at most [`MAX_PULL_SECRET_REFS`].
    pub pull_secrets: Vec<Arc<PullSecretRefs>>,
    /// How it relates to other images that claim the destination.
    pub role: Role,
    /// Whether to resolve the tag at the source even if all Pods run one digest: a pass detects moved tags.
    pub resolve_tag: bool,
    /// Whether the target is known to have the tag from this source.
    pub owns_tag: bool,
    /// Whether a verification has found parts of it missing or wrong at the target: all of them are looked up, and those
    /// copied again, although the target has the digest.
    pub is_damaged: bool,
    /// Set while repairs of it are paused: if nothing but a repair is to be done, the job fails as the last repair did.
    pub repair_pause: Option<RepairPause>,
    /// Whether to look for signatures and other referrers even if the image is at the target.
    pub look_for_referrers: bool,
    /// Set while the source registry keeps failing: only the target is queried.
    pub source_unavailable: Option<SourceUnavailable>,
}

/// A source registry that is not to be queried.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceUnavailable {
    /// The failure if the source is needed.
    pub failure: Failure,
    /// When it is queried again.
    pub until: Instant,
}

/// A repair that was in vain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RepairPause {
    /// Why.
    pub failure: Failure,
    /// When it is tried again.
    pub until: Instant,
}

/// How a job relates to other images that claim the same destination.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Role {
    /// It owns the destination.
    Owner,
    /// The tag belongs to workloads that follow it, or to another digest of the same image: this one is kept by digest.
    ByDigest,
    /// Another source owns the destination: this one is there only if both are the same bytes.
    Conflict {
        /// The owner, as `IMAGE of WORKLOAD`.
        owner: String,
    },
}

impl CopyJob {
    /// The tag at the target; none if the image is kept by digest.
    pub fn tag(&self) -> Option<&str> {
        self.destination.tag.as_deref()
    }

    /// The oldest workload that uses the image, for messages.
    pub fn workload(&self) -> String {
        self.workloads.first().map(ToString::to_string).unwrap_or_default()
    }

    /// Whether both copy the same image to the same destination.
    pub fn has_same_route(&self, other: &Self) -> bool {
        self.source == other.source && self.destination == other.destination
    }

    /// Whether both do the same work; the workloads do not matter, nor who opens the source.
    pub fn is_same_work(&self, other: &Self) -> bool {
        self.has_same_route(other)
            && self.running == other.running
            && self.platforms == other.platforms
            && self.role == other.role
    }

    /// Whether this is the failure because of which repairs are paused: nothing was tried.
    pub fn is_pause(&self, failure: &Failure) -> bool {
        self.repair_pause.as_ref().is_some_and(|pause| pause.failure == *failure)
    }

    /// The outcome if it failed before any request was sent.
    pub fn failed_before_start(&self, failure: Failure) -> Outcome {
        Outcome {
            image: self.image.clone(),
            source: self.source.clone(),
            destination: self.destination.clone(),
            workloads: self.workloads.clone(),
            status: Status::Failed(failure),
            seen: Seen::default(),
            referrers: None,
            copied_from: Vec::new(),
            tag: TagMeaning::default(),
            bytes: 0,
            took: Duration::ZERO,
            next_try: None,
        }
    }
}

/// The result of a job.
pub struct CopyResult {
    pub outcome: Outcome,
    /// Why the source did not give what was then copied from elsewhere.
    pub source_failure: Option<Failure>,
    /// Whether all further sources that may have the image were asked for it in vain.
    pub asked_elsewhere: bool,
    /// Whether the source registry answered, if only that it does not have the image.
    pub source_answered: bool,
    /// Whether the registry that failed answers otherwise, so that only this image fails there.
    pub registry_is_up: bool,
    /// Whether the target has other bytes than those of the digest of a manifest that was read: the copy was a repair.
    pub found_corrupt: bool,
}
