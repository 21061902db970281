//! What happened within the last minutes, counted.

use std::{
    collections::VecDeque,
    time::{Duration, SystemTime},
};

/// How far back is counted, in minutes.
const WINDOW_MINUTES: u64 = 10;

/// Attempts and failures within the last 10 minutes.
#[derive(Clone, Debug, Default)]
pub struct Recent {
    /// The oldest first, at most one for each minute.
    minutes: VecDeque<Minute>,
}

#[derive(Clone, Copy, Debug)]
struct Minute {
    /// Since 1970.
    number: u64,
    first: SystemTime,
    attempts: u64,
    failed: u64,
}

impl Recent {
    pub fn count(&mut self, is_failure: bool, now: SystemTime) {
        let number = minutes_since_1970(now);
        if self.minutes.back().is_none_or(|minute| minute.number != number) {
            self.minutes.push_back(Minute { number, first: now, attempts: 0, failed: 0 });
            while self.minutes.len() as u64 > WINDOW_MINUTES {
                self.minutes.pop_front();
            }
        }
        if let Some(minute) = self.minutes.back_mut() {
            minute.attempts += 1;
            minute.failed += u64::from(is_failure);
        }
    }

    /// Attempts within the last 10 minutes, failed ones, and the time of the first attempt.
    pub fn within(&self, now: SystemTime) -> (u64, u64, Option<SystemTime>) {
        let oldest = minutes_since_1970(now).saturating_sub(WINDOW_MINUTES);
        let recent = || self.minutes.iter().filter(|minute| minute.number > oldest);
        let sum = |count: fn(&Minute) -> u64| recent().map(count).sum();
        (sum(|minute| minute.attempts), sum(|minute| minute.failed), recent().map(|minute| minute.first).next())
    }
}

pub fn minutes_since_1970(time: SystemTime) -> u64 {
    time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or(Duration::ZERO).as_secs() / 60
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_bounded() {
        let mut recent = Recent::default();
        for minute in 0..1000 {
            recent.count(false, SystemTime::UNIX_EPOCH + Duration::from_secs(60 * minute));
        }
        assert_eq!(recent.minutes.len(), 10);
    }
}
