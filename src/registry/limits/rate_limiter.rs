//! The request rate of one registry: all requests slow down together when it limits them, and speed up again as it
//! answers. Kept by hand: rate-limiting crates keep a fixed rate, and don't learn one from 429 and `Retry-After`.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use tokio::sync::Notify;

use crate::model::doubled;

/// The first pause after a 429 without `Retry-After`; it doubles with each further one.
const FIRST_PAUSE: Duration = Duration::from_millis(250);

/// The longest pause without `Retry-After`.
const MAX_OWN_PAUSE: Duration = Duration::from_secs(2);

/// Longer pauses are reported to the caller instead of waited for.
const MAX_WAIT: Duration = Duration::from_secs(30);

/// A `Retry-After` up to this is kept. A longer one is often not meant (error pages of proxies say an hour), so single
/// requests probe whether the pause has ended.
const MAX_UNPROBED_PAUSE: Duration = Duration::from_secs(5 * 60);

/// The time before the first probe; it doubles with each that fails.
pub(in crate::registry) const FIRST_PROBE: Duration = Duration::from_secs(60);

/// The longest time between two probes.
const MAX_PROBE_INTERVAL: Duration = Duration::from_secs(5 * 60);

/// How long a request is repeated, at a falling rate, while a registry that is known to allow that rate responds with
/// 429. Then it counts as failed.
pub const MAX_THROTTLED_TIME: Duration = Duration::from_secs(30);

/// The time between two requests after the first 429.
const FIRST_INTERVAL: Duration = Duration::from_millis(5);

/// The longest time between two requests.
const MAX_INTERVAL: Duration = Duration::from_millis(500);

/// The factor by which each success shortens the interval; below [`NEGLIGIBLE`] it becomes zero.
const RECOVERY: f64 = 0.95;
const NEGLIGIBLE: Duration = Duration::from_millis(1);

/// When to retry after a registry has requested a pause: at the first probe, if the pause is long.
pub(in crate::registry) fn retry_delay(pause: Duration) -> Duration {
    if pause > MAX_UNPROBED_PAUSE { FIRST_PROBE } else { pause }
}

/// Limits the rate of requests.
pub(in crate::registry) struct RateLimiter {
    /// The interval at the full rate.
    min_interval: Duration,
    burst: Duration,
    state: Mutex<State>,
    /// A probe has ended.
    probe_ended: Notify,
}

struct State {
    next: Instant,
    interval: Duration,
    paused_until: Instant,
    throttled_count: u32,
    throttled_at: Option<Instant>,
    probe: Option<Probe>,
}

/// The probing of a long pause.
struct Probe {
    next: Instant,
    interval: Duration,
    is_in_flight: bool,
}

/// Permission to send one request now.
pub(in crate::registry) struct Slot<'l> {
    limiter: &'l RateLimiter,
    is_probe: bool,
}

/// No request may be sent now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Paused {
    retry_in: Duration,
    /// A probe may end the pause earlier.
    is_probed: bool,
}

impl RateLimiter {
    /// Unlimited until the registry responds with 429.
    pub fn adaptive() -> Self {
        Self::new(Duration::ZERO, Duration::ZERO)
    }

    /// Four fifths of a quota per second, with bursts of the remaining fifth, so that no second exceeds the quota.
    pub fn with_quota(per_second: f64) -> Self {
        let min_interval = Duration::from_secs_f64(1.25 / per_second);
        Self::new(min_interval, min_interval.mul_f64((per_second / 5.0 - 1.0).max(0.0)))
    }

