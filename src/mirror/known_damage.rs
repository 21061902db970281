//! Which images are known to be damaged at their destinations, and when each is repaired: the first time at once, then less
//! and less often, because a repair can transfer much in vain. Damage is known until a verification finds the image whole; for
//! some time also while no workload uses the image, because workloads are recreated.

use std::{
    collections::{BTreeMap, HashMap},
    time::Duration,
};

use tokio::time::Instant;

use super::{destination_key::DestinationKey, job::RepairPause, queue::Timers};
use crate::model::{Failure, FailureKind, Reference, Retry, Verification, doubled};

/// After a repair in vain; it doubles each time.
const FIRST_PAUSE: Duration = Duration::from_secs(15 * 60);

/// Images of one destination; beyond that one of them is forgotten, which the next verification finds again.
const MAX_IMAGES: usize = 16;

/// How long the damage of a destination that no workload claims is remembered.
const KEPT: Duration = Duration::from_secs(24 * 60 * 60);

/// How many such destinations are remembered, the last that were claimed.
const MAX_UNCLAIMED: usize = 4096;

/// The damage of one image.
#[derive(Debug)]
struct Damage {
    /// None if it was a copy that found the damage.
    found: Option<Verification>,
    /// Repairs in a row that did not mend it, as far as is known.
    repairs: u32,
    state: State,
}

#[derive(Debug)]
enum State {
    ToBeRepaired,
    Paused(RepairPause),
    /// Whether that has mended it the next verification tells.
    CopiedAgain,
}

/// What a copy has to do about damage.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Repair {
    /// Nothing.
    None,
    /// Look up all parts, and copy again what is missing or wrong.
    Due,
    /// The same later.
    Paused(RepairPause),
}

/// The known damage, by destination and image.
#[derive(Debug, Default)]
pub struct KnownDamage {
    destinations: HashMap<DestinationKey, BTreeMap<Reference, Damage>>,
    /// When those that no workload claims are forgotten.
    unclaimed: Timers<DestinationKey>,
}

impl KnownDamage {
    /// A verification has found parts of an image missing or wrong. `longest` is the longest pause between two repairs.
    pub fn found(
        &mut self,
        key: &DestinationKey,
        image: &Reference,
        verification: Verification,
        longest: Duration,
        now: Instant,
    ) {
        let damage = self.damage(key, image);
        if matches!(damage.state, State::CopiedAgain) {
            let failure = Failure {
                kind: FailureKind::Verification,
                message: format!(
                    "the image was copied again, and is damaged at the target all the same: {}",
                    verification.reason.as_deref().unwrap_or(verification.result.name())
                ),
                retry: Retry::Later,
            };
            let until = now + pause_after(damage.repairs, longest);
            damage.state = State::Paused(RepairPause { failure, until });
        }
        damage.found = Some(verification);
    }

    /// A verification has found every part of an image. Returns whether it was known as damaged.
    pub fn is_whole(&mut self, key: &DestinationKey, image: &Reference) -> bool {
        let Some(images) = self.destinations.get_mut(key) else { return false };
        let was_damaged = images.remove(image).is_some();
        if images.is_empty() {
            self.destinations.remove(key);
        }
        was_damaged
    }

    /// What a copy of the image that begins now has to do.
    pub fn repair(&self, key: &DestinationKey, image: &Reference, now: Instant) -> Repair {
        let damage = self.destinations.get(key).and_then(|images| images.get(image));
        match damage.map(|damage| &damage.state) {
            None | Some(State::CopiedAgain) => Repair::None,
            Some(State::Paused(pause)) if pause.until > now => Repair::Paused(pause.clone()),
            Some(State::ToBeRepaired | State::Paused(_)) => Repair::Due,
        }
    }

    /// A repair has ended without a failure.
    pub fn copied_again(&mut self, key: &DestinationKey, image: &Reference) {
        let damage = self.damage(key, image);
        damage.repairs = damage.repairs.saturating_add(1);
        damage.state = State::CopiedAgain;
    }

    /// A repair has failed. Returns when it is tried again.
    pub fn repair_failed(
        &mut self,
        key: &DestinationKey,
        image: &Reference,
        failure: &Failure,
        longest: Duration,
        now: Instant,
    ) -> Instant {
        let damage = self.damage(key, image);
        damage.repairs = damage.repairs.saturating_add(1);
        let pause = pause_after(damage.repairs, longest);
        let until = now
            + match failure.retry {
                Retry::After(asked) => pause.max(asked),
                Retry::Soon | Retry::Later => pause,
            };
        // While it is paused nobody asks the registry.
        let failure = Failure { retry: Retry::Later, ..failure.clone() };
        damage.state = State::Paused(RepairPause { failure, until });
        until
    }

