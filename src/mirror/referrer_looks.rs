//! When the referrers of images that are at their targets are looked for again: signatures arrive after their images.

use std::{
    collections::{HashMap, HashSet},
    time::Duration,
};

use tokio::time::Instant;

use super::{destination_key::DestinationKey, queue::Timers};
use crate::model::doubled;

/// After a failure that may be temporary; it doubles with each further one.
const AFTER_FAILURE: Duration = Duration::from_secs(15 * 60);

/// The first looks after a start are spread over so long, even if there are no others: the program may have been stopped
/// between the copy of an image and that of its referrers.
const SPREAD_WITHOUT_RECHECK: Duration = Duration::from_secs(24 * 60 * 60);

/// The looks that are due, and the times of the others; at most one for each claimed destination.
#[derive(Debug, Default)]
pub struct ReferrerLooks {
    timers: Timers<DestinationKey>,
    due: HashSet<DestinationKey>,
    /// Failed looks in a row.
    failures: HashMap<DestinationKey, u32>,
    /// Those that were looked at, or will be.
    planned: HashSet<DestinationKey>,
}

impl ReferrerLooks {
    /// Images that were at their targets when the program started are looked at within one `recheck`, spread evenly: a
    /// restart must not cost a look at everything.
    pub fn found(&mut self, key: &DestinationKey, recheck: Option<Duration>, now: Instant) {
        if self.planned.insert(key.clone()) {
            let spread = recheck.unwrap_or(SPREAD_WITHOUT_RECHECK);
            self.timers.set(key, now + spread.mul_f64(fastrand::f64()));
        }
    }

    /// A look has ended; `retry`: it failed, and may succeed soon.
    pub fn ended(&mut self, key: &DestinationKey, retry: bool, recheck: Option<Duration>, now: Instant) {
        self.due.remove(key);
        self.planned.insert(key.clone());
        let failures = if retry { self.failures.get(key).map_or(1, |failures| failures.saturating_add(1)) } else { 0 };
        let Some(recheck) = recheck else { return self.timers.remove(key) };
        let pause = match failures {
            0 => {
                self.failures.remove(key);
                recheck
            }
            _ => {
                self.failures.insert(key.clone(), failures);
                doubled(AFTER_FAILURE, failures - 1, recheck)
            }
        };
        // Images that were copied together are not looked at together.
        self.timers.set(key, now + pause.mul_f64(0.9 + fastrand::f64() / 5.0));
    }

    /// Makes a look due: the next work on the destination begins it.
    pub fn request(&mut self, key: &DestinationKey) {
        self.timers.remove(key);
        self.planned.insert(key.clone());
        self.due.insert(key.clone());
    }

    /// A look has copied a part of what it found; the next one follows.
    pub fn continue_at_once(&mut self, key: &DestinationKey, now: Instant) {
        self.planned.insert(key.clone());
        self.timers.set(key, now);
    }

    /// A destination whose look has become due; the look must be requested.
    pub fn wake(&mut self, now: Instant) -> Option<DestinationKey> {
        let key = self.timers.pop(now)?;
        self.due.insert(key.clone());
        Some(key)
    }

    /// When [`Self::wake`] next has something to do.
    pub fn next_wake(&self) -> Option<Instant> {
        self.timers.next()
    }

    /// Whether a look is due; it is begun now.
    pub fn begin(&mut self, key: &DestinationKey) -> bool {
        self.due.remove(key)
    }

    /// No workload claims the destination any more.
    pub fn forget(&mut self, key: &DestinationKey) {
        self.timers.remove(key);
        self.due.remove(key);
        self.planned.remove(key);
        self.failures.remove(key);
    }

    /// The settings have changed: all looks are planned anew, as at the start.
    pub fn reset(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{mirror::testing::target, model::Destination};

    const HOUR: Duration = Duration::from_secs(3600);

    fn key(name: &str) -> DestinationKey {
        DestinationKey::of(&Destination {
            target: target("r.io"),
            repository: name.to_owned(),
            tag: Some("1".to_owned()),
            digest: None,
        })
    }

    #[tokio::test]
    async fn images_found_at_the_start_are_looked_at_within_the_recheck_time() {
        let (now, mut looks) = (Instant::now(), ReferrerLooks::default());
        for number in 0..100 {
            looks.found(&key(&number.to_string()), Some(HOUR), now);
        }
        let first_half = std::iter::from_fn(|| looks.wake(now + HOUR / 2)).count();
        assert!((20..80).contains(&first_half), "{first_half}");
        assert_eq!(std::iter::from_fn(|| looks.wake(now + HOUR)).count(), 100 - first_half);
        looks.found(&key("once"), None, now);
        assert_eq!(looks.wake(now + SPREAD_WITHOUT_RECHECK), Some(key("once")));
        looks.ended(&key("once"), false, None, now);
        looks.found(&key("once"), None, now);
        assert_eq!(looks.next_wake(), None);
    }

    #[tokio::test]
    async fn a_look_is_repeated_and_a_failed_one_sooner() {
        let (now, mut looks) = (Instant::now(), ReferrerLooks::default());
        looks.ended(&key("a"), false, Some(HOUR), now);
        looks.ended(&key("b"), true, Some(HOUR), now);
        assert_eq!(looks.wake(now + AFTER_FAILURE.mul_f64(1.2)), Some(key("b")));
        assert!(looks.wake(now + HOUR / 2).is_none() && looks.begin(&key("b")) && !looks.begin(&key("b")));
        assert_eq!(looks.wake(now + HOUR.mul_f64(1.2)), Some(key("a")));
        looks.found(&key("a"), Some(HOUR), now);
        looks.ended(&key("b"), true, Some(HOUR), now);
        assert!(looks.wake(now + AFTER_FAILURE.mul_f64(1.2)).is_none(), "a is due already, and b has failed twice");
        looks.continue_at_once(&key("b"), now);
        assert_eq!(looks.wake(now), Some(key("b")));
        looks.forget(&key("b"));
        looks.forget(&key("a"));
        assert!(!looks.begin(&key("a")));
    }
}
