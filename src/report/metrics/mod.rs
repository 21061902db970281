//! Prometheus metrics.

mod families;
mod image_counter;
mod observer;
mod plugins;
mod registries;
mod state_gauges;

use prometheus::{HistogramVec, IntCounter, IntCounterVec, IntGauge, Registry, TextEncoder};

use families::Families;
use image_counter::{ImageCounter, MAX_IMAGES};
use plugins::PluginMetrics;
use registries::RegistryMetrics;
use state_gauges::StateGauges;

pub use families::MetricsError;

use crate::model::{ImageState, NOT_VERIFIED, StatusKind, Wholeness, WorkloadKind};

/// In seconds: from one small layer on loopback to an image of many gigabytes.
const COPY_BUCKETS: [f64; 12] = [0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 600.0, 1800.0];

/// All metrics of the process. `docs/metrics.md` lists names, labels and meanings.
pub struct Metrics {
    registry: Registry,
    pull_success: ImageCounter,
    pull_error: ImageCounter,
    push_success: ImageCounter,
    push_error: ImageCounter,
    copied_bytes: IntCounter,
    copy_duration: HistogramVec,
    copy_failures: IntCounterVec,
    referrers: IntCounterVec,
    copied_elsewhere: IntCounterVec,
    images_lacking_referrers: IntGauge,
    images: StateGauges<StatusKind>,
    destinations: StateGauges<ImageState>,
    oldest_not_mirrored: IntGauge,
    /// None for images that were not verified.
    verified: StateGauges<Option<Wholeness>>,
    oldest_verification: IntGauge,
    verifications_late: IntGauge,
    last_pass: IntGauge,
    last_successful_pass: IntGauge,
    undecided: IntCounter,
    undecided_now: IntGauge,
    queue_waiting: IntGauge,
    queue_active: IntGauge,
    queue_cooling: IntGauge,
    plugins: PluginMetrics,
    registries: RegistryMetrics,
    watch_restarts: IntCounterVec,
    leader: IntGauge,
    lost_events: IntCounterVec,
}

