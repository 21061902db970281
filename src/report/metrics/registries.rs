//! Rate limits and quotas of registries, by host.

use std::{
    collections::HashSet,
    sync::{Mutex, PoisonError},
};

use prometheus::{IntCounterVec, IntGaugeVec};

/// The largest number of registries with a series: anyone who deploys can name new ones.
const MAX_REGISTRIES: usize = 100;

/// The label of registries beyond [`MAX_REGISTRIES`].
const OTHER: &str = "other";

/// Families with the label `registry` and a limited number of series.
pub(super) struct RegistryMetrics {
    throttled: IntCounterVec,
    pulls_left: IntGaugeVec,
    requests: IntCounterVec,
    retries: IntCounterVec,
    known: Mutex<HashSet<Box<str>>>,
}

impl RegistryMetrics {
    /// All families have `registry` as their first label, and `requests` also `method` and `status`.
    pub(super) fn new(
        throttled: IntCounterVec,
        pulls_left: IntGaugeVec,
        requests: IntCounterVec,
        retries: IntCounterVec,
    ) -> Self {
        Self { throttled, pulls_left, requests, retries, known: Mutex::default() }
    }

    pub(super) fn requested(&self, registry: &str, method: &str, status: Option<u16>) {
        let status = status.map_or_else(|| "error".to_owned(), |status| status.to_string());
        self.requests.with_label_values(&[self.label(registry), method, &status]).inc();
    }

    pub(super) fn retried(&self, registry: &str) {
        self.retries.with_label_values(&[self.label(registry)]).inc();
    }

    pub(super) fn throttled(&self, registry: &str) {
        self.throttled.with_label_values(&[self.label(registry)]).inc();
    }

    pub(super) fn pulls_left(&self, registry: &str, left: u64) {
        let label = self.label(registry);
        self.pulls_left.with_label_values(&[label]).set(i64::try_from(left).unwrap_or(i64::MAX));
    }

    fn label<'r>(&self, registry: &'r str) -> &'r str {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.contains(registry) {
            return registry;
        }
        if known.len() >= MAX_REGISTRIES {
            return OTHER;
        }
        known.insert(registry.into());
        registry
    }
}

#[cfg(test)]
mod tests {
    use prometheus::Opts;

    use super::*;

    #[test]
    fn registries_beyond_the_limit_share_a_series() {
        let throttled = IntCounterVec::new(Opts::new("throttled", "Throttled."), &["registry"]).unwrap();
        let left = IntGaugeVec::new(Opts::new("left", "Left."), &["registry"]).unwrap();
        let by_status = &["registry", "method", "status"];
        let requests = IntCounterVec::new(Opts::new("requests", "Requests."), by_status).unwrap();
        let retries = IntCounterVec::new(Opts::new("retries", "Retries."), &["registry"]).unwrap();
        let metrics = RegistryMetrics::new(throttled.clone(), left.clone(), requests, retries);
        for number in 0..MAX_REGISTRIES + 5 {
            metrics.throttled(&format!("r{number}.example"));
        }
        metrics.pulls_left("r0.example", 7);
        metrics.pulls_left("late.example", 3);
        assert_eq!(throttled.with_label_values(&["r0.example"]).get(), 1);
        assert_eq!(throttled.with_label_values(&[OTHER]).get(), 5);
        assert_eq!(left.with_label_values(&["r0.example"]).get(), 7);
        assert_eq!(left.with_label_values(&[OTHER]).get(), 3);
    }
}
