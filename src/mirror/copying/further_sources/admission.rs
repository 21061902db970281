//! Whether a further source is asked: one that fails is asked by one copy at a time, so that the others do not wait for it.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

use crate::model::{cut, doubled};

/// The first pause after a failure; doubles.
const FIRST_PAUSE: Duration = Duration::from_secs(15);
/// The longest pause.
const LONGEST_PAUSE: Duration = Duration::from_secs(5 * 60);

/// The most characters of an error that are kept.
const MAX_ERROR: usize = 300;

/// The state of one further source.
#[derive(Default)]
pub(super) struct Admission(Mutex<Option<Failing>>);

struct Failing {
    until: Instant,
    pauses: u32,
    error: String,
}

impl Failing {
    fn pause(&self) -> Duration {
        doubled(FIRST_PAUSE, self.pauses, LONGEST_PAUSE)
    }
}

impl Admission {
    /// Whether the place may be asked now. One that fails admits one copy after each pause.
    ///
    /// # Errors
    /// The last failure.
    pub fn admit(&self, now: Instant) -> Result<(), String> {
        match &mut *self.state() {
            None => Ok(()),
            Some(failing) if now < failing.until => Err(failing.error.clone()),
            Some(failing) => {
                failing.until = now + failing.pause();
                Ok(())
            }
        }
    }

    /// Records an answer. Returns whether the place counted as failing.
    pub fn answered(&self) -> bool {
        self.state().take().is_some()
    }

    /// Records a failure that is no matter of one image. Returns the pause.
    pub fn failed(&self, error: &str, now: Instant) -> Duration {
        let mut state = self.state();
        // Copies that asked together fail together.
        let pauses = match &*state {
            Some(failing) if now < failing.until => failing.pauses,
            Some(failing) => failing.pauses.saturating_add(1),
            None => 0,
        };
        let mut failing = Failing { until: now, pauses, error: cut(error, MAX_ERROR).into_owned() };
        let pause = failing.pause();
        failing.until = now + pause;
        *state = Some(failing);
        pause
    }

    fn state(&self) -> MutexGuard<'_, Option<Failing>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn one_copy_at_a_time_asks_what_fails_and_less_and_less_often() {
        let (admission, now) = (Admission::default(), Instant::now());
        assert!(admission.admit(now).is_ok());
        assert_eq!(admission.failed("one", now), FIRST_PAUSE);
        assert_eq!(admission.failed("two, which was asked with it", now), FIRST_PAUSE);
        assert_eq!(admission.admit(now).unwrap_err(), "two, which was asked with it");
        let later = now + FIRST_PAUSE;
        assert!(admission.admit(later).is_ok());
        assert!(admission.admit(later).is_err(), "another waits for its answer");
        let failed = later + FIRST_PAUSE;
        assert_eq!(admission.failed("three", failed), FIRST_PAUSE * 2);
        assert!(admission.answered() && admission.admit(failed).is_ok() && !admission.answered());
    }
}
