//! What is known of each image at each destination, kept once for all observers, which receive its changes.

use std::{
    collections::{BTreeMap, HashMap},
    time::SystemTime,
};

use tokio::time::Instant;

use crate::model::{Destination, ImageRecord, Known, Outcome, Reference, StatusKind, Verification};

use super::destination_key::DestinationKey;

/// The records of all claimed images.
#[derive(Debug, Default)]
pub struct Records {
    by_destination: HashMap<DestinationKey, Vec<Entry>>,
    /// The number of images to be copied, by the time since when.
    to_be_copied: BTreeMap<SystemTime, usize>,
}

#[derive(Clone, Debug)]
struct Entry {
    source: Reference,
    /// With the digest, or without the tag, as last reported.
    destination: Destination,
    record: ImageRecord,
    /// When all further sources were last asked for it in vain.
    asked_elsewhere: Option<Instant>,
}

/// A change of what is known of an image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordChange {
    pub destination: Destination,
    pub source: Reference,
    pub before: Option<Known>,
    /// None if no workload claims the image at the destination any more.
    pub after: Option<Known>,
}

impl Records {
    /// Begins a record of an image that is claimed.
    pub fn claim(&mut self, key: &DestinationKey, source: &Reference, now: SystemTime) -> Option<RecordChange> {
        let entries = self.by_destination.entry(key.clone()).or_default();
        if entries.iter().any(|entry| entry.source == *source) {
            return None;
        }
        let destination = key.destination(source);
        let record = ImageRecord::new(now);
        count(&mut self.to_be_copied, &record, 1);
        let after = Some(Known::from(&record));
        let entry = Entry { source: source.clone(), destination: destination.clone(), record, asked_elsewhere: None };
        entries.push(entry);
        Some(RecordChange { destination, source: source.clone(), before: None, after })
    }

    /// Records outcomes and returns what changed. Forgets images that are not claimed any more.
    pub fn update(
        &mut self,
        key: &DestinationKey,
        outcomes: &[Outcome],
        is_claimed: impl Fn(&Reference) -> bool,
        now: SystemTime,
    ) -> Vec<RecordChange> {
        let mut entries = self.by_destination.remove(key).unwrap_or_default();
        let mut changes = Vec::new();
        for outcome in outcomes {
            let before = entries.iter().position(|entry| entry.source == outcome.source);
            let before = before.map(|index| entries.remove(index));
            let mut record = before.as_ref().map_or_else(|| ImageRecord::new(now), |entry| entry.record.clone());
            if let Some(before) = &before {
                count(&mut self.to_be_copied, &before.record, -1);
            }
            record.record(outcome, now);
            count(&mut self.to_be_copied, &record, 1);
            let asked_elsewhere = before.as_ref().and_then(|entry| entry.asked_elsewhere);
            let (source, destination) = (outcome.source.clone(), outcome.destination.clone());
            let after = Entry { source, destination, record, asked_elsewhere };
            report_change(&mut changes, before.as_ref(), &after);
            entries.push(after);
        }
        entries.retain(|entry| {
            let is_kept = is_claimed(&entry.source);
            if !is_kept {
                count(&mut self.to_be_copied, &entry.record, -1);
                changes.push(withdrawn(entry));
            }
            is_kept
        });
        if !entries.is_empty() {
            self.by_destination.insert(key.clone(), entries);
        }
        changes
    }

    /// Records a verification of an image that is claimed, and returns what changed.
    pub fn verified(
        &mut self,
        key: &DestinationKey,
        source: &Reference,
        verification: Verification,
    ) -> Option<RecordChange> {
        self.change(key, source, |record| record.verified(verification))
    }

    /// Forgets the verification of an image, because nothing is verified any more and its damage was repaired.
    pub fn forget_verification(&mut self, key: &DestinationKey, source: &Reference) -> Option<RecordChange> {
        self.change(key, source, |record| record.verified = None)
    }

