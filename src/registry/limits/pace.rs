//! How fast one registry is asked: all who ask it slow down together when it says that they come too often, and get
//! faster again as it answers.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use tokio::sync::Notify;

/// The first pause after a refusal without `Retry-After`; it doubles with each that follows.
const FIRST_PAUSE: Duration = Duration::from_millis(250);

/// The longest pause that the registry has not asked for.
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// A longer one is not waited for: whoever comes meanwhile is told when to come again.
const LONGEST_WAIT: Duration = Duration::from_secs(30);

/// A pause that a registry asks for is kept to its end up to this. Longer ones are often nobody's wish (a page of a proxy
/// has a `Retry-After` of an hour), so that one request looks now and then whether it is over.
const LONGEST_KEPT: Duration = Duration::from_secs(5 * 60);

/// When the first request looks whether a long pause is over; the time doubles with each that finds it is not.
pub(in crate::registry) const FIRST_PROBE: Duration = Duration::from_secs(60);

/// Between two such requests at most.
const LONGEST_PROBE: Duration = Duration::from_secs(5 * 60);

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

/// When to come again where a registry has asked for a pause of so long.
pub(in crate::registry) fn wait_told(asked: Duration) -> Duration {
    if asked > LONGEST_KEPT { FIRST_PROBE } else { asked }
}

/// How often something may be asked.
pub(in crate::registry) struct Pace {
    /// The interval at full speed.
    floor: Duration,
    burst: Duration,
    state: Mutex<State>,
    /// A request that looked whether a pause is over has its answer.
    answered: Notify,
}

struct State {
    next: Instant,
    interval: Duration,
    paused_until: Instant,
    refusals: u32,
    refused: Option<Instant>,
    probe: Option<Probe>,
}

/// Who looks whether a long pause is over.
struct Probe {
    next: Instant,
    interval: Duration,
    /// One is looking just now.
    is_out: bool,
}

/// One request's turn.
pub(in crate::registry) struct Turn<'p> {
    pace: &'p Pace,
    is_probe: bool,
}

/// Not now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Told {
    /// How long there won't be a turn.
    wait: Duration,
    /// Whether somebody is looking just now if it can be sooner.
    is_probed: bool,
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
        let state = State { next: now, interval: floor, paused_until: now, refusals: 0, refused: None, probe: None };
        Self { floor, burst, state: Mutex::new(state), answered: Notify::new() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for its turn.
    ///
    /// # Errors
    /// How long there won't be any, where the registry has asked for a pause that is longer than half a minute.
    pub async fn turn(&self) -> Result<Turn<'_>, Duration> {
        let patient_until = Instant::now() + LONGEST_WAIT;
        loop {
            let answered = self.answered.notified();
            tokio::pin!(answered);
            answered.as_mut().enable();
            let now = Instant::now();
            match self.next_turn(now) {
                Ok((at, is_probe)) => {
                    // Made first: whoever waits no longer leaves room for the next one to look.
                    let turn = Turn { pace: self, is_probe };
                    if at > now {
                        tokio::time::sleep_until(at.into()).await;
                    }
                    return Ok(turn);
                }
                Err(told) if told.is_probed && now < patient_until => {
                    let _ = tokio::time::timeout_at(patient_until.into(), answered).await;
                }
                Err(told) => return Err(told.wait),
            }
        }
    }

    fn next_turn(&self, now: Instant) -> Result<(Instant, bool), Told> {
        let mut state = self.state();
        let pause = state.paused_until.saturating_duration_since(now);
        if pause.is_zero() {
            state.probe = None;
        }
        if let Some(probe) = &mut state.probe {
            if probe.next <= now && !probe.is_out {
                probe.is_out = true;
                probe.interval = probe.interval.saturating_mul(2).min(LONGEST_PROBE);
                probe.next = now + probe.interval;
                return Ok((now, true));
            }
            if pause > LONGEST_WAIT || probe.is_out {
                let wait = probe
                    .next
                    .saturating_duration_since(now)
                    .clamp(Duration::from_secs(1), pause.max(Duration::from_secs(1)));
                return Err(Told { wait, is_probed: probe.is_out });
            }
        } else if pause > LONGEST_WAIT {
            return Err(Told { wait: pause, is_probed: false });
        }
        let earliest = now.checked_sub(self.burst).unwrap_or(now).max(state.paused_until);
        let turn = state.next.max(earliest);
        state.next = turn + state.interval;
        Ok((turn, false))
    }

    fn went_well(&self) {
        let mut state = self.state();
        if state.refusals == 0 {
            return;
        }
        let faster = state.interval.mul_f64(RECOVERY);
        state.interval = if faster < FADED.max(self.floor) { self.floor } else { faster };
        if state.interval == self.floor {
            state.refusals = 0;
        }
    }

    fn too_fast(&self, now: Instant, asked: Option<Duration>) -> Option<Duration> {
        let mut state = self.state();
        let told = state.refused.is_some_and(|refused| now < refused + FIRST_PAUSE);
        if !told {
            state.refused = Some(now);
            state.refusals = state.refusals.saturating_add(1);
            state.interval = (state.interval * 2).clamp(FIRST_INTERVAL, LONGEST_INTERVAL.max(self.floor));
        }
        let doubled =
            FIRST_PAUSE.saturating_mul(1_u32.checked_shl(state.refusals.saturating_sub(1)).unwrap_or(u32::MAX));
        let pause = asked.unwrap_or(doubled.min(LONGEST_PAUSE));
        state.pause(now, pause);
        (!told).then_some(pause)
    }

    /// Nothing is asked for so long.
    pub fn pause(&self, now: Instant, wait: Duration) {
        self.state().pause(now, wait);
    }

    /// Ends a pause.
    pub fn resume(&self) {
        let mut state = self.state();
        state.paused_until = Instant::now();
        state.probe = None;
        drop(state);
        self.answered.notify_waiters();
    }

    /// Lets one request look whether a pause is over, where there is one.
    pub fn probe_now(&self) {
        let now = Instant::now();
        let mut state = self.state();
        if state.paused_until > now {
            let is_out = state.probe.as_ref().is_some_and(|probe| probe.is_out);
            state.probe = Some(Probe { next: now, interval: FIRST_PROBE, is_out });
        }
    }
}

