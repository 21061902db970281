//! Log lines for outcomes and other events, with the field names of the original.

use tracing::{debug, error, info, warn};

use crate::{
    model::{Event, ImageRecord, Observer, Outcome, Status, VerifiedImage, Wholeness, WorkloadId},
    report::utc::utc,
};

/// Logs events.
#[derive(Debug, Default)]
pub struct LogObserver;

impl Observer for LogObserver {
    fn observe(&self, event: &Event<'_>) {
        match event {
            Event::TransferStarted { source, destination, workloads, .. } => {
                let Subject { workload, namespace, pod } = Subject::of(workloads);
                info!(%source, target = %destination, workload, namespace, pod, "copying");
            }
            Event::Finished(outcome, record) => finished(outcome, record),
            Event::Verified { image, was_damaged } => verified(image, *was_damaged),
            Event::InCooldown { workload, source, destination, until, reason, .. } => {
                info!(
                    %source,
                    target = %destination,
                    %workload,
                    kind = workload.kind.name(),
                    namespace = workload.namespace,
                    pod = workload.name,
                    next_try = utc(*until),
                    error = reason,
                    "in cooldown"
                );
            }
            Event::TagTaken { workloads, source, destination, before } => {
                let Subject { workload, namespace, pod } = Subject::of(workloads);
                warn!(
                    %source,
                    target = %destination,
                    digest = %before,
                    workload,
                    namespace,
                    pod,
                    "moved a tag whose previous digest is unknown to the source: the tag may have belonged to another \
                     image; to keep such images apart, use $registry in the repository prefix or a pathMap rule"
                );
            }
            Event::Undecided { workload, image, reason } => {
                warn!(
                    %workload,
                    namespace = workload.namespace,
                    pod = workload.name,
                    source = image,
                    error = reason,
                    "cannot decide on the image"
                );
            }
            Event::PluginLoaded(plugin) => {
                let hooks = plugin.hooks.iter().map(|hook| hook.name()).collect::<Vec<_>>().join(", ");
                let digest = plugin.digest.as_ref().map(tracing::field::display);
                info!(plugin = plugin.name, module = plugin.module, digest, hooks, "plugin loaded");
            }
            Event::PluginGone { plugin } => info!(plugin, "plugin removed"),
            Event::Reloaded => info!("configuration reloaded"),
            Event::ReloadRefused { reason } => {
                error!(error = reason, "changed configuration rejected; the previous one stays active");
            }
            _ => {}
        }
    }
}

fn verified(image: &VerifiedImage, was_damaged: bool) {
    let (source, target, result) = (&image.source, &image.destination, image.wholeness.name());
    let Subject { workload, namespace, pod } = Subject::of(&image.workloads);
    let (reason, parts) = (image.reason.as_deref(), image.problem_count);
    match image.wholeness {
        Wholeness::Missing | Wholeness::Incomplete | Wholeness::Corrupt => warn!(
            %source, %target, workload, namespace, pod, result, parts, reason,
            "the image is damaged at the target; it is to be copied again"
        ),
        Wholeness::Unknown if was_damaged => warn!(
            %source, %target, workload, namespace, pod, reason,
            "the image is damaged at the target, as far as is known: it could not be verified again"
        ),
        Wholeness::Unknown => {
            info!(%source, %target, workload, namespace, pod, reason, "the image could not be verified");
        }
        Wholeness::Whole | Wholeness::Drifted if was_damaged => {
            info!(%source, %target, workload, namespace, pod, "mended: the target has all parts of the image again");
        }
        Wholeness::Whole | Wholeness::Drifted => {
            debug!(%source, %target, workload, namespace, pod, result, "verified");
        }
    }
}

fn finished(outcome: &Outcome, record: &ImageRecord) {
    let (source, target) = (&outcome.source, &outcome.destination);
    let Subject { workload, namespace, pod } = Subject::of(&outcome.workloads);
    let milliseconds = u64::try_from(outcome.took.as_millis()).unwrap_or(u64::MAX);
    match &outcome.status {
        Status::Copied(digest) => {
            let from = (!outcome.copied_from.is_empty()).then(|| outcome.copied_from.join(", "));
            let bytes = outcome.bytes;
            info!(%source, %target, %digest, workload, namespace, pod, bytes, milliseconds, from, "copied");
        }
        // Each pass finds it there again.
        Status::AlreadyThere(digest) if record.successes > 1 => {
            debug!(%source, %target, %digest, workload, namespace, pod, "already there");
        }
        Status::AlreadyThere(digest) => info!(%source, %target, %digest, workload, namespace, pod, "already there"),
        Status::WouldCopy(digest) => info!(%source, %target, %digest, workload, namespace, pod, "dry run: would push"),
        Status::WouldPull => info!(%source, %target, workload, namespace, pod, "dry pull: would pull"),
        Status::Failed(failure) => {
            let next_try = outcome.next_try.map(utc);
            let (kind, state) = (failure.kind.name(), record.state.name());
            error!(%source, %target, workload, namespace, pod, kind, state, next_try, error = %failure, "failed");
        }
    }
}

/// The fields for the workloads of a log line: the oldest one. The original has its namespace and name in `namespace` and
/// `pod`.
struct Subject<'a> {
    workload: String,
    namespace: &'a str,
    pod: &'a str,
}

impl<'a> Subject<'a> {
    fn of(workloads: &'a [WorkloadId]) -> Self {
        match workloads.first() {
            Some(id) => Self { workload: id.to_string(), namespace: &id.namespace, pod: &id.name },
            None => Self { workload: String::new(), namespace: "", pod: "" },
        }
    }
}
