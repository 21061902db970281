//! Gives a plugin up for a while that keeps breaking down: each try may cost a whole deadline.

use std::{
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

/// Breakdowns in a row. Fewer may be one workload's fault, whose containers are asked about one after another.
const MOST_BREAKDOWNS: u32 = 10;
const FIRST_PAUSE: Duration = Duration::from_secs(30);
const LONGEST_PAUSE: Duration = Duration::from_secs(300);

/// Counts how calls end. Any answer, also one that says no, shows that the plugin works.
#[derive(Debug, Default)]
pub struct Breaker(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    breakdowns: u32,
    pauses: u32,
    open_until: Option<Instant>,
    /// After a pause one call is let through, to see.
    trying: bool,
}

impl Breaker {
    /// Whether the plugin may be asked; otherwise how long it rests at least.
    pub fn admit(&self, now: Instant) -> Result<(), Duration> {
        let mut state = self.lock();
        match state.open_until {
            None => Ok(()),
            Some(until) if now >= until && !state.trying => {
                state.trying = true;
                Ok(())
            }
            Some(until) => Err(until.saturating_duration_since(now)),
        }
    }

    /// It answered.
    pub fn answered(&self) {
        let mut state = self.lock();
        if state.breakdowns > 0 || state.open_until.is_some() {
            *state = State::default();
        }
    }

    /// It broke down; how long it is left alone, when it is given up with this.
    pub fn broke_down(&self, now: Instant) -> Option<Duration> {
        let mut state = self.lock();
        state.breakdowns = state.breakdowns.saturating_add(1);
        let was_trial = std::mem::take(&mut state.trying);
        // Calls that were under way when it was given up do not make the pause longer.
        if state.breakdowns < MOST_BREAKDOWNS || state.open_until.is_some() && !was_trial {
            return None;
        }
        let pause = FIRST_PAUSE.saturating_mul(1 << state.pauses.min(8)).min(LONGEST_PAUSE);
        state.pauses = state.pauses.saturating_add(1);
        state.open_until = Some(now + pause);
        Some(pause)
    }

    /// How long it rests yet; none while it is asked.
    pub fn rest(&self, now: Instant) -> Option<Duration> {
        self.lock().open_until.map(|until| until.saturating_duration_since(now))
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn given_up(now: Instant) -> Breaker {
        let breaker = Breaker::default();
        for _ in 1..MOST_BREAKDOWNS {
            assert_eq!(breaker.broke_down(now), None);
            assert_eq!(breaker.admit(now), Ok(()));
        }
        assert_eq!(breaker.broke_down(now), Some(FIRST_PAUSE));
        breaker
    }

    #[test]
    fn who_keeps_failing_is_left_alone_and_then_tried_once() {
        let now = Instant::now();
        let breaker = given_up(now);
        assert_eq!(breaker.admit(now + FIRST_PAUSE / 2), Err(FIRST_PAUSE / 2));
        let later = now + FIRST_PAUSE;
        assert_eq!(breaker.admit(later), Ok(()));
        assert!(breaker.admit(later).is_err(), "others wait for what the one finds");
        assert_eq!(breaker.broke_down(later), Some(FIRST_PAUSE * 2));
        assert_eq!(breaker.admit(later + FIRST_PAUSE), Err(FIRST_PAUSE));
        assert_eq!(breaker.admit(later + FIRST_PAUSE * 2), Ok(()));
        breaker.answered();
        assert_eq!((breaker.admit(later), breaker.rest(later)), (Ok(()), None));
        assert_eq!(breaker.broke_down(later), None, "it begins anew");
    }

    #[test]
    fn an_answer_between_counts() {
        let now = Instant::now();
        let breaker = Breaker::default();
        for _ in 0..3 {
            for _ in 1..MOST_BREAKDOWNS {
                assert_eq!(breaker.broke_down(now), None);
            }
            breaker.answered();
        }
    }

    #[test]
    fn pauses_end_somewhere_and_late_breakdowns_add_nothing() {
        let mut now = Instant::now();
        let breaker = given_up(now);
        assert_eq!(breaker.broke_down(now), None);
        for _ in 0..20 {
            now += breaker.rest(now).unwrap();
            breaker.admit(now).unwrap();
            assert!(breaker.broke_down(now).unwrap() <= LONGEST_PAUSE);
        }
        assert_eq!(breaker.rest(now), Some(LONGEST_PAUSE));
    }
}
