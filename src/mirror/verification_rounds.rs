//! When which destination is verified: each once in a period, spread evenly, one after another.

use std::{
    collections::{BTreeMap, HashMap},
    time::{Duration, SystemTime},
};

use tokio::time::Instant;

use super::{destination_key::DestinationKey, queue::Timers};
use crate::model::doubled;

/// Before a verification that told nothing is repeated; it doubles each time.
const AFTER_FAILURE: Duration = Duration::from_secs(15 * 60);

/// Before a destination that is being copied to is looked at.
const WHILE_BUSY: Duration = Duration::from_secs(60);

/// The result of the verification of a destination.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Finding {
    /// It has everything.
    Whole,
    /// The target did not tell.
    Unknown,
    /// Parts of an image are missing or wrong.
    Damaged,
}

/// At most one timer for each claimed destination.
#[derive(Debug, Default)]
pub struct VerificationRounds {
    timers: Timers<DestinationKey>,
    destinations: HashMap<DestinationKey, Known>,
    /// The number of destinations by the time of their last verification.
    by_time: BTreeMap<SystemTime, usize>,
    /// The one that is being verified.
    current: Option<DestinationKey>,
}

/// What is known of a destination.
#[derive(Debug)]
struct Known {
    /// When it was last verified; before that, when it was found at the target.
    since: SystemTime,
    /// Verifications without an answer, in a row.
    unanswered: u32,
}

impl VerificationRounds {
    /// An image is at the destination: it is verified within one period, if that is not planned.
    pub fn found(&mut self, key: &DestinationKey, period: Duration, now: Instant) {
        if !self.destinations.contains_key(key) {
            self.insert(key, SystemTime::now());
        }
        if !self.timers.contains(key) && self.current.as_ref() != Some(key) {
            self.timers.set(key, now + period.mul_f64(fastrand::f64()));
        }
    }

    /// When [`Self::begin`] next has something to do.
    pub fn next_wake(&self) -> Option<Instant> {
        if self.current.is_some() { None } else { self.timers.next() }
    }

    /// A destination whose verification is due and begins now, unless one is running.
    pub fn begin(&mut self, now: Instant) -> Option<DestinationKey> {
        if self.current.is_some() {
            return None;
        }
        let key = self.timers.pop(now)?;
        self.current = Some(key.clone());
        Some(key)
    }

    /// The destination that was begun can't be verified now: it is being copied to.
    pub fn postpone(&mut self, period: Duration, now: Instant) {
        if let Some(key) = self.current.take()
            && self.destinations.contains_key(&key)
        {
            self.timers.set(&key, now + WHILE_BUSY.min(period / 4));
        }
    }

    /// The verification of the current destination has ended.
    pub fn ended(&mut self, finding: Finding, period: Duration, now: Instant) {
        let Some(key) = self.current.take() else { return };
        let Some(known) = self.destinations.get_mut(&key) else { return };
        let pause = match finding {
            // A little less than the period: each is verified within it, and what was copied together is not verified together.
            Finding::Whole => period.mul_f64(0.9 + fastrand::f64() / 10.0),
            Finding::Unknown => doubled(AFTER_FAILURE, known.unanswered, period).min(period),
            // It is looked at again once it is mended; if it can't be, that is no reason to look sooner.
            Finding::Damaged => period,
        };
        if finding == Finding::Unknown {
            known.unanswered = known.unanswered.saturating_add(1);
        } else {
            known.unanswered = 0;
            count(&mut self.by_time, known.since, -1);
            known.since = SystemTime::now();
            count(&mut self.by_time, known.since, 1);
        }
        self.timers.set(&key, now + pause);
    }

    /// A damaged image was copied again, or a copy has found damage: the destination is verified at once.
    pub fn verify_first(&mut self, key: &DestinationKey, now: Instant) {
        if self.destinations.contains_key(key) {
            self.timers.set(key, now);
        }
    }

    /// The last verification of the destination that has waited longest, or when this process found it at its target; none
    /// if nothing is to be verified.
    pub fn oldest(&self) -> Option<SystemTime> {
        self.by_time.first_key_value().map(|(time, _)| *time)
    }