impl Metrics {
    /// All metrics, in a new registry.
    ///
    /// # Errors
    ///
    /// If a metric has an invalid or duplicate name.
    pub fn new() -> Result<Self, MetricsError> {
        let families = Families(Registry::new());
        #[cfg(target_os = "linux")]
        families.0.register(Box::new(prometheus::process_collector::ProcessCollector::for_self()))?;
        families
            .gauges("k8s_copycat_build_info", "Always 1; the label has the version of the program.", &["version"])?
            .with_label_values(&[env!("CARGO_PKG_VERSION")])
            .set(1);

        let images = |name, help| -> Result<ImageCounter, MetricsError> {
            Ok(ImageCounter::new(families.counters(name, help, &["image"])?, MAX_IMAGES))
        };
        let queue = families.gauges("k8s_copycat_queue_length", "Destinations in the queue, by state.", &["state"])?;
        let registries = RegistryMetrics::new(
            families.counters(
                "k8s_copycat_registry_throttled_total",
                "Rate limit responses of a registry (429, 503); simultaneous responses count once.",
                &["registry"],
            )?,
            families.gauges(
                "k8s_copycat_registry_pulls_left",
                "Remaining manifest pulls, for registries that report a quota.",
                &["registry"],
            )?,
            families.counters(
                "k8s_copycat_registry_requests_total",
                "Requests to registries, by method and status; the status is `error` without a response.",
                &["registry", "method", "status"],
            )?,
            families.counters(
                "k8s_copycat_registry_retries_total",
                "Failed requests and transfers that were repeated.",
                &["registry"],
            )?,
        );
        let watch_restarts = families.counters(
            "k8s_copycat_watch_restarts_total",
            "Watches that failed and were restarted, by resource.",
            &["resource"],
        )?;
        for kind in WorkloadKind::ALL {
            watch_restarts.with_label_values(&[kind.plural()]);
        }

        let referrers = families.counters(
            "k8s_copycat_referrers_total",
            "Signatures and other referrers that were looked for, by result; each look counts them again.",
            &["result"],
        )?;
        for result in ["copied", "already_there", "failed"] {
            referrers.with_label_values(&[result]);
        }

        Ok(Self {
            copied_elsewhere: families.counters(
                "k8s_copycat_copied_from_further_sources_total",
                "Attempts in which a further source gave an image or a part of it, because its registry could not.",
                &["source"],
            )?,
            referrers,
            images_lacking_referrers: families.gauge(
                "k8s_copycat_images_lacking_referrers",
                "Images at their destinations of which a referrer could not be copied at the last look.",
            )?,
            pull_success: images("k8s_copycat_registry_pull_success_total", "Source manifests that were pulled.")?,
            pull_error: images(
                "k8s_copycat_registry_pull_error_total",
                "Failures to resolve a source digest or to pull a source manifest.",
            )?,
            push_success: images("k8s_copycat_registry_push_success_total", "Images that were pushed.")?,
            push_error: images("k8s_copycat_registry_push_error_total", "Failures to push an image.")?,
            copied_bytes: families.counter("k8s_copycat_copied_bytes_total", "Bytes of blobs uploaded to targets.")?,
            copy_duration: families.histograms(
                "k8s_copycat_copy_duration_seconds",
                "Duration of copies that pushed something or failed, by status.",
                &["status"],
                &COPY_BUCKETS,
            )?,
            copy_failures: families.counters(
                "k8s_copycat_copy_failures_total",
                "Copies that failed, by kind.",
                &["kind"],
            )?,
            images: StateGauges::new(
                &families.gauges(
                    "k8s_copycat_images",
                    "Images at their destinations, by the result of the last attempt.",
                    &["state"],
                )?,
                &StatusKind::ALL,
                StatusKind::name,
            ),
            destinations: StateGauges::new(
                &families.gauges(
                    "k8s_copycat_destinations",
                    "Images at their destinations, by what is at the target.",
                    &["state"],
                )?,
                &ImageState::ALL,
                ImageState::name,
            ),
            oldest_not_mirrored: families.gauge(
                "k8s_copycat_oldest_not_mirrored_timestamp_seconds",
                "Since when the image that has waited longest has had to be copied (missing, stale or unknown); 0 for none.",
            )?,
            verified: StateGauges::new(
                &families.gauges(
                    "k8s_copycat_verified_images",
                    "Images at their destinations, by the result of the last verification in the background.",
                    &["result"],
                )?,
                &[&[None], Wholeness::ALL.map(Some).as_slice()].concat(),
                |result| result.map_or(NOT_VERIFIED, Wholeness::name),
            ),
            oldest_verification: families.gauge(
                "k8s_copycat_oldest_verification_timestamp_seconds",
                "The last verification of the image that has waited longest, or when this process found it at its target; 0 \
                 if nothing is to be verified.",
            )?,
            verifications_late: families.gauge(
                "k8s_copycat_verifications_late",
                "1 if an image has waited for its verification for more than twice verifyHours, else 0.",
            )?,
            last_pass: families.gauge(
                "k8s_copycat_last_pass_timestamp_seconds",
                "The end of the last pass over all workloads; 0 before the first.",
            )?,
            last_successful_pass: families.gauge(
                "k8s_copycat_last_successful_pass_timestamp_seconds",
                "The end of the last pass without a failure; 0 before the first.",
            )?,
            undecided_now: families.gauge("k8s_copycat_undecided", "Image uses that are currently undecided.")?,
            undecided: families.counter(
                "k8s_copycat_undecided_total",
                "Image uses that could not be decided: an invalid image reference, or a failing plugin.",
            )?,
            queue_waiting: queue.with_label_values(&["waiting"]),
            queue_active: queue.with_label_values(&["active"]),
            queue_cooling: queue.with_label_values(&["cooling"]),
            plugins: PluginMetrics::new(&families)?,
            registries,
            watch_restarts,
            leader: families.gauge("k8s_copycat_leader", "1 if this replica is the leader, 0 on standby.")?,
            lost_events: families.counters(
                "k8s_copycat_lost_events_total",
                "Kubernetes events that could not be written, by reason.",
                &["reason"],
            )?,
            registry: families.0,
        })
    }

    /// Sets whether this replica is the leader.
    pub fn set_leader(&self, is_leader: bool) {
        self.leader.set(i64::from(is_leader));
    }

    /// All metrics in the Prometheus text format 0.0.4.
    ///
    /// # Errors
    ///
    /// If a metric cannot be encoded.
    pub fn render(&self) -> Result<String, MetricsError> {
        Ok(TextEncoder::new().encode_to_string(&self.registry.gather())?)
    }

    /// Counts a Kubernetes event that was not written; `reason` is from a closed list.
    pub(super) fn event_lost(&self, reason: &'static str) {
        self.lost_events.with_label_values(&[reason]).inc();
    }
}
