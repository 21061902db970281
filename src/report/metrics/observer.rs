//! What each event changes in the metrics.

use std::time::SystemTime;

use super::Metrics;
use crate::model::{Event, Known, Observer, Outcome, Status};

fn unix_seconds(time: SystemTime) -> i64 {
    let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}

impl Observer for Metrics {
    fn observe(&self, event: &Event<'_>) {
        match *event {
            Event::PullSucceeded(image) => self.pull_success.increment(image),
            Event::PullFailed(image) => self.pull_error.increment(image),
            Event::PushSucceeded(reference) => self.push_success.increment(reference),
            Event::PushFailed(reference) => self.push_error.increment(reference),
            Event::BytesCopied(bytes) => self.copied_bytes.inc_by(bytes),
            Event::Finished(outcome, _) => self.finished(outcome),
            Event::ImageChanged { before, after, .. } => {
                let result = |known: Option<Known>| known.and_then(|known| known.result);
                let state = |known: Option<Known>| known.map(|known| known.state);
                self.images.change(result(before), result(after));
                self.destinations.change(state(before), state(after));
                let lacks = |known: Option<Known>| i64::from(known.is_some_and(|known| known.lacks_referrers));
                let verified = |known: Option<Known>| known.map(|known| known.verified);
                self.verified.change(verified(before), verified(after));
                self.images_lacking_referrers.add(lacks(after) - lacks(before));
            }
            Event::OldestToBeCopied(since) => self.oldest_not_mirrored.set(since.map_or(0, unix_seconds)),
            Event::OldestVerification { time, is_late } => {
                self.oldest_verification.set(time.map_or(0, unix_seconds));
                self.verifications_late.set(i64::from(is_late));
            }
            Event::PassEnded(pass) => {
                self.last_pass.set(unix_seconds(pass.ended));
                if pass.failures == 0 {
                    self.last_successful_pass.set(unix_seconds(pass.ended));
                }
            }
            Event::Requested { registry, method, status } => self.registries.requested(registry, method, status),
            Event::Retried { registry } => self.registries.retried(registry),
            Event::Undecided { .. } => self.undecided.inc(),
            Event::Decided { .. } => {}
            Event::UndecidedNow(count) => self.undecided_now.set(i64::try_from(count).unwrap_or(i64::MAX)),
            Event::Queue { waiting, active, cooling } => {
                for (gauge, length) in
                    [(&self.queue_waiting, waiting), (&self.queue_active, active), (&self.queue_cooling, cooling)]
                {
                    gauge.set(i64::try_from(length).unwrap_or(i64::MAX));
                }
            }
            Event::PluginCalled { plugin, hook, took, error } => self.plugins.called(plugin, hook, took, error),
            Event::PluginLoaded(plugin) => self.plugins.loaded(plugin),
            Event::PluginGone { plugin } => self.plugins.gone(plugin),
            Event::PluginMemory { plugin, bytes } => self.plugins.memory(plugin, bytes),
            Event::Reloaded => self.plugins.reloaded(true),
            Event::ReloadRefused { .. } => self.plugins.reloaded(false),
            Event::Throttled { registry } => self.registries.throttled(registry),
            Event::PullsLeft { registry, left, .. } => self.registries.pulls_left(registry, left),
            Event::CopyStarted { .. }
            | Event::Verified { .. }
            | Event::TransferStarted { .. }
            | Event::InCooldown { .. }
            | Event::TagTaken { .. } => {}
            Event::WatchRestarted(resource) => self.watch_restarts.with_label_values(&[resource]).inc(),
        }
    }
}

