//! Kubernetes events about failures, on the workloads that use the images and for `kubectl describe`.
//!
//! An event shows the latest cause of a failure. While the failure lasts it is repeated, because the API server deletes an
//! event after an hour.

mod event_text;
mod notice;
mod publisher;
mod queue;
mod writer;

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use event_text::{EventText, note};
use kube::{Client, runtime::events::EventType};
use notice::{Notice, Topic};
use publisher::SharedQueue;
use queue::EventQueue;
use writer::EventWriter;

use super::Metrics;
use crate::model::{
    Destination, Digest, Event, ImageRecord, Observer, Outcome, Reference, ReferrerOutcome, Status, WorkloadId,
    WorkloadKind, printable,
};

pub use publisher::Publisher;

/// The largest number of workloads that get an event about one image, oldest first: an image in every namespace must not
/// cause a thousand requests.
const MAX_WORKLOADS: usize = 10;

/// Lasting events are repeated after this long. By default the API server deletes an event after an hour.
const REPEAT_INTERVAL: Duration = Duration::from_secs(30 * 60);

/// Writes Kubernetes events about failures; a healthy cluster gets none.
///
/// | type | reason | for |
/// |---|---|---|
/// | Warning | `MirrorFailed` | a failed attempt; a workload whose image is in cooldown |
/// | Warning | `MirrorStale` | the same, if the target has an outdated image |
/// | Normal | `MirrorUnverified` | the same, if the image is at the target and only the check failed |
/// | Warning | `MirrorReferrersMissing` | signatures or other referrers of an image that could not be copied |
/// | Warning | `MirrorTagTaken` | a tag that may have belonged to another source |
/// | Warning | `MirrorUndecided` | an image use that could not be decided |
/// | Normal | `Mirrored` | the first success after a failure |
/// | Warning | `ReloadRefused` | a rejected configuration, on this program's own Pod |
pub struct ClusterEvents {
    /// None outside a cluster.
    own_pod: Option<WorkloadId>,
    queue: SharedQueue,
    undecided: Mutex<HashMap<WorkloadId, Vec<UndecidedImage>>>,
    metrics: Arc<Metrics>,
}

/// An image of a workload with an event that it is undecided.
struct UndecidedImage {
    image: String,
    /// Whether it was reported again since the workload's last decision.
    is_new: bool,
}

impl ClusterEvents {
    /// An observer, and the publisher that has to run for its events to be written. `instance` is the name of this
    /// replica's Pod, and `namespace` its namespace, if it runs in a cluster.
    pub fn new(
        client: Client,
        instance: String,
        namespace: Option<String>,
        metrics: Arc<Metrics>,
    ) -> (Self, Publisher) {
        Self::with_repeat_interval(REPEAT_INTERVAL, client, instance, namespace, metrics)
    }

    fn with_repeat_interval(
        repeat_interval: Duration,
        client: Client,
        instance: String,
        namespace: Option<String>,
        metrics: Arc<Metrics>,
    ) -> (Self, Publisher) {
        let pod = |namespace| WorkloadId { kind: WorkloadKind::Pod, namespace, name: instance.clone() };
        let own_pod = namespace.map(pod);
        let queue = SharedQueue::new(EventQueue::new(repeat_interval));
        let writer = EventWriter::new(client.clone(), instance);
        let publisher = Publisher { queue: queue.clone(), client, writer, metrics: Arc::clone(&metrics) };
        (Self { own_pod, queue, undecided: Mutex::default(), metrics }, publisher)
    }

    /// False if the queue is full.
    fn enqueue(&self, topic: Topic, notice: Notice) -> bool {
        let is_queued = self.queue.lock().enqueue(topic, notice);
        if is_queued {
            self.queue.notify();
        } else {
            self.metrics.event_lost("queue_full");
        }
        is_queued
    }

    fn finished(&self, outcome: &Outcome, record: &ImageRecord) {
        let Outcome { image, source, destination, status, .. } = outcome;
        let is_failure = matches!(status, Status::Failed(_));
        // Without failures there is nothing to do.
        if !is_failure && self.queue.lock().is_empty() {
            return;
        }
        let topic = Topic::Image(destination.clone(), source.clone());
        let (kind, reason, note) = match status {
            Status::Failed(failure) => {
                let text = EventText::of_failure(image, destination, record, &failure.message);
                (text.kind, text.reason, text.note)
            }
            Status::Copied(digest) | Status::AlreadyThere(digest) => {
                if !self.queue.lock().is_lasting(&topic) {
                    return;
                }
                let text = format!("Image {image} is mirrored to {destination} with digest {digest}");
                (EventType::Normal, "Mirrored", note(&text))
            }
            Status::WouldCopy(_) | Status::WouldPull => return self.queue.lock().withdraw(&topic),
        };
        let notice = Notice {
            kind,
            reason,
            note,
            image: Some(destination.to_string()),
            workloads: outcome.workloads.iter().take(MAX_WORKLOADS).cloned().collect(),
            is_lasting: is_failure,
        };
        self.enqueue(topic, notice);
    }

