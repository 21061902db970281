//! When which destination is verified: each once in a period, spread evenly; at each target one after another, so that a slow
//! target delays no other.

mod lane;

use std::{
    collections::{BTreeMap, HashMap},
    time::Duration,
};

use tokio::time::Instant;

use self::lane::Lane;
use super::destination_key::DestinationKey;
use crate::model::doubled;

/// Verifications that run at once, however many targets there are.
const MAX_RUNNING: usize = 8;

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

/// The verifications of all claimed destinations.
#[derive(Debug, Default)]
pub struct VerificationRounds {
    /// By name of the target; as many as are configured.
    lanes: HashMap<String, Lane>,
    destinations: HashMap<DestinationKey, Planned>,
    /// The number of destinations by the time of their last verification. On a clock that does not jump.
    by_time: BTreeMap<Instant, usize>,
}

/// A destination that is verified again and again.
#[derive(Debug)]
struct Planned {
    /// Equal keys may be of two targets; this is the one whose lane it is in.
    target: String,
    /// When it was last verified; before that, when it was found at the target.
    since: Instant,
    is_verified: bool,
    /// Verifications without an answer, in a row.
    unanswered: u32,
}

impl VerificationRounds {
    /// An image is at the destination: it is verified within one period, if that is not planned.
    pub fn found(&mut self, key: &DestinationKey, period: Duration, now: Instant) {
        let (lane, planned) = self.plan(key, now);
        if lane.contains(key) {
            return;
        }
        // After a change of the settings those that have waited do not wait from the start again: they may change every hour.
        let left = (planned.since + period).saturating_duration_since(now);
        let pause = match planned.is_verified && !left.is_zero() {
            true => left,
            false if left.is_zero() => period.mul_f64(fastrand::f64()),
            false => left.mul_f64(fastrand::f64()),
        };
        lane.set(key, now + pause);
    }

    /// The destination is verified at once, before all others: a damaged image was copied again, or it may be damaged.
    pub fn verify_first(&mut self, key: &DestinationKey, now: Instant) {
        let (lane, _) = self.plan(key, now);
        lane.set_first(key, now);
    }

    /// The destination was copied to: what a verification that runs finds may be what was before.
    pub fn changed(&mut self, key: &DestinationKey) {
        if let Some(lane) = self.lane_of(key) {
            lane.set_outdated(key);
        }
    }

    /// When [`Self::begin`] next has something to do.
    pub fn next_wake(&self) -> Option<Instant> {
        let idle = self.lanes.values().filter(|lane| lane.is_idle());
        idle.filter_map(Lane::next).min().filter(|_| self.running() < MAX_RUNNING)
    }

    /// A destination whose verification is due and begins now, unless one is running at its target.
    pub fn begin(&mut self, now: Instant) -> Option<DestinationKey> {
        if self.running() >= MAX_RUNNING {
            return None;
        }
        let idle = self.lanes.values_mut().filter(|lane| lane.is_idle());
        let due = idle.filter_map(|lane| Some((lane.due(now)?, lane)));
        let (_, lane) = due.min_by_key(|((is_first, moment), _)| (!is_first, *moment))?;
        lane.begin(now)
    }

    /// Whether a verification of the destination is running, and what it finds counts.
    pub fn is_running(&self, key: &DestinationKey) -> bool {
        self.lanes.values().any(|lane| lane.is_running(key))
    }

    /// The destination that was begun can't be verified now: it is being copied to.
    pub fn postpone(&mut self, key: &DestinationKey, period: Duration, now: Instant) {
        let Some(running) = self.end(key) else { return };
        let Some(lane) = self.lane_of(key) else { return };
        let moment = now + WHILE_BUSY.min(period / 4);
        match running.is_first || running.is_outdated {
            true => lane.set_first(key, moment),
            false => lane.set(key, moment),
        }
    }

    /// The verification of the destination has ended. Returns false if what it found is outdated: then it is repeated.
    pub fn ended(&mut self, key: &DestinationKey, finding: Finding, period: Duration, now: Instant) -> bool {
        let Some(running) = self.end(key) else { return false };
        let Some(planned) = self.destinations.get_mut(key) else { return true };
        let Some(lane) = self.lanes.get_mut(&planned.target) else { return true };
        if running.is_outdated {
            lane.set_first(key, now);
            return false;
        }
        let pause = match finding {
            // A little less than the period: each is verified within it, and what was copied together is not verified together.
            Finding::Whole => period.mul_f64(0.9 + fastrand::f64() / 10.0),
            Finding::Unknown => doubled(AFTER_FAILURE, planned.unanswered, period).min(period),
            // It is looked at again once it is mended; if it can't be, that is no reason to look sooner.
            Finding::Damaged => period,
        };
        lane.set(key, now + pause);
        if finding == Finding::Unknown {
            planned.unanswered = planned.unanswered.saturating_add(1);
        } else {
            planned.unanswered = 0;
            count(&mut self.by_time, planned.since, -1);
            (planned.since, planned.is_verified) = (now, true);
            count(&mut self.by_time, now, 1);
        }
        true
    }