impl State {
    fn pause(&mut self, now: Instant, pause: Duration) {
        self.paused_until = self.paused_until.max(now + pause);
        if pause > LONGEST_KEPT && self.probe.is_none() {
            self.probe = Some(Probe { next: now + FIRST_PROBE, interval: FIRST_PROBE, is_out: false });
        }
    }
}

impl Turn<'_> {
    /// The request was answered. That ends a pause, if it was to look whether it is over; of others the answer may have
    /// been on its way before.
    pub fn went_well(mut self) {
        if std::mem::take(&mut self.is_probe) {
            self.pace.resume();
        }
        self.pace.went_well();
    }

    /// The request was refused for coming too soon; `asked` is what the registry wants us to wait. The pause that
    /// everybody makes now, except where this one belongs to a burst that was under way together.
    pub fn too_fast(self, now: Instant, asked: Option<Duration>) -> Option<Duration> {
        if self.is_probe {
            // The registry's last word counts, even where it is a shorter pause.
            self.pace.state().paused_until = now;
        }
        self.pace.too_fast(now, asked)
    }
}

/// Whoever looked has come back, or has been given up.
impl Drop for Turn<'_> {
    fn drop(&mut self) {
        if self.is_probe {
            if let Some(probe) = &mut self.pace.state().probe {
                probe.is_out = false;
            }
            self.pace.answered.notify_waiters();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// When each of so many turns comes, all asked for at `now`, after `now`.
    fn turns(pace: &Pace, now: Instant, count: usize) -> Vec<Duration> {
        (0..count).map(|_| pace.next_turn(now).unwrap().0.saturating_duration_since(now)).collect()
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
        pace.too_fast(now, Some(LONGEST_KEPT));
        let told = |wait| Err(Told { wait: Duration::from_secs(wait), is_probed: false });
        assert_eq!(pace.next_turn(now + Duration::from_secs(100)), told(200));
        assert_eq!(turns(&pace, now + Duration::from_secs(280), 1)[0], Duration::from_secs(20));
    }

    /// When requests look whether a pause is over, in seconds after `begun`, none of them answered well.
    fn probes(pace: &Pace, begun: Instant, seconds: u64) -> Vec<u64> {
        let looks = |second: &u64| {
            let found = pace.next_turn(begun + Duration::from_secs(*second));
            drop(found.is_ok().then(|| Turn { pace, is_probe: true }));
            found.is_ok_and(|(_, is_probe)| is_probe)
        };
        (0..seconds).filter(looks).collect()
    }

    #[test]
    fn a_long_wait_is_probed_by_one_request_now_and_then() {
        let (pace, begun) = (Pace::free(), Instant::now());
        pace.too_fast(begun, Some(Duration::from_secs(3600)));
        let told = pace.next_turn(begun).unwrap_err();
        assert_eq!(told.wait, FIRST_PROBE, "not the hour: it may be over in a minute");
        assert_eq!(wait_told(Duration::from_secs(3600)), FIRST_PROBE, "and so says the failure itself");
        assert_eq!(probes(&pace, begun, 1500), [60, 180, 420, 720, 1020, 1320]);
        assert!(pace.next_turn(begun + Duration::from_secs(3601)).is_ok());
    }

    #[tokio::test]
    async fn whoever_looks_and_is_answered_well_ends_the_pause_for_all() {
        let pace = Pace::free();
        pace.too_fast(Instant::now(), Some(Duration::from_secs(3600)));
        assert!(pace.turn().await.is_err());
        pace.probe_now();
        let probe = pace.turn().await.unwrap();
        let others = futures::future::join_all((0..5).map(|_| pace.turn()));
        tokio::pin!(others);
        assert!(futures::poll!(&mut others).is_pending(), "they wait for what it finds");
        probe.went_well();
        assert!(others.await.iter().all(Result::is_ok));
    }

    #[tokio::test]
    async fn whoever_looks_and_is_refused_or_lost_lets_the_others_go() {
        for is_refused in [true, false] {
            let pace = Pace::free();
            pace.too_fast(Instant::now(), Some(Duration::from_secs(3600)));
            pace.probe_now();
            let probe = pace.turn().await.unwrap();
            let other = pace.turn();
            tokio::pin!(other);
            assert!(futures::poll!(&mut other).is_pending());
            if is_refused {
                probe.too_fast(Instant::now(), Some(Duration::from_secs(3600)));
            } else {
                drop(probe);
            }
            let wait = other.await.err().unwrap();
            assert!(wait > FIRST_PROBE && wait <= 2 * FIRST_PROBE, "{wait:?}");
        }
    }

    #[tokio::test]
    async fn an_answer_to_what_was_asked_before_ends_no_pause() {
        let pace = Pace::free();
        let before = pace.turn().await.unwrap();
        pace.too_fast(Instant::now(), Some(Duration::from_secs(3600)));
        before.went_well();
        assert!(pace.turn().await.is_err());
        pace.resume();
        assert!(pace.turn().await.is_ok());
    }
}
