//! How many images are in which state.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
};

use prometheus::{IntGauge, IntGaugeVec};

use crate::model::{Destination, Outcome, Reference};

/// The names of all states, so that each has a series from the start and an alert need not ask for its absence.
const STATES: [&str; 5] = ["copied", "already_there", "would_copy", "would_pull", "failed"];

/// The latest state of every image at every destination, counted by state.
pub(super) struct ImageStates {
    by_state: [(&'static str, IntGauge); STATES.len()],
    latest: Mutex<HashMap<(Destination, Reference), &'static str>>,
}

impl ImageStates {
    /// Over a family whose only label is the state.
    pub(super) fn new(by_state: &IntGaugeVec) -> Self {
        let by_state = STATES.map(|state| (state, by_state.with_label_values(&[state])));
        Self { by_state, latest: Mutex::default() }
    }

    /// This is what came of a destination last.
    pub(super) fn update(&self, outcome: &Outcome) {
        let state = outcome.status.name();
        let mut latest = self.latest.lock().unwrap_or_else(PoisonError::into_inner);
        let before = latest.insert((outcome.destination.clone(), outcome.source.clone()), state);
        self.add(state, 1);
        self.leave(before);
    }

    /// This is not to be there any more.
    pub(super) fn forget(&self, destination: &Destination, source: &Reference) {
        let mut latest = self.latest.lock().unwrap_or_else(PoisonError::into_inner);
        self.leave(latest.remove(&(destination.clone(), source.clone())));
    }

    fn leave(&self, state: Option<&'static str>) {
        if let Some(state) = state {
            self.add(state, -1);
        }
    }

    fn add(&self, state: &'static str, count: i64) {
        if let Some((_, gauge)) = self.by_state.iter().find(|(name, _)| *name == state) {
            gauge.add(count);
        }
    }
}

#[cfg(test)]
mod tests {
    use prometheus::Opts;

    use super::*;
    use crate::{
        model::{Digest, Status},
        report::testing::{failed, outcome},
    };

    #[test]
    fn a_destination_counts_in_its_latest_state_only_until_it_is_forgotten() {
        let family = IntGaugeVec::new(Opts::new("images", "Images."), &["state"]).unwrap();
        let states = ImageStates::new(&family);
        let count = |state: &str| family.with_label_values(&[state]).get();

        states.update(&outcome("nginx:1", failed("down")));
        states.update(&outcome("nginx:2", failed("down")));
        assert_eq!((count("failed"), count("copied")), (2, 0));

        let copied = outcome("nginx:1", Status::Copied(Digest::sha256(b"1")));
        states.update(&copied);
        states.update(&copied);
        assert_eq!((count("failed"), count("copied")), (1, 1));

        states.forget(&copied.destination, &copied.source);
        states.forget(&copied.destination, &copied.source);
        assert_eq!((count("failed"), count("copied")), (1, 0));
    }

    #[test]
    fn every_state_has_a_series_from_the_start() {
        let digest = Digest::sha256(b"1");
        for status in [
            Status::Copied(digest.clone()),
            Status::AlreadyThere(digest.clone()),
            Status::WouldCopy(digest),
            Status::WouldPull,
            failed("down"),
        ] {
            assert!(STATES.contains(&status.name()), "{}", status.name());
        }
    }
}