    /// The last verification of the destination that has waited longest, or when this process found it at its target; none
    /// if nothing is to be verified.
    pub fn oldest(&self) -> Option<Instant> {
        self.by_time.first_key_value().map(|(time, _)| *time)
    }

    /// No workload claims the destination any more, or none whose image can be there.
    pub fn forget(&mut self, key: &DestinationKey) {
        if let Some(planned) = self.destinations.remove(key) {
            count(&mut self.by_time, planned.since, -1);
            if let Some(lane) = self.lanes.get_mut(&planned.target) {
                lane.remove(key);
            }
        }
    }

    /// The settings have changed: all verifications are planned anew, as the destinations are found again.
    pub fn reset(&mut self) {
        self.lanes.clear();
    }

    /// Nothing is verified any more.
    pub fn clear(&mut self) {
        *self = Self::default();
    }

    fn plan(&mut self, key: &DestinationKey, now: Instant) -> (&mut Lane, &Planned) {
        let by_time = &mut self.by_time;
        let planned = self.destinations.entry(key.clone()).or_insert_with(|| {
            count(by_time, now, 1);
            Planned { target: key.target().name.clone(), since: now, is_verified: false, unanswered: 0 }
        });
        if !self.lanes.contains_key(&planned.target) {
            // After a change of the settings it may be another one.
            planned.target.clone_from(&key.target().name);
        }
        (self.lanes.entry(planned.target.clone()).or_default(), planned)
    }

    fn lane_of(&mut self, key: &DestinationKey) -> Option<&mut Lane> {
        self.lanes.get_mut(&self.destinations.get(key)?.target)
    }

    fn end(&mut self, key: &DestinationKey) -> Option<lane::Running> {
        self.lanes.values_mut().find_map(|lane| lane.end(key))
    }

    fn running(&self) -> usize {
        self.lanes.values().filter(|lane| !lane.is_idle()).count()
    }
}