    /// Forgets all verifications but those that found damage, because nothing is verified any more.
    pub fn forget_verifications(&mut self) -> Vec<RecordChange> {
        let mut changes = Vec::new();
        for entry in self.by_destination.values_mut().flatten().filter(|entry| !entry.record.is_damaged()) {
            let before = Known::from(&entry.record);
            entry.record.verified = None;
            changes.extend(entry.change_since(before));
        }
        changes
    }

    fn change(
        &mut self,
        key: &DestinationKey,
        source: &Reference,
        change: impl FnOnce(&mut ImageRecord),
    ) -> Option<RecordChange> {
        let entry = self.by_destination.get_mut(key)?.iter_mut().find(|entry| entry.source == *source)?;
        let before = Known::from(&entry.record);
        count(&mut self.to_be_copied, &entry.record, -1);
        change(&mut entry.record);
        count(&mut self.to_be_copied, &entry.record, 1);
        entry.change_since(before)
    }

    /// What is known of an image at a destination; none if it is not claimed.
    pub fn get(&self, key: &DestinationKey, source: &Reference) -> Option<&ImageRecord> {
        Some(&self.entry(key, source)?.record)
    }

    /// Records that all further sources were asked for an image in vain.
    pub fn set_asked_elsewhere(&mut self, key: &DestinationKey, source: &Reference, now: Instant) {
        let entries = self.by_destination.get_mut(key).into_iter().flatten();
        entries.filter(|entry| entry.source == *source).for_each(|entry| entry.asked_elsewhere = Some(now));
    }

    /// When all further sources were last asked for an image in vain.
    pub fn asked_elsewhere(&self, key: &DestinationKey, source: &Reference) -> Option<Instant> {
        self.entry(key, source)?.asked_elsewhere
    }

    /// Further sources may have become others, or are to be asked again.
    pub fn forget_asked_elsewhere(&mut self) {
        self.by_destination.values_mut().flatten().for_each(|entry| entry.asked_elsewhere = None);
    }

    /// Whether the last attempt failed.
    pub fn is_failure(&self, key: &DestinationKey, source: &Reference) -> bool {
        let last = self.get(key, source).and_then(|record| record.last_attempt.as_ref());
        last.is_some_and(|attempt| attempt.result == StatusKind::Failed)
    }

    /// Whether the image was ever checked.
    pub fn is_attempted(&self, key: &DestinationKey, source: &Reference) -> bool {
        self.get(key, source).is_some_and(|record| record.last_attempt.is_some())
    }

    /// Since when the image that has waited longest has had to be copied; none if every image is at its destination.
    pub fn oldest_to_be_copied(&self) -> Option<SystemTime> {
        self.to_be_copied.first_key_value().map(|(since, _)| *since)
    }

    fn entry(&self, key: &DestinationKey, source: &Reference) -> Option<&Entry> {
        self.by_destination.get(key)?.iter().find(|entry| entry.source == *source)
    }
}

impl Entry {
    fn change_since(&self, before: Known) -> Option<RecordChange> {
        let after = Known::from(&self.record);
        let (destination, source) = (self.destination.clone(), self.source.clone());
        (before != after).then_some(RecordChange { destination, source, before: Some(before), after: Some(after) })
    }
}

/// An image with a different destination, by tag instead of by digest, counts as another one.
fn report_change(changes: &mut Vec<RecordChange>, before: Option<&Entry>, after: &Entry) {
    let known = Known::from(&after.record);
    let change = |before| RecordChange {
        destination: after.destination.clone(),
        source: after.source.clone(),
        before,
        after: Some(known),
    };
    match before {
        Some(before) if before.destination != after.destination => {
            changes.extend([change(None), withdrawn(before)]);
        }
        Some(before) if Known::from(&before.record) == known => {}
        before => changes.push(change(before.map(|entry| Known::from(&entry.record)))),
    }
}

fn withdrawn(entry: &Entry) -> RecordChange {
    RecordChange {
        destination: entry.destination.clone(),
        source: entry.source.clone(),
        before: Some(Known::from(&entry.record)),
        after: None,
    }
}

