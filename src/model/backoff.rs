//! Growing pauses. By hand, because the crates for this sleep themselves, and most callers only compute a moment.

use std::time::Duration;

/// `first`, doubled `times` times, but at most `longest`.
pub fn doubled(first: Duration, times: u32, longest: Duration) -> Duration {
    first.saturating_mul(1_u32.checked_shl(times).unwrap_or(u32::MAX)).min(longest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn doubles_up_to_the_limit() {
        let second = Duration::from_secs(1);
        let pauses: Vec<u64> = [0, 1, 2, 5, 6, 31, 32, u32::MAX]
            .into_iter()
            .map(|times| doubled(second, times, 60 * second).as_secs())
            .collect();
        assert_eq!(pauses, [1, 2, 4, 32, 60, 60, 60, 60]);
    }
}
