//! The number of images by their last outcome.

use prometheus::{IntGauge, IntGaugeVec};

use crate::model::StatusKind;

/// All states: each has a series from the start, so alerts need not handle absent series.
pub(super) struct ImageStates([(StatusKind, IntGauge); StatusKind::ALL.len()]);

impl ImageStates {
    /// `by_state` has `state` as its only label.
    pub(super) fn new(by_state: &IntGaugeVec) -> Self {
        Self(StatusKind::ALL.map(|kind| (kind, by_state.with_label_values(&[kind.name()]))))
    }

    /// Counts the change of an image's outcome at one destination.
    pub(super) fn change(&self, before: Option<StatusKind>, after: Option<StatusKind>) {
        for (kind, gauge) in &self.0 {
            if before == Some(*kind) {
                gauge.dec();
            }
            if after == Some(*kind) {
                gauge.inc();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use prometheus::Opts;

    use super::*;

    #[test]
    fn an_image_counts_in_its_last_state_until_it_is_withdrawn() {
        let family = IntGaugeVec::new(Opts::new("images", "Images."), &["state"]).unwrap();
        let states = ImageStates::new(&family);
        let count = |state: &str| family.with_label_values(&[state]).get();

        states.change(None, Some(StatusKind::Failed));
        states.change(None, Some(StatusKind::Failed));
        assert_eq!((count("failed"), count("copied")), (2, 0));

        states.change(Some(StatusKind::Failed), Some(StatusKind::Copied));
        assert_eq!((count("failed"), count("copied")), (1, 1));

        states.change(Some(StatusKind::Copied), None);
        assert_eq!((count("failed"), count("copied")), (1, 0));
    }

    #[test]
    fn every_state_has_a_series_from_the_start() {
        let family = IntGaugeVec::new(Opts::new("images", "Images."), &["state"]).unwrap();
        let _states = ImageStates::new(&family);
        let metrics = prometheus::core::Collector::collect(&family);
        let series: Vec<&str> = metrics[0].get_metric().iter().map(|metric| metric.get_label()[0].value()).collect();
        for state in ["copied", "already_there", "would_copy", "would_pull", "failed"] {
            assert!(series.contains(&state), "{state}: {series:?}");
        }
    }
}
