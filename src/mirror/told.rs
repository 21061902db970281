//! What observers were told of each name, so that they can be told when it is no longer so.

use std::collections::HashMap;

use crate::model::{Destination, Outcome, Reference, Status};

use super::claims::Name;

/// An image and where it was to be.
pub type Entry = (Destination, Reference);

/// The outcomes that were told last, by name.
#[derive(Debug, Default)]
pub struct Told(HashMap<Name, Vec<Last>>);

#[derive(Clone, Debug)]
struct Last {
    entry: Entry,
    is_failure: bool,
}

impl Told {
    /// These outcomes are known of a name from now on, and of its other images that are still wanted what was told
    /// before. Answers what was told and is no longer so.
    pub fn update(&mut self, name: &Name, outcomes: &[Outcome], is_wanted: impl Fn(&Reference) -> bool) -> Vec<Entry> {
        let before = self.0.remove(name).unwrap_or_default();
        let mut now: Vec<Last> = Vec::new();
        for outcome in outcomes {
            let entry = (outcome.destination.clone(), outcome.source.clone());
            let is_failure = matches!(outcome.status, Status::Failed(_));
            now.retain(|last| last.entry != entry);
            now.push(Last { entry, is_failure });
        }
        let is_told_anew = |source: &Reference| outcomes.iter().any(|outcome| outcome.source == *source);
        let (kept, gone): (Vec<Last>, Vec<Last>) = before
            .into_iter()
            .filter(|last| !now.iter().any(|new| new.entry == last.entry))
            .partition(|Last { entry: (_, source), .. }| is_wanted(source) && !is_told_anew(source));
        now.extend(kept);
        if !now.is_empty() {
            self.0.insert(name.clone(), now);
        }
        gone.into_iter().map(|last| last.entry).collect()
    }

    /// Whether it was told that this could not be brought, and nothing since.
    pub fn is_failure(&self, name: &Name, source: &Reference) -> bool {
        let told = self.0.get(name).into_iter().flatten();
        told.into_iter().any(|last| last.is_failure && last.entry.1 == *source)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::{
        mirror::testing::target,
        model::{Failure, FailureKind, Retry},
    };

    fn outcome(image: &str, status: Status) -> Outcome {
        let source: Reference = image.parse().unwrap();
        let destination = Destination {
            target: target("r.io"),
            repository: source.repository().to_owned(),
            tag: source.tag().map(str::to_owned),
            digest: source.digest().cloned(),
        };
        let image = image.to_owned();
        let (workloads, took) = (Vec::new(), Duration::ZERO);
        Outcome { image, source, destination, workloads, status, bytes: 0, took, next_try: None }
    }

    fn pinned(letter: &str) -> Outcome {
        outcome(&format!("app:1@sha256:{}", letter.repeat(64)), Status::WouldPull)
    }

    fn entry(outcome: &Outcome) -> Entry {
        (outcome.destination.clone(), outcome.source.clone())
    }

    #[test]
    fn what_is_no_longer_so_is_known() {
        let (a, b) = (pinned("a"), pinned("b"));
        let name = Name::of(&a.destination);
        assert_eq!(name, Name::of(&b.destination));
        let mut told = Told::default();
        assert_eq!(told.update(&name, std::slice::from_ref(&a), |_| true), []);
        assert_eq!(told.update(&name, std::slice::from_ref(&a), |_| true), []);
        let only_b = |source: &Reference| *source == b.source;
        assert_eq!(told.update(&name, std::slice::from_ref(&b), only_b), [entry(&a)], "a digest was bumped");
        assert_eq!(told.update(&name, &[], |_| false), [entry(&b)], "nobody wants it");
        assert_eq!(told.update(&name, &[], |_| false), []);
    }

    #[test]
    fn what_was_not_looked_at_stays_as_it_was_told() {
        let failure = Failure { kind: FailureKind::Source, message: "down".into(), retry: Retry::Soon };
        let failed = Outcome { status: Status::Failed(failure), ..pinned("a") };
        let name = Name::of(&failed.destination);
        let mut told = Told::default();
        told.update(&name, std::slice::from_ref(&failed), |_| true);
        assert_eq!(told.update(&name, &[pinned("b")], |_| true), []);
        assert!(told.is_failure(&name, &failed.source) && !told.is_failure(&name, &pinned("b").source));
        told.update(&name, &[pinned("a")], |_| true);
        assert!(!told.is_failure(&name, &failed.source));
    }
}
