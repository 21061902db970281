//! Metrics of plugins and of reloading.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use prometheus::{HistogramVec, IntCounterVec, IntGauge, IntGaugeVec};

use super::families::{Families, MetricsError};
use crate::model::{Hook, PluginStatus, printable};

/// In seconds: from a simple decision to the deadline of a call.
const BUCKETS: [f64; 12] =
    [0.000_005, 0.000_01, 0.000_05, 0.000_1, 0.000_25, 0.000_5, 0.001, 0.005, 0.01, 0.1, 1.0, 5.0];

pub(super) struct PluginMetrics {
    calls: IntCounterVec,
    failures: IntCounterVec,
    duration: HistogramVec,
    loads: IntCounterVec,
    memory: IntGaugeVec,
    info: IntGaugeVec,
    /// The labels of each plugin's series in `info`.
    info_labels: Mutex<HashMap<String, [String; 4]>>,
    reloads: IntCounterVec,
    reload_successful: IntGauge,
}

impl PluginMetrics {
    /// The last reload counts as successful until one fails.
    pub(super) fn new(families: &Families) -> Result<Self, MetricsError> {
        let reloads = families.counters(
            "k8s_copycat_config_reloads_total",
            "Reloads of the configuration and of plugins, by result.",
            &["result"],
        )?;
        for result in ["applied", "refused"] {
            reloads.with_label_values(&[result]);
        }
        let reload_successful = families.gauge(
            "k8s_copycat_config_last_reload_successful",
            "1 if the configuration on disk is active, 0 if it was rejected and an earlier one is active.",
        )?;
        reload_successful.set(1);
        Ok(Self {
            calls: families.counters(
                "k8s_copycat_plugin_calls_total",
                "Calls of a plugin, by hook.",
                &["plugin", "hook"],
            )?,
            failures: families.counters(
                "k8s_copycat_plugin_failures_total",
                "Failed calls of a plugin, by hook and kind.",
                &["plugin", "hook", "kind"],
            )?,
            duration: families.histograms(
                "k8s_copycat_plugin_call_duration_seconds",
                "Duration of a plugin call, by hook.",
                &["plugin", "hook"],
                &BUCKETS,
            )?,
            loads: families.counters(
                "k8s_copycat_plugin_loads_total",
                "Loads of a plugin, at the start and after changes.",
                &["plugin"],
            )?,
            memory: families.gauges(
                "k8s_copycat_plugin_memory_bytes",
                "Linear memory of all instances of a plugin.",
                &["plugin"],
            )?,
            info: families.gauges(
                "k8s_copycat_plugin_info",
                "Always 1; the labels have the origin, the digest and the contract version of an active plugin.",
                &["plugin", "module", "digest", "contract"],
            )?,
            info_labels: Mutex::default(),
            reloads,
            reload_successful,
        })
    }

    pub(super) fn called(&self, plugin: &str, hook: Hook, took: Duration, error: Option<&str>) {
        let labels = [plugin, hook.name()];
        self.calls.with_label_values(&labels).inc();
        self.duration.with_label_values(&labels).observe(took.as_secs_f64());
        if let Some(kind) = error {
            self.failures.with_label_values(&[plugin, hook.name(), kind]).inc();
        }
    }

    pub(super) fn loaded(&self, plugin: &PluginStatus) {
        self.loads.with_label_values(&[&plugin.name]).inc();
        self.memory(&plugin.name, plugin.memory);
        let digest = plugin.digest.as_ref().map(ToString::to_string).unwrap_or_default();
        // A path may have control characters.
        let module = printable(&plugin.module).into_owned();
        let labels = [plugin.name.clone(), module, digest, plugin.contract.clone()];
        self.forget_info(&plugin.name);
        self.info.with_label_values(&labels).set(1);
        self.info_labels.lock().unwrap_or_else(PoisonError::into_inner).insert(plugin.name.clone(), labels);
    }

