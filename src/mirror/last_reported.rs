//! The last outcome of each image and destination, kept once for all observers, which receive its changes.

use std::collections::HashMap;

use crate::model::{Destination, Outcome, Reference, StatusKind};

use super::destination_key::DestinationKey;

/// An image and its destination.
pub type Route = (Destination, Reference);

/// The last reported outcomes.
#[derive(Debug, Default)]
pub struct LastReported(HashMap<DestinationKey, Vec<Reported>>);

#[derive(Clone, Debug)]
struct Reported {
    route: Route,
    kind: StatusKind,
}

/// A change of the last outcome.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutcomeChange {
    pub route: Route,
    pub before: Option<StatusKind>,
    /// None if the outcome no longer holds.
    pub after: Option<StatusKind>,
}

impl LastReported {
    /// Replaces the outcomes of these images, keeps those of other images that `is_claimed`, and returns what changed.
    pub fn update(
        &mut self,
        key: &DestinationKey,
        outcomes: &[Outcome],
        is_claimed: impl Fn(&Reference) -> bool,
    ) -> Vec<OutcomeChange> {
        let before = self.0.remove(key).unwrap_or_default();
        let mut now: Vec<Reported> = Vec::new();
        for outcome in outcomes {
            let route = (outcome.destination.clone(), outcome.source.clone());
            now.retain(|reported| reported.route != route);
            now.push(Reported { route, kind: outcome.status.kind() });
        }
        let mut changes = Vec::new();
        for Reported { route, kind } in &now {
            let before = before.iter().find(|reported| reported.route == *route).map(|reported| reported.kind);
            if before != Some(*kind) {
                changes.push(OutcomeChange { route: route.clone(), before, after: Some(*kind) });
            }
        }
        for reported in before {
            let (_, source) = &reported.route;
            if now.iter().any(|new| new.route == reported.route) {
                continue;
            }
            if is_claimed(source) && !outcomes.iter().any(|outcome| outcome.source == *source) {
                now.push(reported);
            } else {
                changes.push(OutcomeChange { route: reported.route, before: Some(reported.kind), after: None });
            }
        }
        if !now.is_empty() {
            self.0.insert(key.clone(), now);
        }
        changes
    }

    /// Whether the last reported outcome of `source` is a failure.
    pub fn is_failure(&self, key: &DestinationKey, source: &Reference) -> bool {
        let reported = self.0.get(key).into_iter().flatten();
        reported.into_iter().any(|reported| reported.kind == StatusKind::Failed && reported.route.1 == *source)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::{
        mirror::testing::target,
        model::{Failure, FailureKind, Retry, Status},
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

    fn change(outcome: &Outcome, before: Option<StatusKind>, after: Option<StatusKind>) -> OutcomeChange {
        OutcomeChange { route: (outcome.destination.clone(), outcome.source.clone()), before, after }
    }

    const WOULD_PULL: Option<StatusKind> = Some(StatusKind::WouldPull);

    #[test]
    fn withdraws_outcomes_of_replaced_and_unclaimed_images() {
        let (a, b) = (pinned("a"), pinned("b"));
        let key = DestinationKey::of(&a.destination);
        assert_eq!(key, DestinationKey::of(&b.destination));
        let mut reported = LastReported::default();
        assert_eq!(reported.update(&key, std::slice::from_ref(&a), |_| true), [change(&a, None, WOULD_PULL)]);
        assert_eq!(reported.update(&key, std::slice::from_ref(&a), |_| true), []);
        let only_b = |source: &Reference| *source == b.source;
        assert_eq!(
            reported.update(&key, std::slice::from_ref(&b), only_b),
            [change(&b, None, WOULD_PULL), change(&a, WOULD_PULL, None)],
            "the digest was updated"
        );
        assert_eq!(reported.update(&key, &[], |_| false), [change(&b, WOULD_PULL, None)], "it is unclaimed");
        assert_eq!(reported.update(&key, &[], |_| false), []);
    }

    #[test]
    fn keeps_outcomes_of_images_that_were_not_tried() {
        let failure = Failure { kind: FailureKind::Source, message: "down".into(), retry: Retry::Soon };
        let failed = Outcome { status: Status::Failed(failure), ..pinned("a") };
        let key = DestinationKey::of(&failed.destination);
        let mut reported = LastReported::default();
        reported.update(&key, std::slice::from_ref(&failed), |_| true);
        let b = pinned("b");
        assert_eq!(reported.update(&key, std::slice::from_ref(&b), |_| true), [change(&b, None, WOULD_PULL)]);
        assert!(reported.is_failure(&key, &failed.source) && !reported.is_failure(&key, &b.source));
        let changes = reported.update(&key, &[pinned("a")], |_| true);
        assert_eq!(changes, [change(&failed, Some(StatusKind::Failed), WOULD_PULL)]);
        assert!(!reported.is_failure(&key, &failed.source));
    }
}