    /// No workload claims the destination any more.
    pub fn forget(&mut self, key: &DestinationKey) {
        self.timers.remove(key);
        if let Some(known) = self.destinations.remove(key) {
            count(&mut self.by_time, known.since, -1);
        }
    }

    /// The settings have changed: all verifications are planned anew, as at the start.
    pub fn reset(&mut self) {
        self.timers = Timers::default();
        self.current = None;
    }

    fn insert(&mut self, key: &DestinationKey, since: SystemTime) {
        count(&mut self.by_time, since, 1);
        self.destinations.insert(key.clone(), Known { since, unanswered: 0 });
    }
}

fn count(by_time: &mut BTreeMap<SystemTime, usize>, time: SystemTime, change: isize) {
    let count = by_time.entry(time).or_default();
    *count = count.saturating_add_signed(change);
    if *count == 0 {
        by_time.remove(&time);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{mirror::testing::target, model::Destination};

    const WEEK: Duration = Duration::from_secs(7 * 24 * 3600);

    fn key(name: &str) -> DestinationKey {
        DestinationKey::of(&Destination {
            target: target("r.io"),
            repository: name.to_owned(),
            tag: Some("1".to_owned()),
            digest: None,
        })
    }

    fn verify_all(rounds: &mut VerificationRounds, now: Instant) -> usize {
        std::iter::from_fn(|| rounds.begin(now).map(|_| rounds.ended(Finding::Whole, WEEK, now))).count()
    }

    #[tokio::test]
    async fn each_destination_is_verified_once_in_each_period_evenly_spread() {
        let (now, mut rounds) = (Instant::now(), VerificationRounds::default());
        for number in 0..100 {
            rounds.found(&key(&number.to_string()), WEEK, now);
            rounds.found(&key(&number.to_string()), WEEK, now);
        }
        let first_half = verify_all(&mut rounds, now + WEEK / 2);
        assert!((20..80).contains(&first_half), "{first_half}");
        assert_eq!(verify_all(&mut rounds, now + WEEK), 100 - first_half);
        assert_eq!(verify_all(&mut rounds, now + WEEK * 2), 100);
        (0..100).for_each(|number| rounds.forget(&key(&number.to_string())));
        assert!(rounds.oldest().is_none() && rounds.next_wake().is_none() && rounds.destinations.is_empty());
    }

    #[tokio::test]
    async fn one_verification_runs_at_a_time_and_what_is_forgotten_meanwhile_stays_so() {
        let (now, mut rounds) = (Instant::now(), VerificationRounds::default());
        rounds.found(&key("a"), WEEK, now);
        rounds.found(&key("b"), WEEK, now);
        let first = rounds.begin(now + WEEK).unwrap();
        assert!(rounds.begin(now + WEEK).is_none() && rounds.next_wake().is_none());
        rounds.forget(&first);
        rounds.ended(Finding::Whole, WEEK, now);
        let second = rounds.begin(now + WEEK).unwrap();
        assert_ne!(first, second);
        rounds.postpone(WEEK, now);
        assert_eq!(rounds.next_wake(), Some(now + WHILE_BUSY));
    }

    #[tokio::test]
    async fn what_does_not_answer_is_verified_again_soon_then_less_and_less_often() {
        let (mut now, mut rounds) = (Instant::now(), VerificationRounds::default());
        rounds.found(&key("a"), WEEK, now);
        now += WEEK;
        for doublings in [0, 1, 2, 3] {
            assert!(rounds.begin(now).is_some());
            rounds.ended(Finding::Unknown, WEEK, now);
            assert_eq!(rounds.next_wake(), Some(now + AFTER_FAILURE * 2_u32.pow(doublings)));
            now += WEEK;
        }
        rounds.begin(now).unwrap();
        rounds.ended(Finding::Damaged, WEEK, now);
        assert_eq!(rounds.next_wake(), Some(now + WEEK));
        rounds.verify_first(&key("a"), now);
        assert_eq!(rounds.next_wake(), Some(now));
    }
}
