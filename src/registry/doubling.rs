//! Exponential growth of pauses.

use std::time::Duration;

/// `first` doubled this many times, up to the longest `Duration`.
pub(super) fn doubled(first: Duration, times: u32) -> Duration {
    first.saturating_mul(1_u32.checked_shl(times).unwrap_or(u32::MAX))
}
