//! Moments as people are shown them.

use std::time::SystemTime;

use jiff::{Timestamp, Unit};

/// In UTC, to the second, as in `2026-11-27T14:05:00Z`.
pub(super) fn utc(moment: SystemTime) -> String {
    // What jiff can't hold is not a moment that anybody waits for.
    let moment = Timestamp::try_from(moment).unwrap_or(Timestamp::MAX);
    moment.round(Unit::Second).unwrap_or(moment).to_string()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn moments_are_shown_in_utc_to_the_second() {
        let moment = SystemTime::UNIX_EPOCH + Duration::from_millis(1_795_788_300_400);
        assert_eq!(utc(moment), "2026-11-27T14:05:00Z");
    }
}
