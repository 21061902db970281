//! The number of images by state.

use prometheus::{IntGauge, IntGaugeVec};

/// A gauge for each state: each has a series from the start, so alerts need not handle absent series.
pub(super) struct StateGauges<S>(Vec<(S, IntGauge)>);

impl<S: Copy + PartialEq> StateGauges<S> {
    /// `family` has `state` as its only label.
    pub(super) fn new(family: &IntGaugeVec, states: &[S], name: impl Fn(S) -> &'static str) -> Self {
        Self(states.iter().map(|state| (*state, family.with_label_values(&[name(*state)]))).collect())
    }

    /// Counts the change of an image's state at one destination.
    pub(super) fn change(&self, before: Option<S>, after: Option<S>) {
        for (state, gauge) in &self.0 {
            if before == Some(*state) {
                gauge.dec();
            }
            if after == Some(*state) {
                gauge.inc();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use prometheus::Opts;

    use super::*;
    use crate::model::StatusKind;

    fn family() -> IntGaugeVec {
        IntGaugeVec::new(Opts::new("images", "Images."), &["state"]).unwrap()
    }

    #[test]
    fn an_image_counts_in_its_last_state_until_it_is_withdrawn() {
        let family = family();
        let states = StateGauges::new(&family, &StatusKind::ALL, StatusKind::name);
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
        let family = family();
        let _states = StateGauges::new(&family, &StatusKind::ALL, StatusKind::name);
        let metrics = prometheus::core::Collector::collect(&family);
        let series: Vec<&str> = metrics[0].get_metric().iter().map(|metric| metric.get_label()[0].value()).collect();
        for state in ["copied", "already_there", "would_copy", "would_pull", "failed"] {
            assert!(series.contains(&state), "{state}: {series:?}");
        }
    }
}
