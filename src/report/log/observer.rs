//! Log lines for outcomes and other events, with the field names of the original.

use tracing::{debug, error, info, warn};

use crate::{
    model::{Event, ImageRecord, Observer, Outcome, Status},
    report::utc::utc,
};

/// Logs events.
#[derive(Debug, Default)]
pub struct LogObserver;

impl Observer for LogObserver {
    fn observe(&self, event: &Event<'_>) {
        match event {
            Event::Finished(outcome, record) => finished(outcome, record),
            Event::InCooldown { workload, source, destination, until, reason, .. } => {
                info!(
                    %source,
                    target = %destination,
                    kind = workload.kind.name(),
                    namespace = workload.namespace,
                    pod = workload.name,
                    next_try = utc(*until),
                    error = reason,
                    "in cooldown"
                );
            }
            Event::TagTaken { workloads, source, destination, before } => {
                let workload = workloads.first();
                warn!(
                    %source,
                    target = %destination,
                    digest = %before,
                    namespace = workload.map(|id| id.namespace.as_str()).unwrap_or_default(),
                    pod = workload.map(|id| id.name.as_str()).unwrap_or_default(),
                    "moved a tag whose previous digest is unknown to the source: the tag may have belonged to another \
                     image; to keep such images apart, use $registry in the repository prefix or a pathMap rule"
                );
            }
            Event::Undecided { workload, image, reason } => {
                warn!(
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

fn finished(outcome: &Outcome, record: &ImageRecord) {
    let (source, target) = (&outcome.source, &outcome.destination);
    let workload = outcome.workloads.first();
    let namespace = workload.map(|id| id.namespace.as_str()).unwrap_or_default();
    let pod = workload.map(|id| id.name.as_str()).unwrap_or_default();
    let milliseconds = u64::try_from(outcome.took.as_millis()).unwrap_or(u64::MAX);
    match &outcome.status {
        Status::Copied(digest) => {
            info!(%source, %target, %digest, namespace, pod, bytes = outcome.bytes, milliseconds, "copied");
        }
        Status::AlreadyThere(digest) => debug!(%source, %target, %digest, namespace, pod, "already there"),
        Status::WouldCopy(digest) => info!(%source, %target, %digest, namespace, pod, "dry run: would push"),
        Status::WouldPull => info!(%source, %target, namespace, pod, "dry pull: would pull"),
        Status::Failed(failure) => {
            let next_try = outcome.next_try.map(utc);
            error!(%source, %target, namespace, pod, kind = failure.kind.name(), next_try, error = %failure, "failed");
        }
    }
}