    /// The image itself is mirrored.
    fn looked_for_referrers(&self, outcome: &Outcome, referrers: &ReferrerOutcome) {
        let Outcome { image, source, destination, .. } = outcome;
        let topic = Topic::Referrers(destination.clone(), source.clone());
        let Some(first) = referrers.failures.first() else {
            let mut queue = self.queue.lock();
            if !queue.is_empty() {
                queue.withdraw(&topic);
            }
            return;
        };
        let count = referrers.failed;
        let noun = if count == 1 { "signature or other referrer" } else { "signatures or other referrers" };
        let text = format!("Image {image} is at {destination} without {count} {noun} of it: {first}");
        let notice = Notice {
            kind: EventType::Warning,
            reason: "MirrorReferrersMissing",
            note: note(&text),
            image: Some(destination.to_string()),
            workloads: outcome.workloads.iter().take(MAX_WORKLOADS).cloned().collect(),
            is_lasting: true,
        };
        self.enqueue(topic, notice);
    }

    fn in_cooldown(
        &self,
        workload: &WorkloadId,
        source: &Reference,
        destination: &Destination,
        record: &ImageRecord,
        cause: &str,
    ) {
        let EventText { kind, reason, note } = EventText::of_failure(&source.to_string(), destination, record, cause);
        let notice = Notice {
            kind,
            reason,
            note,
            image: Some(destination.to_string()),
            workloads: vec![workload.clone()],
            is_lasting: false,
        };
        self.enqueue(Topic::InCooldown(workload.clone(), destination.clone(), source.clone()), notice);
    }

    fn tag_taken(&self, workloads: &[WorkloadId], source: &Reference, destination: &Destination, before: &Digest) {
        let text = format!(
            "Tag {destination} now has the image of {source}. Its previous digest {before} is unknown to that source: the \
             tag may have belonged to another image. To keep such images apart, use $registry in the repository prefix or \
             a pathMap rule"
        );
        let notice = Notice {
            kind: EventType::Warning,
            reason: "MirrorTagTaken",
            note: note(&text),
            image: Some(destination.to_string()),
            workloads: workloads.iter().take(MAX_WORKLOADS).cloned().collect(),
            is_lasting: false,
        };
        self.enqueue(Topic::TagTaken(destination.clone()), notice);
    }

    fn undecided(&self, workload: &WorkloadId, image: &str, reason: &str) {
        let notice = Notice {
            kind: EventType::Warning,
            reason: "MirrorUndecided",
            note: note(&format!("Image {image} is not mirrored: {reason}")),
            image: Some(printable(image).into_owned()),
            workloads: vec![workload.clone()],
            is_lasting: true,
        };
        // A notice that is not queued need not be withdrawn later.
        if !self.enqueue(Topic::Undecided(workload.clone(), image.to_owned()), notice) {
            return;
        }
        let mut undecided = self.undecided.lock().unwrap_or_else(PoisonError::into_inner);
        let images = undecided.entry(workload.clone()).or_default();
        match images.iter_mut().find(|known| known.image == image) {
            Some(known) => known.is_new = true,
            None => images.push(UndecidedImage { image: image.to_owned(), is_new: true }),
        }
    }

    /// Withdraws the events of images that were undecided before and were not reported again.
    fn decided(&self, workload: &WorkloadId) {
        let mut undecided = self.undecided.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(images) = undecided.get_mut(workload) else { return };
        let mut queue = self.queue.lock();
        for decided in images.extract_if(.., |known| !std::mem::take(&mut known.is_new)) {
            queue.withdraw(&Topic::Undecided(workload.clone(), decided.image));
        }
        drop(queue);
        if images.is_empty() {
            undecided.remove(workload);
        }
    }

    fn reload_refused(&self, reason: &str) {
        let Some(pod) = &self.own_pod else { return };
        let text = format!("The changed configuration was rejected; the previous one stays active: {reason}");
        let notice = Notice {
            kind: EventType::Warning,
            reason: "ReloadRefused",
            note: note(&text),
            image: None,
            workloads: vec![pod.clone()],
            is_lasting: true,
        };
        self.enqueue(Topic::Configuration, notice);
    }
}

impl Observer for ClusterEvents {
    fn observe(&self, event: &Event<'_>) {
        match event {
            Event::Finished(outcome, record) => {
                self.finished(outcome, record);
                // With `referrersRequired` the failure is the image's.
                if let Some(referrers) = outcome.referrers.as_ref().filter(|_| !outcome.status.is_failure()) {
                    self.looked_for_referrers(outcome, referrers);
                }
            }
            Event::ImageChanged { destination, source, after: None, .. } => {
                let mut queue = self.queue.lock();
                queue.withdraw(&Topic::Image((*destination).clone(), (*source).clone()));
                queue.withdraw(&Topic::Referrers((*destination).clone(), (*source).clone()));
            }
            Event::InCooldown { workload, source, destination, record, reason, .. } => {
                self.in_cooldown(workload, source, destination, record, reason);
            }
            Event::TagTaken { workloads, source, destination, before } => {
                self.tag_taken(workloads, source, destination, before);
            }
            Event::Undecided { workload, image, reason } => self.undecided(workload, image, reason),
            Event::Decided { workload } => self.decided(workload),
            Event::ReloadRefused { reason } => self.reload_refused(reason),
            Event::Reloaded => self.queue.lock().withdraw(&Topic::Configuration),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests;