impl Metrics {
    fn finished(&self, outcome: &Outcome) {
        if let Some(referrers) = &outcome.referrers {
            let results = [
                ("copied", referrers.copied),
                ("already_there", referrers.already_there),
                ("failed", referrers.failed),
            ];
            for (result, count) in results {
                self.referrers.with_label_values(&[result]).inc_by(u64::try_from(count).unwrap_or(u64::MAX));
            }
        }
        for from in &outcome.copied_from {
            self.copied_elsewhere.with_label_values(&[from]).inc();
        }
        if let Status::Failed(failure) = &outcome.status {
            self.copy_failures.with_label_values(&[failure.kind.name()]).inc();
        }
        if matches!(outcome.status, Status::Copied(_) | Status::Failed(_)) {
            self.copy_duration.with_label_values(&[outcome.status.name()]).observe(outcome.took.as_secs_f64());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::{
        model::{Digest, Hook, PassSummary, Wholeness},
        report::testing::{failed, outcome, record, web},
    };

    /// The program's own series without histogram buckets.
    fn series(metrics: &Metrics) -> Vec<String> {
        let text = metrics.render().unwrap();
        text.lines()
            .filter(|line| line.starts_with("k8s_copycat_") && !line.contains("le="))
            .map(str::to_owned)
            .collect()
    }

    #[test]
    fn the_four_original_counters_appear_with_their_first_event() {
        let metrics = Metrics::new().unwrap();
        assert!(!metrics.render().unwrap().contains("k8s_copycat_registry_"));
        metrics.observe(&Event::PullSucceeded("nginx"));
        metrics.observe(&Event::PullSucceeded("nginx"));
        metrics.observe(&Event::PullFailed("quay.io/a/b:1"));
        metrics.observe(&Event::PushSucceeded("mirror.example/library/nginx:latest"));
        metrics.observe(&Event::PushFailed("mirror.example/a/b:1"));
        let series = series(&metrics);
        for line in [
            r#"k8s_copycat_registry_pull_success_total{image="nginx"} 2"#,
            r#"k8s_copycat_registry_pull_error_total{image="quay.io/a/b:1"} 1"#,
            r#"k8s_copycat_registry_push_success_total{image="mirror.example/library/nginx:latest"} 1"#,
            r#"k8s_copycat_registry_push_error_total{image="mirror.example/a/b:1"} 1"#,
        ] {
            assert!(series.iter().any(|found| found == line), "{line} is not in {series:#?}");
        }
    }

    fn changed(outcome: &Outcome, before: Option<Known>, after: Option<Known>) -> Event<'_> {
        Event::ImageChanged { destination: &outcome.destination, source: &outcome.source, before, after }
    }

    fn known(outcome: &Outcome) -> Option<Known> {
        Some(Known::from(&record(outcome)))
    }

    fn pass(ended: u64, failures: usize) -> PassSummary {
        let ended = SystemTime::UNIX_EPOCH + Duration::from_secs(ended);
        PassSummary { began: SystemTime::UNIX_EPOCH, ended, workloads: 1, images: 1, failures }
    }

    #[test]
    fn every_event_updates_its_metrics() {
        let metrics = Metrics::new().unwrap();
        let copied = outcome("nginx:1", Status::Copied(Digest::sha256(b"1")));
        let lost = outcome("nginx:2", failed("down"));
        let there = outcome("nginx:3", Status::AlreadyThere(Digest::sha256(b"3")));
        let damaged = Some(Wholeness::Incomplete);
        let plugin_called = |error| Event::PluginCalled {
            plugin: "tenants",
            hook: Hook::PathMapping,
            took: Duration::from_millis(250),
            error,
        };
        for event in [
            Event::BytesCopied(1000),
            Event::BytesCopied(24),
            Event::Finished(&copied, &record(&copied)),
            Event::Finished(&lost, &record(&lost)),
            Event::Finished(&there, &record(&there)),
            changed(&copied, None, known(&copied)),
            changed(&lost, None, known(&lost)),
            changed(&there, None, known(&there)),
            changed(&there, known(&there), None),
            changed(&lost, known(&lost), known(&lost).map(|known| Known { verified: damaged, ..known })),
            Event::OldestToBeCopied(Some(SystemTime::UNIX_EPOCH + Duration::from_secs(7))),
            Event::OldestVerification { time: Some(SystemTime::UNIX_EPOCH + Duration::from_secs(8)), is_late: true },
            Event::PassEnded(pass(1, 0)),
            Event::PassEnded(pass(2, 5)),
            Event::Requested { registry: "hub.example", method: "GET", status: Some(200) },
            Event::Requested { registry: "hub.example", method: "GET", status: None },
            Event::Retried { registry: "hub.example" },
            Event::Undecided { workload: &web(), image: "Nginx", reason: "malformed" },
            Event::UndecidedNow(3),
            Event::Queue { waiting: 7, active: 2, cooling: 1 },
            plugin_called(None),
            plugin_called(Some("trap")),
            Event::PluginMemory { plugin: "tenants", bytes: 65536 },
            Event::ReloadRefused { reason: "broken" },
            Event::Reloaded,
            Event::Throttled { registry: "slow.example" },
            Event::PullsLeft { registry: "hub.example", left: 76, limit: Some(100) },
            Event::WatchRestarted("pods"),
        ] {
            metrics.observe(&event);
        }
        metrics.set_leader(true);
        metrics.event_lost("queue_full");
        let expected = r#"
            k8s_copycat_config_last_reload_successful 1
            k8s_copycat_config_reloads_total{result="applied"} 1
            k8s_copycat_config_reloads_total{result="refused"} 1
            k8s_copycat_copied_bytes_total 1024
            k8s_copycat_copy_duration_seconds_count{status="copied"} 1
            k8s_copycat_copy_duration_seconds_count{status="failed"} 1
            k8s_copycat_copy_duration_seconds_sum{status="copied"} 1.5
            k8s_copycat_copy_failures_total{kind="target"} 1
            k8s_copycat_destinations{state="mirrored"} 1
            k8s_copycat_destinations{state="unknown"} 1
            k8s_copycat_images{state="already_there"} 0
            k8s_copycat_images{state="copied"} 1
            k8s_copycat_images{state="failed"} 1
            k8s_copycat_last_pass_timestamp_seconds 2
            k8s_copycat_last_successful_pass_timestamp_seconds 1
            k8s_copycat_leader 1
            k8s_copycat_lost_events_total{reason="queue_full"} 1
            k8s_copycat_plugin_call_duration_seconds_sum{hook="path-mapping",plugin="tenants"} 0.5
            k8s_copycat_plugin_calls_total{hook="path-mapping",plugin="tenants"} 2
            k8s_copycat_plugin_failures_total{hook="path-mapping",kind="trap",plugin="tenants"} 1
            k8s_copycat_plugin_memory_bytes{plugin="tenants"} 65536
            k8s_copycat_queue_length{state="active"} 2
            k8s_copycat_queue_length{state="cooling"} 1
            k8s_copycat_queue_length{state="waiting"} 7
            k8s_copycat_oldest_not_mirrored_timestamp_seconds 7
            k8s_copycat_oldest_verification_timestamp_seconds 8
            k8s_copycat_verifications_late 1
            k8s_copycat_registry_requests_total{method="GET",registry="hub.example",status="200"} 1
            k8s_copycat_registry_requests_total{method="GET",registry="hub.example",status="error"} 1
            k8s_copycat_registry_retries_total{registry="hub.example"} 1
            k8s_copycat_registry_pulls_left{registry="hub.example"} 76
            k8s_copycat_registry_throttled_total{registry="slow.example"} 1
            k8s_copycat_undecided 3
            k8s_copycat_undecided_total 1
            k8s_copycat_verified_images{result="incomplete"} 1
            k8s_copycat_verified_images{result="none"} 1
            k8s_copycat_verified_images{result="whole"} 0
            k8s_copycat_watch_restarts_total{resource="jobs"} 0
            k8s_copycat_watch_restarts_total{resource="pods"} 1
        "#;
        let series = series(&metrics);
        for line in expected.lines().map(str::trim).filter(|line| !line.is_empty()) {
            assert!(series.iter().any(|found| found == line), "{line} is not in {series:#?}");
        }
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn process_metrics_are_included() {
        let text = Metrics::new().unwrap().render().unwrap();
        assert!(text.contains("\nprocess_resident_memory_bytes "), "{text}");
    }
}