    fn new(min_interval: Duration, burst: Duration) -> Self {
        let now = Instant::now();
        let state = State {
            next: now,
            interval: min_interval,
            paused_until: now,
            throttled_count: 0,
            throttled_at: None,
            probe: None,
        };
        Self { min_interval, burst, state: Mutex::new(state), probe_ended: Notify::new() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until a request may be sent.
    ///
    /// # Errors
    /// The remaining pause, if it is longer than half a minute.
    pub async fn acquire(&self) -> Result<Slot<'_>, Duration> {
        let deadline = Instant::now() + MAX_WAIT;
        loop {
            let probe_ended = self.probe_ended.notified();
            tokio::pin!(probe_ended);
            probe_ended.as_mut().enable();
            let now = Instant::now();
            match self.next_slot(now) {
                Ok((at, is_probe)) => {
                    // Before the wait: when this future is dropped, the slot ends the probe.
                    let slot = Slot { limiter: self, is_probe };
                    if at > now {
                        tokio::time::sleep_until(at.into()).await;
                    }
                    return Ok(slot);
                }
                Err(paused) if paused.is_probed && now < deadline => {
                    let _ = tokio::time::timeout_at(deadline.into(), probe_ended).await;
                }
                Err(paused) => return Err(paused.retry_in),
            }
        }
    }

    /// The time of the next request, and whether it is a probe.
    fn next_slot(&self, now: Instant) -> Result<(Instant, bool), Paused> {
        let mut state = self.state();
        let pause = state.paused_until.saturating_duration_since(now);
        if pause.is_zero() {
            state.probe = None;
        }
        if let Some(probe) = &mut state.probe {
            if probe.next <= now && !probe.is_in_flight {
                probe.is_in_flight = true;
                probe.interval = probe.interval.saturating_mul(2).min(MAX_PROBE_INTERVAL);
                probe.next = now + probe.interval;
                return Ok((now, true));
            }
            if pause > MAX_WAIT || probe.is_in_flight {
                let retry_in = probe
                    .next
                    .saturating_duration_since(now)
                    .clamp(Duration::from_secs(1), pause.max(Duration::from_secs(1)));
                return Err(Paused { retry_in, is_probed: probe.is_in_flight });
            }
        } else if pause > MAX_WAIT {
            return Err(Paused { retry_in: pause, is_probed: false });
        }
        let earliest = now.checked_sub(self.burst).unwrap_or(now).max(state.paused_until);
        let slot = state.next.max(earliest);
        state.next = slot + state.interval;
        Ok((slot, false))
    }

    fn succeeded(&self) {
        let mut state = self.state();
        if state.throttled_count == 0 {
            return;
        }
        let shorter = state.interval.mul_f64(RECOVERY);
        state.interval = if shorter < NEGLIGIBLE.max(self.min_interval) { self.min_interval } else { shorter };
        if state.interval == self.min_interval {
            state.throttled_count = 0;
        }
    }

    fn throttled(&self, now: Instant, retry_after: Option<Duration>) -> Option<Duration> {
        let mut state = self.state();
        let is_same_burst = state.throttled_at.is_some_and(|at| now < at + FIRST_PAUSE);
        if !is_same_burst {
            state.throttled_at = Some(now);
            state.throttled_count = state.throttled_count.saturating_add(1);
            state.interval = (state.interval * 2).clamp(FIRST_INTERVAL, MAX_INTERVAL.max(self.min_interval));
        }
        let own_pause = doubled(FIRST_PAUSE, state.throttled_count.saturating_sub(1), MAX_OWN_PAUSE);
        let pause = retry_after.unwrap_or(own_pause);
        state.pause(now, pause);
        (!is_same_burst).then_some(pause)
    }

    /// Sends no request for this long.
    pub fn pause(&self, now: Instant, pause: Duration) {
        self.state().pause(now, pause);
    }

    /// Ends a pause.
    pub fn resume(&self) {
        let mut state = self.state();
        state.paused_until = Instant::now();
        state.probe = None;
        drop(state);
        self.probe_ended.notify_waiters();
    }

    /// Lets the next request probe whether a pause has ended.
    pub fn probe_now(&self) {
        let now = Instant::now();
        let mut state = self.state();
        if state.paused_until > now {
            let is_in_flight = state.probe.as_ref().is_some_and(|probe| probe.is_in_flight);
            state.probe = Some(Probe { next: now, interval: FIRST_PROBE, is_in_flight });
        }
    }
}

impl State {
    fn pause(&mut self, now: Instant, pause: Duration) {
        self.paused_until = self.paused_until.max(now + pause);
        if pause > MAX_UNPROBED_PAUSE && self.probe.is_none() {
            self.probe = Some(Probe { next: now + FIRST_PROBE, interval: FIRST_PROBE, is_in_flight: false });
        }
    }
}

impl Slot<'_> {
    /// The registry answered. A probe ends the pause with that; other responses may be older than the pause.
    pub fn succeeded(mut self) {
        if std::mem::take(&mut self.is_probe) {
            self.limiter.resume();
        }
        self.limiter.succeeded();
    }

    /// The registry responded with 429 or 503. Returns the pause that all requests make now; None if this request was
    /// sent in the same burst as an earlier one that was throttled.
    pub fn throttled(self, now: Instant, retry_after: Option<Duration>) -> Option<Duration> {
        if self.is_probe {
            // The latest `Retry-After` counts, even if it is shorter.
            self.limiter.state().paused_until = now;
        }
        self.limiter.throttled(now, retry_after)
    }
}

