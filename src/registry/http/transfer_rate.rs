//! How slow a transfer may be. A peer that sends or takes a byte now and then is never silent, and never done.

use std::{fmt, time::Duration};

/// The least that a transfer has to bring, on average over a window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LeastRate {
    /// Bytes a second.
    pub bytes_per_second: u64,
    /// How long a transfer is watched before it is judged, and judged again.
    pub window: Duration,
}

/// Watches one transfer. Only the time counts in which the peer is waited for.
pub(in crate::registry) struct Meter {
    least: Option<LeastRate>,
    bytes: u64,
    waited: Duration,
    longest: Duration,
}

/// What came about in a window, where that is too little.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::registry) struct TooSlow {
    bytes: u64,
    waited: Duration,
    least: u64,
}

impl Meter {
    /// None: a transfer may be as slow as it likes.
    pub fn new(least: Option<LeastRate>) -> Self {
        Self { least, bytes: 0, waited: Duration::ZERO, longest: Duration::ZERO }
    }

    /// So many bytes came after the peer was waited for so long.
    ///
    /// # Errors
    /// When the window has passed, and too little came in it.
    pub fn add(&mut self, bytes: u64, wait: Duration) -> Result<(), TooSlow> {
        let Some(least) = self.least else { return Ok(()) };
        self.bytes = self.bytes.saturating_add(bytes);
        self.waited = self.waited.saturating_add(wait);
        self.longest = self.longest.max(wait);
        // How long a transfer may stand still altogether is another setting: who may stand still has a window afterwards
        // to make up for it.
        if self.waited < least.window.saturating_add(self.longest) {
            return Ok(());
        }
        let seen = TooSlow { bytes: self.bytes, waited: self.waited, least: least.bytes_per_second };
        *self = Self::new(self.least);
        // Both below 2^64 by far: ten years of nanoseconds, and what a network brings in them.
        let wanted = u128::from(least.bytes_per_second).saturating_mul(seen.waited.as_millis()) / 1000;
        if u128::from(seen.bytes) < wanted { Err(seen) } else { Ok(()) }
    }
}

/// `12 bytes in 61s, and minTransferRateKiB asks for 4 KiB a second`
impl fmt::Display for TooSlow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { bytes, waited, least } = self;
        let (seconds, kib) = (waited.as_secs_f32(), least.div_ceil(1024));
        write!(f, "{bytes} bytes in {seconds:.1}s, and minTransferRateKiB asks for {kib} KiB a second")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn meter() -> Meter {
        Meter::new(Some(LeastRate { bytes_per_second: 4096, window: 60 * SECOND }))
    }

    /// After how many pieces of so many bytes, each so late, it is too slow; none: it never is.
    fn ends(bytes: u64, wait: Duration) -> Option<u32> {
        let mut meter = meter();
        (1..10_000).find(|_| meter.add(bytes, wait).is_err())
    }

    #[test]
    fn what_drips_ends_after_a_window_and_what_is_slow_does_not() {
        assert_eq!(ends(1, SECOND), Some(61));
        assert_eq!(ends(1, 30 * SECOND), Some(3));
        assert_eq!(ends(1, 100 * SECOND), Some(2), "each of them longer than the window");
        assert_eq!(ends(4095, SECOND), Some(61));
        assert_eq!(ends(4096, SECOND), None);
        assert_eq!(ends(16 * 1024, 3 * SECOND), None);
        assert_eq!(ends(0, Duration::ZERO), None);
    }

    #[test]
    fn who_stood_still_can_make_up_for_it() {
        let mut meter = meter();
        meter.add(16_384, 100 * SECOND).unwrap();
        for _ in 0..1_000 {
            meter.add(16_384, SECOND).unwrap();
        }
    }

    #[test]
    fn a_burst_is_no_licence_to_drip() {
        let mut meter = meter();
        meter.add(1 << 30, SECOND).unwrap();
        let ends = (1..1_000).find(|_| meter.add(1, SECOND).is_err());
        assert!(ends.is_some_and(|pieces| pieces <= 122), "{ends:?}");
    }

    #[test]
    fn without_a_least_rate_nothing_is_too_slow() {
        let mut meter = Meter::new(None);
        assert!((0..1_000).all(|_| meter.add(0, Duration::MAX).is_ok()));
    }

    #[test]
    fn it_is_told_what_was_seen_and_which_setting_asks_for_more() {
        let told = TooSlow { bytes: 61, waited: 61 * SECOND, least: 4096 }.to_string();
        assert_eq!(told, "61 bytes in 61.0s, and minTransferRateKiB asks for 4 KiB a second");
    }
}
