//! The last outcome that observers were given for each image and destination, so that outcomes that no longer hold can be
//! withdrawn.

use std::collections::HashMap;

use crate::model::{Destination, Outcome, Reference, Status};

use super::destination_key::DestinationKey;

/// An image and its destination.
pub type Route = (Destination, Reference);

/// The last reported outcomes.
#[derive(Debug, Default)]
pub struct LastReported(HashMap<DestinationKey, Vec<Reported>>);

#[derive(Clone, Debug)]
struct Reported {
    route: Route,
    is_failure: bool,
}

impl LastReported {
    /// Replaces what was reported of these outcomes' images, and keeps that of other images that `is_claimed`. Returns the
    /// routes whose outcome no longer holds.
    pub fn update(
        &mut self,
        key: &DestinationKey,
        outcomes: &[Outcome],
        is_claimed: impl Fn(&Reference) -> bool,
    ) -> Vec<Route> {
        let before = self.0.remove(key).unwrap_or_default();
        let mut now: Vec<Reported> = Vec::new();
        for outcome in outcomes {
            let route = (outcome.destination.clone(), outcome.source.clone());
            let is_failure = matches!(outcome.status, Status::Failed(_));
            now.retain(|reported| reported.route != route);
            now.push(Reported { route, is_failure });
        }
        let is_replaced = |source: &Reference| outcomes.iter().any(|outcome| outcome.source == *source);
        let (kept, withdrawn): (Vec<Reported>, Vec<Reported>) = before
            .into_iter()
            .filter(|reported| !now.iter().any(|new| new.route == reported.route))
            .partition(|Reported { route: (_, source), .. }| is_claimed(source) && !is_replaced(source));
        now.extend(kept);
        if !now.is_empty() {
            self.0.insert(key.clone(), now);
        }
        withdrawn.into_iter().map(|reported| reported.route).collect()
    }

    /// Whether the last reported outcome of `source` is a failure.
    pub fn is_failure(&self, key: &DestinationKey, source: &Reference) -> bool {
        let reported = self.0.get(key).into_iter().flatten();
        reported.into_iter().any(|reported| reported.is_failure && reported.route.1 == *source)
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

    fn route(outcome: &Outcome) -> Route {
        (outcome.destination.clone(), outcome.source.clone())
    }

    #[test]
    fn withdraws_outcomes_of_replaced_and_unclaimed_images() {
        let (a, b) = (pinned("a"), pinned("b"));
        let key = DestinationKey::of(&a.destination);
        assert_eq!(key, DestinationKey::of(&b.destination));
        let mut reported = LastReported::default();
        assert_eq!(reported.update(&key, std::slice::from_ref(&a), |_| true), []);
        assert_eq!(reported.update(&key, std::slice::from_ref(&a), |_| true), []);
        let only_b = |source: &Reference| *source == b.source;
        assert_eq!(reported.update(&key, std::slice::from_ref(&b), only_b), [route(&a)], "the digest was updated");
        assert_eq!(reported.update(&key, &[], |_| false), [route(&b)], "it is unclaimed");
        assert_eq!(reported.update(&key, &[], |_| false), []);
    }

    #[test]
    fn keeps_outcomes_of_images_that_were_not_tried() {
        let failure = Failure { kind: FailureKind::Source, message: "down".into(), retry: Retry::Soon };
        let failed = Outcome { status: Status::Failed(failure), ..pinned("a") };
        let key = DestinationKey::of(&failed.destination);
        let mut reported = LastReported::default();
        reported.update(&key, std::slice::from_ref(&failed), |_| true);
        assert_eq!(reported.update(&key, &[pinned("b")], |_| true), []);
        assert!(reported.is_failure(&key, &failed.source) && !reported.is_failure(&key, &pinned("b").source));
        reported.update(&key, &[pinned("a")], |_| true);
        assert!(!reported.is_failure(&key, &failed.source));
    }
}
