//! A circuit breaker: suspends a plugin that fails repeatedly, as each call may last until the deadline. Kept by hand:
//! it is smaller than the glue for a library, and takes the time as an argument.

use std::{
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use crate::model::doubled;

/// Consecutive failures. A smaller number might come from the containers of a single workload.
const MAX_FAILURES: u32 = 10;
const FIRST_PAUSE: Duration = Duration::from_secs(30);
const MAX_PAUSE: Duration = Duration::from_secs(300);

/// Counts consecutive failures. Any answer, even an error that the plugin returns, shows that it works.
#[derive(Debug, Default)]
pub struct Breaker(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    failures: u32,
    pauses: u32,
    open_until: Option<Instant>,
    /// One call was let through after a pause, and has not ended.
    half_open: bool,
}

impl Breaker {
    /// Whether the plugin may be called; else the minimum pause until it may.
    pub fn admit(&self, now: Instant) -> Result<(), Duration> {
        let mut state = self.lock();
        match state.open_until {
            None => Ok(()),
            Some(until) if now >= until && !state.half_open => {
                state.half_open = true;
                Ok(())
            }
            Some(until) => Err(until.saturating_duration_since(now)),
        }
    }

    pub fn record_answer(&self) {
        let mut state = self.lock();
        if state.failures > 0 || state.open_until.is_some() {
            *state = State::default();
        }
    }

    /// The length of the pause, if this failure suspends the plugin.
    pub fn record_failure(&self, now: Instant) -> Option<Duration> {
        let mut state = self.lock();
        state.failures = state.failures.saturating_add(1);
        let was_trial = std::mem::take(&mut state.half_open);
        // Calls that had begun before the suspension do not make the pause longer.
        if state.failures < MAX_FAILURES || state.open_until.is_some() && !was_trial {
            return None;
        }
        let pause = doubled(FIRST_PAUSE, state.pauses, MAX_PAUSE);
        state.pauses = state.pauses.saturating_add(1);
        state.open_until = Some(now + pause);
        Some(pause)
    }

    /// The remaining pause. None: not suspended.
    pub fn remaining_pause(&self, now: Instant) -> Option<Duration> {
        self.lock().open_until.map(|until| until.saturating_duration_since(now))
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn suspended(now: Instant) -> Breaker {
        let breaker = Breaker::default();
        for _ in 1..MAX_FAILURES {
            assert_eq!(breaker.record_failure(now), None);
            assert_eq!(breaker.admit(now), Ok(()));
        }
        assert_eq!(breaker.record_failure(now), Some(FIRST_PAUSE));
        breaker
    }

    #[test]
    fn suspends_after_repeated_failures_and_then_tries_once() {
        let now = Instant::now();
        let breaker = suspended(now);
        assert_eq!(breaker.admit(now + FIRST_PAUSE / 2), Err(FIRST_PAUSE / 2));
        let later = now + FIRST_PAUSE;
        assert_eq!(breaker.admit(later), Ok(()));
        assert!(breaker.admit(later).is_err(), "one trial call at a time");
        assert_eq!(breaker.record_failure(later), Some(FIRST_PAUSE * 2));
        assert_eq!(breaker.admit(later + FIRST_PAUSE), Err(FIRST_PAUSE));
        assert_eq!(breaker.admit(later + FIRST_PAUSE * 2), Ok(()));
        breaker.record_answer();
        assert_eq!((breaker.admit(later), breaker.remaining_pause(later)), (Ok(()), None));
        assert_eq!(breaker.record_failure(later), None, "the count starts at zero");
    }

    #[test]
    fn an_answer_resets_the_count() {
        let now = Instant::now();
        let breaker = Breaker::default();
        for _ in 0..3 {
            for _ in 1..MAX_FAILURES {
                assert_eq!(breaker.record_failure(now), None);
            }
            breaker.record_answer();
        }
    }

    #[test]
    fn limits_the_pause_and_ignores_late_failures() {
        let mut now = Instant::now();
        let breaker = suspended(now);
        assert_eq!(breaker.record_failure(now), None);
        for _ in 0..20 {
            now += breaker.remaining_pause(now).unwrap();
            breaker.admit(now).unwrap();
            assert!(breaker.record_failure(now).unwrap() <= MAX_PAUSE);
        }
        assert_eq!(breaker.remaining_pause(now), Some(MAX_PAUSE));
    }
}
