//! What is known of an image at a destination. What is at the target and what became of the last attempt are two things: an
//! image can be at the target while its source is down.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use super::{
    AtTarget, Failure, FailureKind, Outcome, ReferrerRecord, Seen, Status, StatusKind, TagMeaning, Unanswered,
    Verification, Wholeness,
};

/// What is at a destination; a closed list, used as a metric label.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ImageState {
    /// The target does not have it.
    Missing,
    /// The target has the tag, but not what the source has now.
    Stale,
    /// Another image owns the destination.
    Conflict,
    /// Not known: the first check or copy has not ended, or the target did not answer.
    Unknown,
    /// The target has it, but the last check could not compare it with the source.
    Unverified,
    /// `dryRun` or `dryPull`: it is not mirrored.
    DryRun,
    /// The target has what the source has.
    Mirrored,
}

impl ImageState {
    /// Every state, the worst first.
    pub const ALL: [Self; 7] =
        [Self::Missing, Self::Stale, Self::Conflict, Self::Unknown, Self::Unverified, Self::DryRun, Self::Mirrored];

    /// The metric label.
    pub fn name(self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::Stale => "stale",
            Self::Conflict => "conflict",
            Self::Unknown => "unknown",
            Self::Unverified => "unverified",
            Self::DryRun => "dry_run",
            Self::Mirrored => "mirrored",
        }
    }

    /// Whether the image still has to be copied, as far as is known.
    pub fn is_to_be_copied(self) -> bool {
        matches!(self, Self::Missing | Self::Stale | Self::Unknown)
    }
}

/// The most earlier attempts in a record.
const MAX_EARLIER_ATTEMPTS: usize = 4;

/// What is known of one image at one destination since this process first saw it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImageRecord {
    /// What is at the destination.
    pub state: ImageState,
    /// What the attempts saw last.
    pub seen: Seen,
    /// When a workload's claim was first seen.
    pub first_seen: SystemTime,
    /// The last attempt.
    pub last_attempt: Option<LastAttempt>,
    /// At most four attempts before the last one, the newest first. Of attempts in a row that only found the image in place
    /// the last one is kept: nothing is learnt from the others.
    pub earlier_attempts: Arc<[LastAttempt]>,
    /// The last look for its signatures and other referrers; none if there was none.
    pub referrers: Option<ReferrerRecord>,
    /// The last verification in the background; none if there was none.
    pub verified: Option<Verification>,
    /// When the image was last found to be mirrored.
    pub last_mirrored: Option<SystemTime>,
    /// The first failed attempt since the last success.
    pub failing_since: Option<SystemTime>,
    /// Since when it has to be copied; none if it is at the target, or is not to be copied.
    pub to_be_copied_since: Option<SystemTime>,
    /// Whether the source has not told what the tag means since it was put at the target as it was last known.
    pub is_last_known: bool,
    /// Failed attempts since the last success.
    pub failures: u32,
    /// Successful attempts since the last failure.
    pub successes: u32,
}

/// The part of a record whose changes are reported.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Known {
    /// What is at the destination.
    pub state: ImageState,
    /// The result of the last attempt; none if there was none.
    pub result: Option<StatusKind>,
    /// Whether a referrer could not be copied at the last look.
    pub lacks_referrers: bool,
    /// The result of the last verification; none if there was none.
    pub verified: Option<Wholeness>,
}

impl From<&ImageRecord> for Known {
    fn from(record: &ImageRecord) -> Self {
        Self {
            state: record.state,
            result: record.last_attempt.as_ref().map(|attempt| attempt.result),
            lacks_referrers: record.referrers.as_ref().is_some_and(|referrers| referrers.outcome.failed > 0),
            verified: record.verified.as_ref().map(|verified| verified.result),
        }
    }
}

/// The end of an attempt to mirror an image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LastAttempt {
    /// The result.
    pub result: StatusKind,
    /// Why it failed.
    pub failure: Option<Failure>,
    /// When it ended.
    pub ended: SystemTime,
    /// Its duration.
    pub took: Duration,
    /// Bytes of blobs that were uploaded.
    pub bytes: u64,
    /// The further sources that gave a part of it, because its registry could not.
    pub copied_from: Vec<String>,
    /// When it is retried.
    pub next_try: Option<SystemTime>,
}

impl ImageRecord {
    /// Of an image that a workload claims and that was not checked yet.
    pub fn new(now: SystemTime) -> Self {
        Self {
            state: ImageState::Unknown,
            seen: Seen::default(),
            first_seen: now,
            last_attempt: None,
            earlier_attempts: Arc::default(),
            referrers: None,
            verified: None,
            last_mirrored: None,
            failing_since: None,
            to_be_copied_since: Some(now),
            is_last_known: false,
            failures: 0,
            successes: 0,
        }
    }