fn count(by_time: &mut BTreeMap<Instant, usize>, time: Instant, change: isize) {
    let count = by_time.entry(time).or_default();
    *count = count.saturating_add_signed(change);
    if *count == 0 {
        by_time.remove(&time);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::{
        mirror::testing::target,
        model::{Destination, Target},
    };

    const WEEK: Duration = Duration::from_secs(7 * 24 * 3600);

    fn key(name: &str) -> DestinationKey {
        at("default", name)
    }

    fn at(target_name: &str, name: &str) -> DestinationKey {
        let registry = format!("{target_name}.io");
        DestinationKey::of(&Destination {
            target: Arc::new(Target { name: target_name.to_owned(), ..Target::clone(&target(&registry)) }),
            repository: name.to_owned(),
            tag: Some("1".to_owned()),
            digest: None,
        })
    }

    fn verify_all(rounds: &mut VerificationRounds, now: Instant) -> usize {
        let verify = || rounds.begin(now).map(|key| rounds.ended(&key, Finding::Whole, WEEK, now));
        std::iter::from_fn(verify).count()
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
    async fn one_verification_runs_at_a_target_and_what_is_forgotten_meanwhile_stays_so() {
        let (now, mut rounds) = (Instant::now(), VerificationRounds::default());
        rounds.found(&key("a"), WEEK, now);
        rounds.found(&key("b"), WEEK, now);
        let first = rounds.begin(now + WEEK).unwrap();
        assert!(rounds.begin(now + WEEK).is_none() && rounds.next_wake().is_none());
        rounds.forget(&first);
        rounds.ended(&first, Finding::Whole, WEEK, now);
        let second = rounds.begin(now + WEEK).unwrap();
        assert_ne!(first, second);
        rounds.postpone(&second, WEEK, now);
        assert_eq!(rounds.next_wake(), Some(now + WHILE_BUSY));
    }

    #[tokio::test]
    async fn a_slow_target_does_not_delay_another() {
        let (now, mut rounds) = (Instant::now(), VerificationRounds::default());
        for name in ["a", "b", "c"] {
            rounds.found(&at("slow", name), WEEK, now);
            rounds.found(&at("fast", name), WEEK, now);
        }
        let mut begun = Vec::new();
        while let Some(key) = rounds.begin(now + WEEK) {
            if key.target().name == "fast" {
                assert!(rounds.ended(&key, Finding::Whole, WEEK, now + WEEK));
            }
            begun.push(key.target().name.clone());
        }
        begun.sort();
        assert_eq!(begun, ["fast", "fast", "fast", "slow"]);
        assert!(rounds.next_wake().unwrap() > now + WEEK, "the slow target's others wait");
    }

    #[tokio::test]
    async fn verifications_at_all_targets_together_are_bounded() {
        let (now, mut rounds) = (Instant::now(), VerificationRounds::default());
        for number in 0..2 * MAX_RUNNING {
            rounds.found(&at(&format!("target-{number}"), "a"), WEEK, now);
        }
        let running: Vec<_> = std::iter::from_fn(|| rounds.begin(now + WEEK)).collect();
        assert_eq!((running.len(), rounds.next_wake()), (MAX_RUNNING, None));
        rounds.ended(&running[0], Finding::Whole, WEEK, now + WEEK);
        assert!(rounds.begin(now + WEEK).is_some());
    }

    #[tokio::test]
    async fn what_was_mended_is_verified_before_a_backlog() {
        let (now, mut rounds) = (Instant::now(), VerificationRounds::default());
        for number in 0..100 {
            rounds.found(&key(&number.to_string()), WEEK, now);
        }
        let later = now + 2 * WEEK;
        rounds.verify_first(&key("7"), later);
        assert_eq!(rounds.begin(later), Some(key("7")));
        // It is being copied to: it stays the first.
        rounds.postpone(&key("7"), WEEK, later);
        assert_eq!(rounds.begin(later + WHILE_BUSY), Some(key("7")));
        rounds.ended(&key("7"), Finding::Whole, WEEK, later);
        assert_eq!(verify_all(&mut rounds, later), 99);
    }

    #[tokio::test]
    async fn a_verification_that_began_before_a_copy_ended_does_not_count() {
        let (now, mut rounds) = (Instant::now(), VerificationRounds::default());
        rounds.found(&key("a"), WEEK, now);
        rounds.begin(now + WEEK).unwrap();
        rounds.verify_first(&key("a"), now + WEEK);
        assert!(!rounds.ended(&key("a"), Finding::Damaged, WEEK, now + WEEK));
        assert_eq!(rounds.begin(now + WEEK), Some(key("a")));
        rounds.changed(&key("a"));
        assert!(!rounds.ended(&key("a"), Finding::Damaged, WEEK, now + WEEK));
        assert_eq!(rounds.begin(now + WEEK), Some(key("a")));
        assert!(rounds.ended(&key("a"), Finding::Whole, WEEK, now + WEEK));
    }

    #[tokio::test]
    async fn what_does_not_answer_is_verified_again_soon_then_less_and_less_often() {
        let (mut now, mut rounds) = (Instant::now(), VerificationRounds::default());
        rounds.found(&key("a"), WEEK, now);
        let found = now;
        now += WEEK;
        for doublings in [0, 1, 2, 3] {
            assert!(rounds.begin(now).is_some());
            rounds.ended(&key("a"), Finding::Unknown, WEEK, now);
            assert_eq!(rounds.next_wake(), Some(now + AFTER_FAILURE * 2_u32.pow(doublings)));
            assert_eq!(rounds.oldest(), Some(found), "without an answer it was not verified");
            now += WEEK;
        }
        rounds.begin(now).unwrap();
        rounds.ended(&key("a"), Finding::Damaged, WEEK, now);
        assert_eq!((rounds.next_wake(), rounds.oldest()), (Some(now + WEEK), Some(now)));
    }

    #[tokio::test]
    async fn changed_settings_delay_no_verification_again_and_again() {
        let (mut now, mut rounds) = (Instant::now(), VerificationRounds::default());
        rounds.found(&key("a"), WEEK, now);
        rounds.begin(now + WEEK).unwrap();
        now += WEEK;
        rounds.ended(&key("a"), Finding::Whole, WEEK, now);
        let due = now + WEEK;
        for _ in 0..100 {
            now += WEEK / 200;
            rounds.reset();
            assert!(rounds.next_wake().is_none());
            rounds.found(&key("a"), WEEK, now);
            assert_eq!(rounds.next_wake(), Some(due));
        }
        rounds.clear();
        assert!(rounds.oldest().is_none() && rounds.next_wake().is_none());
    }
}
