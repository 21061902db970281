//! Times for people.

use std::time::SystemTime;

use jiff::{Timestamp, Unit};

/// In UTC with whole seconds: `2026-11-27T14:05:00Z`.
pub(super) fn utc(time: SystemTime) -> String {
    let time = Timestamp::try_from(time).unwrap_or(Timestamp::MAX);
    time.round(Unit::Second).unwrap_or(time).to_string()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn times_are_in_utc_with_whole_seconds() {
        let time = SystemTime::UNIX_EPOCH + Duration::from_millis(1_795_788_300_400);
        assert_eq!(utc(time), "2026-11-27T14:05:00Z");
    }
}