    /// What is at the destination after an outcome.
    pub fn state_after(&self, outcome: &Outcome) -> ImageState {
        let failure = match &outcome.status {
            // The tag answers, which says nothing about the parts below it.
            Status::AlreadyThere(_) if self.is_damaged() && self.state.is_to_be_copied() => return self.state,
            // It has what the tag meant when it was last known.
            Status::Copied(_) | Status::AlreadyThere(_) if self.is_last_known_after(outcome) => {
                return ImageState::Unverified;
            }
            Status::Copied(_) | Status::AlreadyThere(_) => return ImageState::Mirrored,
            Status::WouldCopy(_) | Status::WouldPull => return ImageState::DryRun,
            Status::Failed(failure) => failure,
        };
        if failure.kind == FailureKind::Conflict {
            return ImageState::Conflict;
        }
        match (&outcome.seen.at_target, &outcome.seen.at_source) {
            (AtTarget::Nothing, _) => ImageState::Missing,
            // If it is the wanted digest, some of its platforms or blobs are missing.
            (AtTarget::Digest(_), Some(_)) => ImageState::Stale,
            // Whatever the source has: parts of this are missing.
            (AtTarget::Digest(_), None) if self.is_damaged() => ImageState::Stale,
            (AtTarget::Digest(_), None) => ImageState::Unverified,
            (AtTarget::Unknown, _) => match self.state {
                ImageState::Mirrored => ImageState::Unverified,
                ImageState::Conflict | ImageState::DryRun => ImageState::Unknown,
                state => state,
            },
        }
    }

    /// Whether nobody has told what the tag means since it was put at the target as it was last known.
    fn is_last_known_after(&self, outcome: &Outcome) -> bool {
        match outcome.tag {
            TagMeaning::NotAsked => self.is_last_known,
            TagMeaning::Told => false,
            TagMeaning::LastKnown => true,
        }
    }

    /// Whether the last verification found parts missing or wrong.
    pub fn is_damaged(&self) -> bool {
        self.verified.as_ref().is_some_and(|verified| verified.result.is_damage())
    }

    /// Records a verification. An image with damaged parts is not mirrored, whatever its tag says; and it stays damaged until
    /// one tells otherwise.
    pub fn verified(&mut self, verification: Verification) {
        if verification.result == Wholeness::Unknown
            && let Some(known) = self.verified.as_mut().filter(|known| known.result.is_damage())
        {
            known.unanswered = Some(Unanswered { at: verification.at, reason: verification.reason });
            return;
        }
        if verification.result.is_damage() && matches!(self.state, ImageState::Mirrored | ImageState::Unverified) {
            self.state = match verification.result {
                Wholeness::Missing => ImageState::Missing,
                _ => ImageState::Stale,
            };
            self.to_be_copied_since.get_or_insert(verification.at);
        }
        self.verified = Some(verification);
    }

    /// Records an outcome.
    pub fn record(&mut self, outcome: &Outcome, now: SystemTime) {
        self.state = self.state_after(outcome);
        self.is_last_known = self.is_last_known_after(outcome);
        match (&outcome.status, &outcome.seen.at_target) {
            (Status::Copied(digest) | Status::AlreadyThere(digest), _) => {
                self.seen.at_target = AtTarget::Digest(digest.clone());
            }
            (_, AtTarget::Unknown) => {}
            (_, at_target) => self.seen.at_target = at_target.clone(),
        }
        if outcome.seen.at_source.is_some() {
            self.seen.at_source.clone_from(&outcome.seen.at_source);
        }
        if let Some(referrers) = &outcome.referrers {
            self.referrers = Some(ReferrerRecord { outcome: Arc::new(referrers.clone()), looked: now });
        }
        let failure = match &outcome.status {
            Status::Failed(failure) => Some(failure.clone()),
            _ => None,
        };
        if failure.is_some() {
            (self.failures, self.successes) = (self.failures.saturating_add(1), 0);
            self.failing_since.get_or_insert(now);
        } else {
            (self.failures, self.successes) = (0, self.successes.saturating_add(1));
            self.failing_since = None;
        }
        if self.state == ImageState::Mirrored {
            self.last_mirrored = Some(now);
        }
        if self.state.is_to_be_copied() {
            self.to_be_copied_since.get_or_insert(now);
        } else {
            self.to_be_copied_since = None;
        }
        let attempt = LastAttempt {
            result: outcome.status.kind(),
            failure,
            ended: now,
            took: outcome.took,
            bytes: outcome.bytes,
            copied_from: outcome.copied_from.clone(),
            next_try: outcome.next_try,
        };
        if let Some(before) = self.last_attempt.replace(attempt)
            && !(before.result == StatusKind::AlreadyThere && outcome.status.kind() == StatusKind::AlreadyThere)
        {
            let earlier = self.earlier_attempts.iter().cloned();
            self.earlier_attempts = std::iter::once(before).chain(earlier).take(MAX_EARLIER_ATTEMPTS).collect();
        }
    }
}