    pub(super) fn gone(&self, plugin: &str) {
        self.forget_info(plugin);
        // The error means that the series does not exist.
        let _ = self.memory.remove_label_values(&[plugin]);
    }

    pub(super) fn memory(&self, plugin: &str, bytes: usize) {
        self.memory.with_label_values(&[plugin]).set(i64::try_from(bytes).unwrap_or(i64::MAX));
    }

    pub(super) fn reloaded(&self, applied: bool) {
        self.reloads.with_label_values(&[if applied { "applied" } else { "refused" }]).inc();
        self.reload_successful.set(i64::from(applied));
    }

    fn forget_info(&self, plugin: &str) {
        if let Some(labels) = self.info_labels.lock().unwrap_or_else(PoisonError::into_inner).remove(plugin) {
            let _ = self.info.remove_label_values(&labels);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use prometheus::{Registry, TextEncoder};

    use super::*;
    use crate::model::Digest;

    fn status(digest: &str) -> PluginStatus {
        PluginStatus {
            name: "teams".to_owned(),
            module: "/plugins/teams.wasm".to_owned(),
            digest: Some(Digest::sha256(digest.as_bytes())),
            contract: "1.0.0".to_owned(),
            hooks: vec![Hook::Skip],
            loaded: SystemTime::now(),
            calls: 0,
            failures: Default::default(),
            instances: 1,
            memory: 65536,
            given_up_for: None,
        }
    }

    #[test]
    fn labels_escape_control_characters() {
        let families = Families(Registry::new());
        let metrics = PluginMetrics::new(&families).unwrap();
        let module = "/plugins/te\u{202e}\u{1b}[2J\nams.wasm".to_owned();
        metrics.loaded(&PluginStatus { module, ..status("one") });
        let text = TextEncoder::new().encode_to_string(&families.0.gather()).unwrap();
        let escaped = r#"module="/plugins/te\\u{202e}\\u{1b}[2J\\nams.wasm""#;
        assert!(text.contains(escaped) && !text.contains(['\u{202e}', '\u{1b}']), "{text}");
    }

    #[test]
    fn a_plugin_has_one_info_series_at_a_time() {
        let families = Families(Registry::new());
        let metrics = PluginMetrics::new(&families).unwrap();
        let series = |name: &str| {
            let text = TextEncoder::new().encode_to_string(&families.0.gather()).unwrap();
            text.lines().filter(|line| line.starts_with(name)).map(str::to_owned).collect::<Vec<_>>()
        };
        metrics.loaded(&status("one"));
        metrics.loaded(&status("two"));
        let digest = Digest::sha256(b"two");
        let info = format!(
            r#"k8s_copycat_plugin_info{{contract="1.0.0",digest="{digest}",module="/plugins/teams.wasm",plugin="teams"}} 1"#
        );
        assert_eq!(series("k8s_copycat_plugin_info{"), [info]);
        assert_eq!(
            series("k8s_copycat_plugin_memory_bytes{"),
            [r#"k8s_copycat_plugin_memory_bytes{plugin="teams"} 65536"#]
        );
        assert_eq!(series("k8s_copycat_plugin_loads_total{"), [r#"k8s_copycat_plugin_loads_total{plugin="teams"} 2"#]);
        metrics.gone("teams");
        assert!(series("k8s_copycat_plugin_info{").is_empty() && series("k8s_copycat_plugin_memory_bytes{").is_empty());
        metrics.gone("teams");

        assert_eq!(
            series("k8s_copycat_config_last_reload_successful "),
            ["k8s_copycat_config_last_reload_successful 1"]
        );
        metrics.reloaded(false);
        assert_eq!(
            series("k8s_copycat_config_last_reload_successful "),
            ["k8s_copycat_config_last_reload_successful 0"]
        );
        metrics.reloaded(true);
        let reloads =
            ["applied", "refused"].map(|result| format!(r#"k8s_copycat_config_reloads_total{{result="{result}"}} 1"#));
        assert_eq!(series("k8s_copycat_config_reloads_total{"), reloads);
    }
}
