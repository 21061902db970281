//! When which destination is verified: each once in a period, spread evenly, one after another; and what has to be mended.

use std::{
    collections::{BTreeMap, HashMap},
    time::{Duration, SystemTime},
};

use tokio::time::Instant;

use super::{destination_key::DestinationKey, queue::Timers};
use crate::model::{Reference, doubled};

/// Before a verification that told nothing is repeated, and before what was copied again in vain is looked at again; it
/// doubles each time.
const AFTER_FAILURE: Duration = Duration::from_secs(15 * 60);

/// Before a destination that is being copied to is looked at.
const WHILE_BUSY: Duration = Duration::from_secs(60);

/// The result of the verification of a destination.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Finding {
    /// It has everything.
    Whole,
    /// The target did not tell.
    Unknown,
    /// Parts of these images are missing or wrong.
    Damaged(Vec<Reference>),
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
    /// Verifications without an answer, and repairs without success, in a row.
    failures: u32,
    /// Images to be copied again.
    damaged: Vec<Reference>,
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
        let pause = match &finding {
            // A little less than the period: each is verified within it, and what was copied together is not verified together.
            Finding::Whole => period.mul_f64(0.9 + fastrand::f64() / 10.0),
            Finding::Unknown => doubled(AFTER_FAILURE, known.failures, period).min(period),
            // It is looked at again once it is mended; if it can't be, that is no reason to look sooner.
            Finding::Damaged(_) => period,
        };
        known.failures = match finding {
            Finding::Whole => 0,
            Finding::Unknown => known.failures.saturating_add(1),
            Finding::Damaged(_) => known.failures,
        };
        if finding != Finding::Unknown {
            known.damaged = if let Finding::Damaged(images) = finding { images } else { Vec::new() };
            count(&mut self.by_time, known.since, -1);
            known.since = SystemTime::now();
            count(&mut self.by_time, known.since, 1);
        }
        self.timers.set(&key, now + pause);
    }

    /// Whether parts of the image are missing or wrong, as far as is known.
    pub fn is_damaged(&self, key: &DestinationKey, image: &Reference) -> bool {
        self.destinations.get(key).is_some_and(|known| known.damaged.contains(image))
    }

    /// A damaged image was copied again. Whether that mended it is looked at soon: at once the first time, later each time
    /// that it did not.
    pub fn copied_again(&mut self, key: &DestinationKey, image: &Reference, period: Duration, now: Instant) {
        let Some(known) = self.destinations.get_mut(key) else { return };
        known.damaged.retain(|damaged| damaged != image);
        let pause = match known.failures {
            0 => Duration::ZERO,
            failures => doubled(AFTER_FAILURE, failures - 1, period).min(period),
        };
        known.failures = known.failures.saturating_add(1);
        self.timers.set(key, now + pause);
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

    /// The settings have changed: all verifications are planned anew, as at the start. What is damaged stays to be mended.
    pub fn reset(&mut self) {
        self.timers = Timers::default();
        self.current = None;
    }

    fn insert(&mut self, key: &DestinationKey, since: SystemTime) {
        count(&mut self.by_time, since, 1);
        self.destinations.insert(key.clone(), Known { since, failures: 0, damaged: Vec::new() });
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
    async fn what_can_not_be_mended_is_tried_less_and_less_often() {
        let (now, mut rounds, image) = (Instant::now(), VerificationRounds::default(), "r.io/a:1".parse().unwrap());
        rounds.found(&key("a"), WEEK, now);
        let mut pauses = Vec::new();
        for _ in 0..4 {
            assert!(rounds.begin(now + WEEK).is_some());
            rounds.ended(Finding::Damaged(vec![Reference::clone(&image)]), WEEK, now);
            assert!(rounds.is_damaged(&key("a"), &image) && !rounds.is_damaged(&key("b"), &image));
            rounds.copied_again(&key("a"), &image, WEEK, now);
            assert!(!rounds.is_damaged(&key("a"), &image));
            pauses.push(rounds.next_wake().unwrap() - now);
        }
        assert_eq!(pauses, [Duration::ZERO, AFTER_FAILURE, AFTER_FAILURE * 2, AFTER_FAILURE * 4]);
        assert!(rounds.begin(now + WEEK).is_some());
        rounds.ended(Finding::Unknown, WEEK, now);
        assert_eq!(rounds.next_wake(), Some(now + AFTER_FAILURE * 16), "an unknown state is looked at soon, too");
    }

    #[tokio::test]
    async fn what_is_damaged_survives_changed_settings() {
        let (now, mut rounds, image) = (Instant::now(), VerificationRounds::default(), "r.io/a:1".parse().unwrap());
        rounds.found(&key("a"), WEEK, now);
        rounds.begin(now + WEEK).unwrap();
        rounds.ended(Finding::Damaged(vec![Reference::clone(&image)]), WEEK, now);
        rounds.reset();
        assert!(rounds.is_damaged(&key("a"), &image) && rounds.next_wake().is_none());
        rounds.found(&key("a"), WEEK, now);
        assert!(rounds.next_wake().is_some());
    }
}