    /// Ends all pauses: somebody may have removed the cause. Returns what is to be repaired now.
    pub fn end_pauses(&mut self) -> Vec<(DestinationKey, Reference)> {
        let mut ended = Vec::new();
        for (key, images) in &mut self.destinations {
            for (image, damage) in images.iter_mut().filter(|(_, damage)| matches!(damage.state, State::Paused(_))) {
                (damage.state, damage.repairs) = (State::ToBeRepaired, 0);
                ended.push((key.clone(), image.clone()));
            }
        }
        ended
    }

    /// The settings have changed: whatever was done about damage is done again.
    pub fn start_over(&mut self) {
        for damage in self.destinations.values_mut().flat_map(BTreeMap::values_mut) {
            (damage.state, damage.repairs) = (State::ToBeRepaired, 0);
        }
    }

    /// No workload claims the destination any more.
    pub fn release(&mut self, key: &DestinationKey, now: Instant) {
        if self.destinations.contains_key(key) {
            self.unclaimed.set(key, now + KEPT);
        }
        while let Some(first) = self.unclaimed.next()
            && (first <= now || self.unclaimed.len() > MAX_UNCLAIMED)
            && let Some(key) = self.unclaimed.pop(first)
        {
            self.destinations.remove(&key);
        }
    }

    /// A workload claims the destination for an image. Returns the verification that has found the image damaged before.
    pub fn claim(&mut self, key: &DestinationKey, image: &Reference) -> Option<Verification> {
        let images = self.destinations.get(key)?;
        self.unclaimed.remove(key);
        images.get(image)?.found.clone()
    }

    fn damage(&mut self, key: &DestinationKey, image: &Reference) -> &mut Damage {
        let images = self.destinations.entry(key.clone()).or_default();
        if images.len() >= MAX_IMAGES && !images.contains_key(image) {
            images.pop_first();
        }
        images.entry(image.clone()).or_insert(Damage { found: None, repairs: 0, state: State::ToBeRepaired })
    }
}

