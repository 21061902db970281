//! The minimum transfer rate: a peer that sends or accepts a byte now and then never times out and never finishes.

use std::{fmt, time::Duration};

/// The minimum average rate of a transfer over a window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MinTransferRate {
    /// Bytes per second.
    pub bytes_per_second: u64,
    /// The time over which the average is taken.
    pub window: Duration,
}

/// Measures one transfer. Only the time spent waiting for the peer counts.
pub(in crate::registry) struct RateMeter {
    min_rate: Option<MinTransferRate>,
    bytes: u64,
    waited: Duration,
    longest_wait: Duration,
}

/// The transfer of a window that was below the minimum.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::registry) struct TooSlow {
    bytes: u64,
    waited: Duration,
    min_bytes_per_second: u64,
}

impl RateMeter {
    /// None: no minimum.
    pub fn new(min_rate: Option<MinTransferRate>) -> Self {
        Self { min_rate, bytes: 0, waited: Duration::ZERO, longest_wait: Duration::ZERO }
    }

    /// Counts bytes that came after waiting for the peer.
    ///
    /// # Errors
    /// When a window has ended with too few bytes.
    pub fn add(&mut self, bytes: u64, wait: Duration) -> Result<(), TooSlow> {
        let Some(min_rate) = self.min_rate else { return Ok(()) };
        self.bytes = self.bytes.saturating_add(bytes);
        self.waited = self.waited.saturating_add(wait);
        self.longest_wait = self.longest_wait.max(wait);
        // Stalls are bounded by another setting: after one, the peer has a whole window to make up for it.
        if self.waited < min_rate.window.saturating_add(self.longest_wait) {
            return Ok(());
        }
        let measured =
            TooSlow { bytes: self.bytes, waited: self.waited, min_bytes_per_second: min_rate.bytes_per_second };
        *self = Self::new(self.min_rate);
        let required = u128::from(min_rate.bytes_per_second).saturating_mul(measured.waited.as_millis()) / 1000;
        if u128::from(measured.bytes) < required { Err(measured) } else { Ok(()) }
    }
}

/// `12 bytes in 61s, less than minTransferRateKiB (4 KiB/s)`
impl fmt::Display for TooSlow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { bytes, waited, min_bytes_per_second } = self;
        let (seconds, kib) = (waited.as_secs_f32(), min_bytes_per_second.div_ceil(1024));
        write!(f, "{bytes} bytes in {seconds:.1}s, less than minTransferRateKiB ({kib} KiB/s)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn meter() -> RateMeter {
        RateMeter::new(Some(MinTransferRate { bytes_per_second: 4096, window: 60 * SECOND }))
    }

    /// The number of pieces of this size, each after this wait, until the transfer is too slow.
    fn pieces_until_rejected(bytes: u64, wait: Duration) -> Option<u32> {
        let mut meter = meter();
        (1..10_000).find(|_| meter.add(bytes, wait).is_err())
    }

    #[test]
    fn rejects_transfers_below_the_minimum_after_a_window() {
        assert_eq!(pieces_until_rejected(1, SECOND), Some(61));
        assert_eq!(pieces_until_rejected(1, 30 * SECOND), Some(3));
        assert_eq!(pieces_until_rejected(1, 100 * SECOND), Some(2), "each of them longer than the window");
        assert_eq!(pieces_until_rejected(4095, SECOND), Some(61));
        assert_eq!(pieces_until_rejected(4096, SECOND), None);
        assert_eq!(pieces_until_rejected(16 * 1024, 3 * SECOND), None);
        assert_eq!(pieces_until_rejected(0, Duration::ZERO), None);
    }

    #[test]
    fn a_stall_can_be_made_up_for() {
        let mut meter = meter();
        meter.add(16_384, 100 * SECOND).unwrap();
        for _ in 0..1_000 {
            meter.add(16_384, SECOND).unwrap();
        }
    }

    #[test]
    fn a_burst_counts_for_one_window_only() {
        let mut meter = meter();
        meter.add(1 << 30, SECOND).unwrap();
        let ends = (1..1_000).find(|_| meter.add(1, SECOND).is_err());
        assert!(ends.is_some_and(|pieces| pieces <= 122), "{ends:?}");
    }

    #[test]
    fn without_a_minimum_nothing_is_too_slow() {
        let mut meter = RateMeter::new(None);
        assert!((0..1_000).all(|_| meter.add(0, Duration::MAX).is_ok()));
    }

    #[test]
    fn names_the_measured_rate_and_the_setting() {
        let text = TooSlow { bytes: 61, waited: 61 * SECOND, min_bytes_per_second: 4096 }.to_string();
        assert_eq!(text, "61 bytes in 61.0s, less than minTransferRateKiB (4 KiB/s)");
    }
}