fn count(to_be_copied: &mut BTreeMap<SystemTime, usize>, record: &ImageRecord, change: isize) {
    let Some(since) = record.to_be_copied_since else { return };
    let count = to_be_copied.entry(since).or_default();
    *count = count.saturating_add_signed(change);
    if *count == 0 {
        to_be_copied.remove(&since);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::{
        mirror::testing::target,
        model::{
            AtTarget, Digest, Failure, FailureKind, ImageState, Retry, Seen, Status, TagMeaning, Unanswered, Wholeness,
        },
    };

    fn outcome(image: &str, status: Status) -> Outcome {
        let source: Reference = image.parse().unwrap();
        let destination = Destination {
            target: target("r.io"),
            repository: source.repository().to_owned(),
            tag: source.tag().map(str::to_owned),
            digest: source.digest().cloned(),
        };
        Outcome {
            image: image.to_owned(),
            source,
            destination,
            workloads: Vec::new(),
            status,
            seen: Seen::default(),
            referrers: None,
            copied_from: Vec::new(),
            tag: TagMeaning::default(),
            bytes: 0,
            took: Duration::ZERO,
            next_try: None,
        }
    }

    fn pinned(letter: &str) -> Outcome {
        outcome(&format!("app:1@sha256:{}", letter.repeat(64)), Status::WouldPull)
    }

    fn failed(kind: FailureKind) -> Status {
        Status::Failed(Failure { kind, message: "down".into(), retry: Retry::Soon })
    }

    fn change(outcome: &Outcome, before: Option<Known>, after: Option<Known>) -> RecordChange {
        let (destination, source) = (outcome.destination.clone(), outcome.source.clone());
        RecordChange { destination, source, before, after }
    }

    fn at(seconds: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
    }

    const NEW: Option<Known> =
        Some(Known { state: ImageState::Unknown, result: None, lacks_referrers: false, verified: None });
    const DRY: Option<Known> = Some(Known {
        state: ImageState::DryRun,
        result: Some(StatusKind::WouldPull),
        lacks_referrers: false,
        verified: None,
    });

    #[test]
    fn withdraws_outcomes_of_replaced_and_unclaimed_images() {
        let (a, b) = (pinned("a"), pinned("b"));
        let key = DestinationKey::of(&a.destination);
        assert_eq!(key, DestinationKey::of(&b.destination));
        let mut records = Records::default();
        assert_eq!(records.claim(&key, &a.source, at(1)), Some(change(&a, None, NEW)));
        assert_eq!(records.claim(&key, &a.source, at(2)), None);
        assert_eq!(records.update(&key, std::slice::from_ref(&a), |_| true, at(3)), [change(&a, NEW, DRY)]);
        assert_eq!(records.update(&key, std::slice::from_ref(&a), |_| true, at(4)), []);
        let only_b = |source: &Reference| *source == b.source;
        assert_eq!(
            records.update(&key, std::slice::from_ref(&b), only_b, at(5)),
            [change(&b, None, DRY), change(&a, DRY, None)],
            "the digest was updated"
        );
        assert_eq!(records.update(&key, &[], |_| false, at(6)), [change(&b, DRY, None)], "it is unclaimed");
        assert_eq!(records.update(&key, &[], |_| false, at(7)), []);
        assert!(records.to_be_copied.is_empty() && records.by_destination.is_empty());
    }

    #[test]
    fn a_damaged_image_has_to_be_copied_until_it_is_although_its_tag_answers() {
        let copied = outcome("app:1", Status::Copied(Digest::sha256(b"app")));
        let key = DestinationKey::of(&copied.destination);
        let mut records = Records::default();
        records.update(&key, std::slice::from_ref(&copied), |_| true, at(1));
        let verified = |result, second| Verification { at: at(second), result, reason: None, unanswered: None };
        let state =
            |records: &Records| (records.get(&key, &copied.source).unwrap().state, records.oldest_to_be_copied());
        let change = records.verified(&key, &copied.source, verified(Wholeness::Incomplete, 2)).unwrap();
        assert_eq!(change.before.unwrap().verified, None);
        assert_eq!(change.after.unwrap().verified, Some(Wholeness::Incomplete));
        assert_eq!(state(&records), (ImageState::Stale, Some(at(2))));
        let seen = Seen { at_target: AtTarget::Digest(Digest::sha256(b"app")), at_source: None };
        let in_vain = Outcome { seen, ..outcome("app:1", failed(FailureKind::Source)) };
        records.update(&key, &[in_vain], |_| true, at(3));
        assert_eq!(state(&records), (ImageState::Stale, Some(at(2))), "a failed source makes it no better");
        records.update(&key, std::slice::from_ref(&copied), |_| true, at(4));
        assert_eq!(state(&records), (ImageState::Mirrored, None));
        records.verified(&key, &copied.source, verified(Wholeness::Missing, 5));
        assert_eq!(state(&records), (ImageState::Missing, Some(at(5))));
        assert_eq!(records.verified(&key, &"other:1".parse().unwrap(), verified(Wholeness::Whole, 6)), None);
        assert_eq!(
            records.verified(&key, &copied.source, verified(Wholeness::Missing, 7)),
            None,
            "nothing has changed"
        );
    }

    #[test]
    fn known_damage_ends_with_an_answer_only() {
        let copied = outcome("app:1", Status::Copied(Digest::sha256(b"app")));
        let key = DestinationKey::of(&copied.destination);
        let mut records = Records::default();
        records.update(&key, std::slice::from_ref(&copied), |_| true, at(1));
        let mut verify = |result, second, reason: &str| {
            let reason = Some(reason.to_owned());
            records.verified(&key, &copied.source, Verification { at: at(second), result, reason, unanswered: None });
            let record = records.get(&key, &copied.source).unwrap();
            (record.state, record.verified.clone().unwrap())
        };
        verify(Wholeness::Incomplete, 2, "2 parts are missing");
        for second in [3, 4] {
            let (state, known) = verify(Wholeness::Unknown, second, "silence");
            assert_eq!((state, known.result, known.at), (ImageState::Stale, Wholeness::Incomplete, at(2)));
            assert_eq!(known.reason.as_deref(), Some("2 parts are missing"));
            assert_eq!(known.unanswered, Some(Unanswered { at: at(second), reason: Some("silence".into()) }));
        }
        let (_, known) = verify(Wholeness::Whole, 5, "");
        assert_eq!((known.result, known.unanswered), (Wholeness::Whole, None));
        assert_eq!(verify(Wholeness::Unknown, 6, "silence").1.result, Wholeness::Unknown);
    }

    #[test]
    fn a_tag_that_answers_does_not_make_a_damaged_image_mirrored() {
        let copied = outcome("app:1", Status::Copied(Digest::sha256(b"app")));
        let there = outcome("app:1", Status::AlreadyThere(Digest::sha256(b"app")));
        let key = DestinationKey::of(&copied.destination);
        let mut records = Records::default();
        let update = |records: &mut Records, outcome: &Outcome, second| {
            records.update(&key, std::slice::from_ref(outcome), |_| true, at(second));
            records.get(&key, &copied.source).unwrap().state
        };
        update(&mut records, &copied, 1);
        let damage = Verification { at: at(2), result: Wholeness::Incomplete, reason: None, unanswered: None };
        records.verified(&key, &copied.source, damage);
        assert_eq!(update(&mut records, &there, 3), ImageState::Stale);
        assert_eq!(update(&mut records, &copied, 4), ImageState::Mirrored);
        assert_eq!(update(&mut records, &there, 5), ImageState::Mirrored, "the next verification tells");
    }

    #[test]
    fn keeps_outcomes_of_images_that_were_not_tried() {
        let lost = Outcome { status: failed(FailureKind::Source), ..pinned("a") };
        let key = DestinationKey::of(&lost.destination);
        let mut records = Records::default();
        records.update(&key, std::slice::from_ref(&lost), |_| true, at(1));
        let b = pinned("b");
        assert_eq!(records.update(&key, std::slice::from_ref(&b), |_| true, at(2)), [change(&b, None, DRY)]);
        assert!(records.is_failure(&key, &lost.source) && !records.is_failure(&key, &b.source));
        let changes = records.update(&key, &[pinned("a")], |_| true, at(3));
        let unknown = Some(Known {
            state: ImageState::Unknown,
            result: Some(StatusKind::Failed),
            lacks_referrers: false,
            verified: None,
        });
        assert_eq!(changes, [change(&lost, unknown, DRY)]);
        assert!(!records.is_failure(&key, &lost.source));
    }

    #[test]
    fn what_is_at_the_target_and_the_last_result_are_two_things() {
        let (old, new) = (Digest::sha256(b"old"), Digest::sha256(b"new"));
        let seen = |at_target: AtTarget, at_source: Option<&Digest>| Seen { at_target, at_source: at_source.cloned() };
        let copied = outcome("app:1", Status::Copied(old.clone()));
        let key = DestinationKey::of(&copied.destination);
        let mut records = Records::default();
        records.claim(&key, &copied.source, at(1));
        assert_eq!(records.oldest_to_be_copied(), Some(at(1)));
        let source_down = |seen| Outcome { seen, ..outcome("app:1", failed(FailureKind::Source)) };
        let target_down = || outcome("app:1", failed(FailureKind::Target));
        for (second, outcome, state, waiting_since) in [
            (2, source_down(seen(AtTarget::Unknown, None)), ImageState::Unknown, Some(at(1))),
            (3, source_down(seen(AtTarget::Nothing, None)), ImageState::Missing, Some(at(1))),
            (4, target_down(), ImageState::Missing, Some(at(1))),
            (5, copied.clone(), ImageState::Mirrored, None),
            (6, source_down(seen(AtTarget::Digest(old.clone()), None)), ImageState::Unverified, None),
            (7, copied.clone(), ImageState::Mirrored, None),
            (8, target_down(), ImageState::Unverified, None),
            (9, source_down(seen(AtTarget::Digest(old.clone()), Some(&new))), ImageState::Stale, Some(at(9))),
            (10, target_down(), ImageState::Stale, Some(at(9))),
            (11, outcome("app:1", failed(FailureKind::Conflict)), ImageState::Conflict, None),
        ] {
            records.update(&key, std::slice::from_ref(&outcome), |_| true, at(second));
            let record = records.get(&key, &copied.source).unwrap();
            assert_eq!((record.state, records.oldest_to_be_copied()), (state, waiting_since), "at {second}");
        }
        let record = records.get(&key, &copied.source).unwrap();
        assert_eq!((record.failures, record.failing_since, record.last_mirrored), (4, Some(at(8)), Some(at(7))));
        assert_eq!(record.seen, Seen { at_target: AtTarget::Digest(old), at_source: Some(new) });
    }

    #[test]
    fn what_a_tag_was_last_known_to_be_is_unverified_until_the_source_tells() {
        let (key, now) = (crate::mirror::testing::key("app"), SystemTime::now());
        let mut records = Records::default();
        let copied = Status::Copied(Digest::sha256(b"app"));
        let there = || Status::AlreadyThere(Digest::sha256(b"app"));
        for (status, tag, state) in [
            (copied, TagMeaning::LastKnown, ImageState::Unverified),
            (there(), TagMeaning::NotAsked, ImageState::Unverified),
            (there(), TagMeaning::Told, ImageState::Mirrored),
            (there(), TagMeaning::NotAsked, ImageState::Mirrored),
        ] {
            let outcome = Outcome { tag, ..outcome("app:1", status) };
            records.update(&key, &[outcome], |_| true, now);
            assert_eq!(records.get(&key, &"app:1".parse().unwrap()).unwrap().state, state, "{tag:?}");
        }
    }
}