/// After so many repairs in a row.
fn pause_after(repairs: u32, longest: Duration) -> Duration {
    doubled(FIRST_PAUSE, repairs.saturating_sub(1), longest).min(longest)
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;
    use crate::{mirror::testing::key, model::Wholeness};

    const WEEK: Duration = Duration::from_secs(7 * 24 * 3600);

    fn image() -> Reference {
        "r.io/a:1".parse().unwrap()
    }

    fn lost() -> Verification {
        let reason = Some("2 parts are missing".to_owned());
        Verification { at: SystemTime::UNIX_EPOCH, result: Wholeness::Incomplete, reason, unanswered: None }
    }

    fn refused() -> Failure {
        Failure { kind: FailureKind::Target, message: "refused".into(), retry: Retry::Later }
    }

    fn pause(damage: &KnownDamage, now: Instant) -> Duration {
        match damage.repair(&key("a"), &image(), now) {
            Repair::Paused(pause) => pause.until - now,
            other => panic!("{other:?}"),
        }
    }

    #[tokio::test]
    async fn a_repair_that_fails_is_tried_less_and_less_often() {
        let (mut now, mut damage) = (Instant::now(), KnownDamage::default());
        assert_eq!(damage.repair(&key("a"), &image(), now), Repair::None);
        damage.found(&key("a"), &image(), lost(), WEEK, now);
        let mut pauses = Vec::new();
        for _ in 0..12 {
            assert_eq!(damage.repair(&key("a"), &image(), now), Repair::Due);
            let until = damage.repair_failed(&key("a"), &image(), &refused(), WEEK, now);
            assert_eq!(pause(&damage, now), until - now);
            // Verifications meanwhile change nothing.
            damage.found(&key("a"), &image(), lost(), WEEK, now);
            pauses.push(pause(&damage, now).as_secs() / 60);
            now = until;
        }
        assert_eq!(pauses, [15, 30, 60, 120, 240, 480, 960, 1920, 3840, 7680, 10080, 10080]);
        assert_eq!(damage.repair(&key("b"), &image(), now), Repair::None);
    }

    #[tokio::test]
    async fn a_copy_that_mends_nothing_is_repeated_as_rarely() {
        let (now, mut damage) = (Instant::now(), KnownDamage::default());
        for minutes in [15, 30, 60] {
            damage.found(&key("a"), &image(), lost(), WEEK, now);
            damage.copied_again(&key("a"), &image());
            assert_eq!(damage.repair(&key("a"), &image(), now), Repair::None, "it is to be verified");
            damage.found(&key("a"), &image(), lost(), WEEK, now);
            assert_eq!(pause(&damage, now), Duration::from_secs(minutes * 60));
            let Repair::Paused(paused) = damage.repair(&key("a"), &image(), now) else { panic!() };
            assert!(paused.failure.message.contains("2 parts are missing"), "{paused:?}");
        }
        assert!(damage.is_whole(&key("a"), &image()) && !damage.is_whole(&key("a"), &image()));
        assert_eq!(damage.repair(&key("a"), &image(), now), Repair::None);
        assert!(damage.destinations.is_empty());
    }

    #[tokio::test]
    async fn a_registry_that_asks_for_a_longer_pause_gets_it() {
        let (now, mut damage) = (Instant::now(), KnownDamage::default());
        let quota = Failure { retry: Retry::After(6 * 4 * FIRST_PAUSE), ..refused() };
        damage.found(&key("a"), &image(), lost(), WEEK, now);
        assert_eq!(damage.repair_failed(&key("a"), &image(), &quota, WEEK, now), now + 6 * 4 * FIRST_PAUSE);
    }

    #[tokio::test]
    async fn a_reset_ends_the_pauses_and_damage_stays_known() {
        let (now, mut damage) = (Instant::now(), KnownDamage::default());
        damage.found(&key("a"), &image(), lost(), WEEK, now);
        assert_eq!(damage.end_pauses(), []);
        damage.repair_failed(&key("a"), &image(), &refused(), WEEK, now);
        assert_eq!(damage.end_pauses(), [(key("a"), image())]);
        assert_eq!(damage.repair(&key("a"), &image(), now), Repair::Due);
        damage.repair_failed(&key("a"), &image(), &refused(), WEEK, now);
        assert_eq!(pause(&damage, now), FIRST_PAUSE, "as the first time");
    }

    #[tokio::test]
    async fn changed_settings_repeat_repairs_whose_verification_they_prevented() {
        let (now, mut damage) = (Instant::now(), KnownDamage::default());
        damage.found(&key("a"), &image(), lost(), WEEK, now);
        damage.copied_again(&key("a"), &image());
        assert_eq!(damage.end_pauses(), []);
        assert_eq!(damage.repair(&key("a"), &image(), now), Repair::None);
        damage.start_over();
        assert_eq!(damage.repair(&key("a"), &image(), now), Repair::Due);
    }

    #[tokio::test]
    async fn damage_survives_a_workload_that_is_recreated() {
        let (now, mut damage) = (Instant::now(), KnownDamage::default());
        assert_eq!(damage.claim(&key("a"), &image()), None);
        damage.found(&key("a"), &image(), lost(), WEEK, now);
        damage.repair_failed(&key("a"), &image(), &refused(), WEEK, now);
        for _ in 0..3 {
            damage.release(&key("a"), now);
            assert_eq!(damage.claim(&key("a"), &image()), Some(lost()));
            assert_eq!(pause(&damage, now), FIRST_PAUSE, "it is not repaired again at once");
        }
        assert_eq!(damage.claim(&key("a"), &"r.io/other:1".parse().unwrap()), None);
        damage.release(&key("b"), now + 2 * KEPT);
        assert_eq!(damage.claim(&key("a"), &image()), Some(lost()), "it is claimed");
        damage.release(&key("a"), now);
        damage.release(&key("b"), now + KEPT);
        assert_eq!(damage.claim(&key("a"), &image()), None, "nobody knows for so long");
    }

    #[tokio::test]
    async fn what_nobody_uses_is_remembered_in_bounded_memory() {
        let (now, mut damage) = (Instant::now(), KnownDamage::default());
        let one = |number: usize| key(&format!("app-{number}"));
        for number in 0..MAX_UNCLAIMED + 10 {
            damage.found(&one(number), &image(), lost(), WEEK, now);
            damage.release(&one(number), now);
        }
        assert_eq!(damage.destinations.len(), MAX_UNCLAIMED);
        assert_eq!(damage.claim(&one(9), &image()), None);
        assert!(damage.claim(&one(10), &image()).is_some());
    }

    #[tokio::test]
    async fn the_images_of_one_destination_are_bounded() {
        let (now, mut damage) = (Instant::now(), KnownDamage::default());
        for number in 0..3 * MAX_IMAGES {
            damage.found(&key("a"), &format!("r.io/a:{number}").parse().unwrap(), lost(), WEEK, now);
        }
        assert_eq!(damage.destinations[&key("a")].len(), MAX_IMAGES);
    }
}
