//! What belongs to an image beside the image itself: signatures, attestations, SBOMs.

use std::{fmt, sync::Arc, time::SystemTime};

use super::{Retry, printable::printable};

/// Which referrers of an image are copied.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ReferrerScope {
    /// None.
    None,
    /// Signatures and attestations.
    #[default]
    Signatures,
    /// All.
    All,
}

impl ReferrerScope {
    /// Every scope, by the word in the configuration.
    pub const WORDS: [(&str, Self); 3] = [("none", Self::None), ("signatures", Self::Signatures), ("all", Self::All)];
}

/// The most failures of one look that are kept.
pub const MAX_REFERRER_FAILURES: usize = 5;

/// The result of one look for the referrers of an image at one destination.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ReferrerOutcome {
    /// Those that were copied now.
    pub copied: usize,
    /// Those that the target had.
    pub already_there: usize,
    /// Those that are not at the target, and subjects whose referrers are not known.
    pub failed: usize,
    /// At most [`MAX_REFERRER_FAILURES`].
    pub failures: Vec<ReferrerFailure>,
    /// Whether a retry may help soon.
    pub is_worth_a_retry: bool,
    /// Whether there is more to copy at once.
    pub is_unfinished: bool,
}

impl ReferrerOutcome {
    /// Counts a failure.
    pub fn fail(&mut self, failure: ReferrerFailure) {
        self.failed += 1;
        self.is_worth_a_retry |= failure.retry != Retry::Later;
        if self.failures.len() < MAX_REFERRER_FAILURES {
            self.failures.push(failure);
        }
    }

    /// Adds another result.
    pub fn add(&mut self, other: Self) {
        self.copied += other.copied;
        self.already_there += other.already_there;
        self.failed += other.failed;
        self.is_worth_a_retry |= other.is_worth_a_retry;
        self.is_unfinished |= other.is_unfinished;
        let room = MAX_REFERRER_FAILURES.saturating_sub(self.failures.len());
        self.failures.extend(other.failures.into_iter().take(room));
    }
}

/// Why a referrer is not at the target, or why the referrers are not known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReferrerFailure {
    /// The referrer's digest or tag, with its artifact type if it is known; or the subject.
    pub referrer: String,
    /// What happened, where, and what to do; one line, without secrets.
    pub message: String,
    /// When a retry can help.
    pub retry: Retry,
}

/// `REFERRER: MESSAGE`
impl fmt::Display for ReferrerFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", printable(&self.referrer), self.message)
    }
}

/// The last look for the referrers of an image at one destination.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReferrerRecord {
    /// Its result.
    pub outcome: Arc<ReferrerOutcome>,
    /// When it ended.
    pub looked: SystemTime,
}
