//! The number of images by their last outcome.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
};

use prometheus::{IntGauge, IntGaugeVec};

use crate::model::{Destination, Outcome, Reference};

/// All states: each has a series from the start, so alerts need not handle absent series.
const STATES: [&str; 5] = ["copied", "already_there", "would_copy", "would_pull", "failed"];

/// The latest state of every image at every destination, counted by state.
pub(super) struct ImageStates {
    by_state: [(&'static str, IntGauge); STATES.len()],
    latest: Mutex<HashMap<(Destination, Reference), &'static str>>,
}

impl ImageStates {
    /// `by_state` has `state` as its only label.
    pub(super) fn new(by_state: &IntGaugeVec) -> Self {
        let by_state = STATES.map(|state| (state, by_state.with_label_values(&[state])));
        Self { by_state, latest: Mutex::default() }
    }

    pub(super) fn update(&self, outcome: &Outcome) {
        let state = outcome.status.name();
        let mut latest = self.latest.lock().unwrap_or_else(PoisonError::into_inner);
        let previous = latest.insert((outcome.destination.clone(), outcome.source.clone()), state);
        self.add(state, 1);
        self.remove(previous);
    }

    pub(super) fn forget(&self, destination: &Destination, source: &Reference) {
        let mut latest = self.latest.lock().unwrap_or_else(PoisonError::into_inner);
        self.remove(latest.remove(&(destination.clone(), source.clone())));
    }

    fn remove(&self, state: Option<&'static str>) {
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
    fn an_image_counts_in_its_latest_state_until_it_is_forgotten() {
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
