//! How fast one registry is asked: all who ask it slow down together when it says that they come too often, and get
//! faster again as it answers.

use std::{
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

/// The first pause after a refusal without `Retry-After`; it doubles with each that follows.
const FIRST_PAUSE: Duration = Duration::from_millis(250);

/// The longest pause that the registry has not asked for.
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// A longer one is not waited for: whoever comes meanwhile is told when to come again.
const LONGEST_WAIT: Duration = Duration::from_secs(30);

/// So long a request is sent again and again to a registry that says it comes too often, each time more slowly, before
/// that counts as a failure.
pub const LONGEST_THROTTLING: Duration = Duration::from_secs(30);

/// Between two requests after the first refusal.
const FIRST_INTERVAL: Duration = Duration::from_millis(5);

/// Between two requests at worst.
const LONGEST_INTERVAL: Duration = Duration::from_millis(500);

/// What is left of the interval after each request that went well; below [`FADED`] nothing is.
const RECOVERY: f64 = 0.95;
const FADED: Duration = Duration::from_millis(1);

/// How often something may be asked.
pub(super) struct Pace {
    /// The interval at full speed.
    floor: Duration,
    burst: Duration,
    state: Mutex<State>,
}

struct State {
    next: Instant,
    interval: Duration,
    paused_until: Instant,
    refusals: u32,
    refused: Option<Instant>,
}

impl Pace {
    /// As fast as can be.
    pub fn free() -> Self {
        Self::new(Duration::ZERO, Duration::ZERO)
    }

    /// Four fifths of what is allowed each second, and a burst of the fifth that is left, so that no second has more.
    pub fn below(allowed: f64) -> Self {
        let floor = Duration::from_secs_f64(1.25 / allowed);
        Self::new(floor, floor.mul_f64((allowed / 5.0 - 1.0).max(0.0)))
    }

    fn new(floor: Duration, burst: Duration) -> Self {
        let now = Instant::now();
        let state = State { next: now, interval: floor, paused_until: now, refusals: 0, refused: None };
        Self { floor, burst, state: Mutex::new(state) }
    }

    /// Waits for its turn.
    ///
    /// # Errors
    /// How long there won't be any, where the registry has asked for a pause that is longer than half a minute.
    pub async fn turn(&self) -> Result<(), Duration> {
        let now = Instant::now();
        let turn = self.next_turn(now)?;
        if turn > now {
            tokio::time::sleep_until(turn.into()).await;
        }
        Ok(())
    }

    fn next_turn(&self, now: Instant) -> Result<Instant, Duration> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let pause = state.paused_until.saturating_duration_since(now);
        if pause > LONGEST_WAIT {
            return Err(pause);
        }
        let earliest = now.checked_sub(self.burst).unwrap_or(now).max(state.paused_until);
        let turn = state.next.max(earliest);
        state.next = turn + state.interval;
        Ok(turn)
    }

    /// A request was answered.
    pub fn went_well(&self) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.refusals == 0 {
            return;
        }
        let faster = state.interval.mul_f64(RECOVERY);
        state.interval = if faster < FADED.max(self.floor) { self.floor } else { faster };
        if state.interval == self.floor {
            state.refusals = 0;
        }
    }

    /// A request was refused for coming too soon; `asked` is what the registry wants us to wait. The pause that
    /// everybody makes now, except where this one belongs to a burst that was under way together.
    pub fn too_fast(&self, now: Instant, asked: Option<Duration>) -> Option<Duration> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let told = state.refused.is_some_and(|refused| now < refused + FIRST_PAUSE);
        if !told {
            state.refused = Some(now);
            state.refusals = state.refusals.saturating_add(1);
            state.interval = (state.interval * 2).clamp(FIRST_INTERVAL, LONGEST_INTERVAL.max(self.floor));
        }
        let doubled =
            FIRST_PAUSE.saturating_mul(1_u32.checked_shl(state.refusals.saturating_sub(1)).unwrap_or(u32::MAX));
        let pause = asked.unwrap_or(doubled.min(LONGEST_PAUSE));
        state.paused_until = state.paused_until.max(now + pause);
        (!told).then_some(pause)
    }

    /// Nothing is asked for so long.
    pub fn pause(&self, now: Instant, wait: Duration) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.paused_until = state.paused_until.max(now + wait);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// When each of so many turns comes, all asked for at `now`, after `now`.
    fn turns(pace: &Pace, now: Instant, count: usize) -> Vec<Duration> {
        (0..count).map(|_| pace.next_turn(now).unwrap().saturating_duration_since(now)).collect()
    }

    #[test]
    fn no_second_has_more_than_is_allowed() {
        for allowed in [10.0, 100.0] {
            let pace = Pace::below(allowed);
            let times = turns(&pace, Instant::now() + Duration::from_secs(10), 400);
            for window in times.windows(allowed as usize + 1) {
                assert!(*window.last().unwrap() - window[0] >= Duration::from_millis(990), "{allowed}: {window:?}");
            }
            let at_best = Duration::from_secs_f64(400.0 / allowed);
            assert!(times[399] < at_best.mul_f64(1.3), "and not far fewer: {:?}", times[399]);
        }
    }

    #[test]
    fn refusals_slow_everybody_down_and_are_got_over() {
        for pace in [Pace::free(), Pace::below(100.0)] {
            let mut now = Instant::now();
            let fast = turns(&pace, now, 100)[99];
            for expected in [250, 500, 1000, 2000, 2000] {
                now += Duration::from_secs(60);
                assert_eq!(pace.too_fast(now, None), Some(Duration::from_millis(expected)));
                assert_eq!(pace.too_fast(now, None), None, "of the same burst");
                assert_eq!(turns(&pace, now, 1)[0], Duration::from_millis(expected));
            }
            let slow = turns(&pace, now, 100)[99];
            assert!(slow > fast + Duration::from_secs(8), "{slow:?} after {fast:?}");
            for _ in 0..200 {
                pace.went_well();
            }
            assert!(turns(&pace, now + Duration::from_secs(3600), 100)[99] <= fast);
            assert_eq!(pace.too_fast(now + Duration::from_secs(7200), None), Some(FIRST_PAUSE));
        }
    }

    #[test]
    fn the_registry_says_how_long_to_wait() {
        let (pace, now) = (Pace::free(), Instant::now());
        pace.too_fast(now, Some(Duration::from_secs(7)));
        assert_eq!(turns(&pace, now, 1)[0], Duration::from_secs(7));
        pace.too_fast(now, Some(Duration::from_secs(600)));
        assert_eq!(pace.next_turn(now + Duration::from_secs(100)), Err(Duration::from_secs(500)));
        assert_eq!(turns(&pace, now + Duration::from_secs(580), 1)[0], Duration::from_secs(20));
    }
}