/// The probe has ended, or was cancelled.
impl Drop for Slot<'_> {
    fn drop(&mut self) {
        if self.is_probe {
            if let Some(probe) = &mut self.limiter.state().probe {
                probe.is_in_flight = false;
            }
            self.limiter.probe_ended.notify_waiters();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The times of `count` slots requested at `now`, relative to `now`.
    fn slots(limiter: &RateLimiter, now: Instant, count: usize) -> Vec<Duration> {
        (0..count).map(|_| limiter.next_slot(now).unwrap().0.saturating_duration_since(now)).collect()
    }

    #[test]
    fn no_second_exceeds_the_quota() {
        for allowed in [10.0, 100.0] {
            let limiter = RateLimiter::with_quota(allowed);
            let times = slots(&limiter, Instant::now() + Duration::from_secs(10), 400);
            for window in times.windows(allowed as usize + 1) {
                assert!(*window.last().unwrap() - window[0] >= Duration::from_millis(990), "{allowed}: {window:?}");
            }
            let at_best = Duration::from_secs_f64(400.0 / allowed);
            assert!(times[399] < at_best.mul_f64(1.3), "and not much slower: {:?}", times[399]);
        }
    }

    #[test]
    fn slows_down_after_429_and_recovers() {
        for limiter in [RateLimiter::adaptive(), RateLimiter::with_quota(100.0)] {
            let mut now = Instant::now();
            let fast = slots(&limiter, now, 100)[99];
            for expected in [250, 500, 1000, 2000, 2000] {
                now += Duration::from_secs(60);
                assert_eq!(limiter.throttled(now, None), Some(Duration::from_millis(expected)));
                assert_eq!(limiter.throttled(now, None), None, "in the same burst");
                assert_eq!(slots(&limiter, now, 1)[0], Duration::from_millis(expected));
            }
            let slow = slots(&limiter, now, 100)[99];
            assert!(slow > fast + Duration::from_secs(8), "{slow:?} after {fast:?}");
            for _ in 0..200 {
                limiter.succeeded();
            }
            assert!(slots(&limiter, now + Duration::from_secs(3600), 100)[99] <= fast);
            assert_eq!(limiter.throttled(now + Duration::from_secs(7200), None), Some(FIRST_PAUSE));
        }
    }

    #[test]
    fn keeps_retry_after() {
        let (limiter, now) = (RateLimiter::adaptive(), Instant::now());
        limiter.throttled(now, Some(Duration::from_secs(7)));
        assert_eq!(slots(&limiter, now, 1)[0], Duration::from_secs(7));
        limiter.throttled(now, Some(MAX_UNPROBED_PAUSE));
        let paused = |seconds| Err(Paused { retry_in: Duration::from_secs(seconds), is_probed: false });
        assert_eq!(limiter.next_slot(now + Duration::from_secs(100)), paused(200));
        assert_eq!(slots(&limiter, now + Duration::from_secs(280), 1)[0], Duration::from_secs(20));
    }

    /// The times of probes, in seconds after `begun`, none of which succeeds.
    fn probes(limiter: &RateLimiter, begun: Instant, seconds: u64) -> Vec<u64> {
        let is_probe_at = |second: &u64| {
            let slot = limiter.next_slot(begun + Duration::from_secs(*second));
            drop(slot.is_ok().then(|| Slot { limiter, is_probe: true }));
            slot.is_ok_and(|(_, is_probe)| is_probe)
        };
        (0..seconds).filter(is_probe_at).collect()
    }

    #[test]
    fn single_requests_probe_a_long_pause() {
        let (limiter, begun) = (RateLimiter::adaptive(), Instant::now());
        limiter.throttled(begun, Some(Duration::from_secs(3600)));
        let paused = limiter.next_slot(begun).unwrap_err();
        assert_eq!(paused.retry_in, FIRST_PROBE, "not the hour: a probe is due in a minute");
        assert_eq!(retry_delay(Duration::from_secs(3600)), FIRST_PROBE, "the first failure says the same");
        assert_eq!(probes(&limiter, begun, 1500), [60, 180, 420, 720, 1020, 1320]);
        assert!(limiter.next_slot(begun + Duration::from_secs(3601)).is_ok());
    }

    #[tokio::test]
    async fn a_successful_probe_ends_the_pause_for_all() {
        let limiter = RateLimiter::adaptive();
        limiter.throttled(Instant::now(), Some(Duration::from_secs(3600)));
        assert!(limiter.acquire().await.is_err());
        limiter.probe_now();
        let probe = limiter.acquire().await.unwrap();
        let others = futures::future::join_all((0..5).map(|_| limiter.acquire()));
        tokio::pin!(others);
        assert!(futures::poll!(&mut others).is_pending(), "they wait for the probe");
        probe.succeeded();
        assert!(others.await.iter().all(Result::is_ok));
    }

    #[tokio::test]
    async fn a_throttled_or_cancelled_probe_releases_the_others() {
        for is_refused in [true, false] {
            let limiter = RateLimiter::adaptive();
            limiter.throttled(Instant::now(), Some(Duration::from_secs(3600)));
            limiter.probe_now();
            let probe = limiter.acquire().await.unwrap();
            let other = limiter.acquire();
            tokio::pin!(other);
            assert!(futures::poll!(&mut other).is_pending());
            if is_refused {
                probe.throttled(Instant::now(), Some(Duration::from_secs(3600)));
            } else {
                drop(probe);
            }
            let wait = other.await.err().unwrap();
            assert!(wait > FIRST_PROBE && wait <= 2 * FIRST_PROBE, "{wait:?}");
        }
    }

    #[tokio::test]
    async fn a_response_to_an_earlier_request_ends_no_pause() {
        let limiter = RateLimiter::adaptive();
        let before = limiter.acquire().await.unwrap();
        limiter.throttled(Instant::now(), Some(Duration::from_secs(3600)));
        before.succeeded();
        assert!(limiter.acquire().await.is_err());
        limiter.resume();
        assert!(limiter.acquire().await.is_ok());
    }
}
