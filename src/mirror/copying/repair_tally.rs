//! How far the repair of one image came. Unlike a first copy it tries every part: each that is mended helps, because it may be
//! the one that a node needs, and because another image may share it.

use std::sync::{
    Mutex, PoisonError,
    atomic::{AtomicUsize, Ordering},
};

use crate::model::{Failure, Retry};

/// After so many parts in a row for which a registry gave no answer that will last, the others are not tried: each would
/// wait for its deadline too.
const MAX_SILENCES: usize = 4;

/// Counts the parts of one image.
#[derive(Debug, Default)]
pub(super) struct RepairTally {
    mended: AtomicUsize,
    failed: AtomicUsize,
    /// Failures in a row that may pass by themselves.
    silences: AtomicUsize,
    first: Mutex<Option<Failure>>,
}

impl RepairTally {
    /// A part is at the target again.
    pub fn add_mended(&self) {
        self.mended.fetch_add(1, Ordering::Relaxed);
        self.silences.store(0, Ordering::Relaxed);
    }

    /// A part could not be copied.
    pub fn add_failed(&self, failure: &Failure) {
        self.failed.fetch_add(1, Ordering::Relaxed);
        match failure.retry {
            Retry::Later => self.silences.store(0, Ordering::Relaxed),
            Retry::Soon | Retry::After(_) => {
                self.silences.fetch_add(1, Ordering::Relaxed);
            }
        }
        let mut first = self.first.lock().unwrap_or_else(PoisonError::into_inner);
        match &mut *first {
            // A retry is worth it if it may help one part.
            Some(first) if first.retry == Retry::Later => first.retry = failure.retry,
            Some(_) => {}
            None => *first = Some(failure.clone()),
        }
    }

    /// Why the remaining parts are not tried; none if they are.
    pub fn hopeless(&self) -> Option<Failure> {
        (self.silences.load(Ordering::Relaxed) >= MAX_SILENCES).then(|| self.first()).flatten()
    }

    /// The failure of the whole repair; `failure` is that of a part.
    pub fn failure(&self, failure: Failure) -> Failure {
        let failure = self.first().unwrap_or(failure);
        let (mended, failed) = (self.mended.load(Ordering::Relaxed), self.failed.load(Ordering::Relaxed));
        if failed == 0 {
            return failure;
        }
        let parts = if failed == 1 { "part" } else { "parts" };
        let were = if mended == 1 { "was" } else { "were" };
        let message =
            format!("{failed} damaged {parts} could not be copied again, {mended} {were}; first: {}", failure.message);
        Failure { message, ..failure }
    }

    fn first(&self) -> Option<Failure> {
        self.first.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::FailureKind;

    fn failure(message: &str, retry: Retry) -> Failure {
        Failure { kind: FailureKind::Target, message: message.into(), retry }
    }

    #[test]
    fn tells_how_many_parts_were_mended_and_the_first_that_was_not() {
        let tally = RepairTally::default();
        tally.add_mended();
        tally.add_mended();
        let (refused, silent) = (failure("refused", Retry::Later), failure("silent", Retry::Soon));
        tally.add_failed(&refused);
        assert_eq!(
            tally.failure(refused.clone()).message,
            "1 damaged part could not be copied again, 2 were; first: refused"
        );
        tally.add_failed(&silent);
        let both = tally.failure(silent);
        assert_eq!(both.message, "2 damaged parts could not be copied again, 2 were; first: refused");
        assert_eq!(both.retry, Retry::Soon, "a retry may help one of them");
    }

    #[test]
    fn gives_up_when_a_registry_gives_no_answer_to_several_parts_in_a_row() {
        let tally = RepairTally::default();
        for _ in 0..MAX_SILENCES - 1 {
            tally.add_failed(&failure("silent", Retry::Soon));
        }
        assert!(tally.hopeless().is_none());
        tally.add_mended();
        for _ in 0..10 * MAX_SILENCES {
            tally.add_failed(&failure("refused", Retry::Later));
        }
        assert!(tally.hopeless().is_none(), "these are answers");
        for _ in 0..MAX_SILENCES {
            tally.add_failed(&failure("silent", Retry::Soon));
        }
        assert_eq!(tally.hopeless().unwrap().message, "silent");
    }
}
