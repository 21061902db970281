//! How fast something grows.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

/// The time over which a rate is measured.
const WINDOW: Duration = Duration::from_secs(5);
/// More often than this nothing is recorded, which bounds the memory.
const INTERVAL: Duration = Duration::from_millis(100);

/// The rate over the last seconds.
#[derive(Debug, Default)]
pub struct Rate {
    samples: VecDeque<(Instant, u64)>,
    /// When the value was last seen to change.
    changed: Option<(Instant, u64)>,
}

impl Rate {
    /// Records a value.
    pub fn record(&mut self, now: Instant, value: u64) {
        if self.changed.is_none_or(|(_, last)| last != value) {
            self.changed = Some((now, value));
        }
        if self.samples.back().is_some_and(|(last, _)| now.duration_since(*last) < INTERVAL) {
            return;
        }
        self.samples.push_back((now, value));
        while self.samples.len() > 2 && self.samples.front().is_some_and(|(at, _)| now.duration_since(*at) > WINDOW) {
            self.samples.pop_front();
        }
    }

    /// Units in a second; none if not known yet.
    pub fn per_second(&self) -> Option<u64> {
        let ((from, first), (to, last)) = (self.samples.front()?, self.samples.back()?);
        let milliseconds = u64::try_from(to.duration_since(*from).as_millis()).ok().filter(|time| *time > 0)?;
        Some(last.saturating_sub(*first).saturating_mul(1000) / milliseconds)
    }

    /// How long the value has been the same.
    pub fn unchanged_for(&self, now: Instant) -> Duration {
        self.changed.map_or(Duration::ZERO, |(at, _)| now.duration_since(at))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_last_seconds_count() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut rate = Rate::default();
        assert_eq!(rate.per_second(), None);
        for second in 0..=10 {
            rate.record(at(second), second * 1000);
        }
        assert_eq!(rate.per_second(), Some(1000));
        for second in 11..=20 {
            rate.record(at(second), 10_000);
        }
        assert_eq!((rate.per_second(), rate.unchanged_for(at(20))), (Some(0), Duration::from_secs(10)));
        for millisecond in 0..1000 {
            rate.record(at(20) + Duration::from_millis(millisecond), millisecond);
        }
        assert!(rate.samples.len() < 20, "{}", rate.samples.len());
    }
}
