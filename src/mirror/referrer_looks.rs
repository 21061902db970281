//! When the referrers of images that are at their targets are looked for again: signatures arrive after their images.

use std::{collections::HashSet, time::Duration};

use tokio::time::Instant;

use super::{destination_key::DestinationKey, queue::Timers};

/// After a failure that may be temporary.
const AFTER_FAILURE: Duration = Duration::from_secs(15 * 60);

/// The looks that are due, and the times of the others; at most one for each claimed destination.
#[derive(Debug, Default)]
pub struct ReferrerLooks {
    timers: Timers<DestinationKey>,
    due: HashSet<DestinationKey>,
}

impl ReferrerLooks {
    /// Images that were at their targets when the program started are looked at within one `recheck`, spread evenly: a
    /// restart must not cost a look at everything.
    pub fn found(&mut self, key: &DestinationKey, recheck: Option<Duration>, now: Instant) {
        if let Some(recheck) = recheck.filter(|_| !self.timers.contains(key) && !self.due.contains(key)) {
            self.timers.set(key, now + recheck.mul_f64(fastrand::f64()));
        }
    }

    /// A look has ended; `retry`: it failed, and may succeed soon.
    pub fn ended(&mut self, key: &DestinationKey, retry: bool, recheck: Option<Duration>, now: Instant) {
        self.due.remove(key);
        let Some(recheck) = recheck else { return self.timers.remove(key) };
        let pause = if retry { AFTER_FAILURE.min(recheck) } else { recheck };
        // Images that were copied together are not looked at together.
        self.timers.set(key, now + pause.mul_f64(0.9 + fastrand::f64() / 5.0));
    }

    /// Makes a look due.
    pub fn request(&mut self, key: &DestinationKey) {
        self.timers.remove(key);
        self.due.insert(key.clone());
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
        looks.found(&key("never"), None, now);
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
        assert_eq!(looks.next_wake(), None, "it is due already");
        looks.forget(&key("a"));
        assert!(!looks.begin(&key("a")));
    }
}
