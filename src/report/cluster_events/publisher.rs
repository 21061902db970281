//! Writes the queued events to the cluster.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use k8s_openapi::api::{
    apps::v1::{DaemonSet, Deployment, StatefulSet},
    batch::v1::{CronJob, Job},
    core::v1::{ObjectReference, Pod},
};
use kube::{
    Api, Client,
    api::{ApiResource, DynamicObject},
};
use tokio::{
    sync::Notify,
    time::{Instant, sleep, sleep_until},
};
use tokio_util::sync::CancellationToken;

use super::{
    notice::Notice,
    queue::{DueNotice, EventQueue},
    writer::{EventWriter, WrittenEvent},
};
use crate::{
    model::{WorkloadId, WorkloadKind},
    report::Metrics,
};

/// The deadline for writing one event.
const DEADLINE: Duration = Duration::from_secs(10);

/// Between two events, so that many failures do not overload the API server.
const MIN_INTERVAL: Duration = Duration::from_millis(100);

/// Between attempts while events cannot be written; it doubles.
const MIN_BACKOFF: Duration = Duration::from_secs(1);
const MAX_BACKOFF: Duration = Duration::from_secs(60);

/// The queue, and a notification for its reader.
#[derive(Clone)]
pub(super) struct SharedQueue {
    queue: Arc<Mutex<EventQueue>>,
    changed: Arc<Notify>,
}

impl SharedQueue {
    pub fn new(queue: EventQueue) -> Self {
        Self { queue: Arc::new(Mutex::new(queue)), changed: Arc::new(Notify::new()) }
    }

    pub fn lock(&self) -> MutexGuard<'_, EventQueue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn notify(&self) {
        self.changed.notify_one();
    }
}

/// Writes events to the cluster.
pub struct Publisher {
    pub(super) queue: SharedQueue,
    pub(super) client: Client,
    pub(super) writer: EventWriter,
    pub(super) metrics: Arc<Metrics>,
}

/// Why an event was not written.
#[derive(Debug, thiserror::Error)]
enum PublishError {
    /// The API server rejected it, or could not be reached.
    #[error(
        "cannot write the event; the role must grant get on its object, and create and patch on events (API group \
         events.k8s.io)"
    )]
    Refused(#[from] kube::Error),
    /// The API server took longer than [`DEADLINE`].
    #[error("cannot write the event: the API server did not answer within {} s", DEADLINE.as_secs())]
    Late(#[from] tokio::time::error::Elapsed),
}

impl PublishError {
    /// Whether the cause is the API server and not this event.
    fn is_retryable(&self) -> bool {
        match self {
            Self::Refused(kube::Error::Api(status)) => status.code == 429 || status.code >= 500,
            Self::Refused(_) | Self::Late(_) => true,
        }
    }
}

impl Publisher {
    /// Writes events until `shutdown`. Events still in the queue are dropped.
    pub async fn run(mut self, shutdown: CancellationToken) {
        shutdown.run_until_cancelled(self.write_all()).await;
    }

    async fn write_all(&mut self) {
        let mut is_failing = false;
        let mut backoff = MIN_BACKOFF;
        loop {
            let Some(due) = self.next().await else { continue };
            match self.publish_to_all(due).await {
                Ok(()) => (is_failing, backoff) = (false, MIN_BACKOFF),
                Err((error, workload)) => {
                    if !is_failing {
                        let error = &error as &dyn std::error::Error;
                        tracing::warn!(error, %workload, "cannot write Kubernetes events");
                    }
                    is_failing = true;
                    if error.is_retryable() {
                        sleep(backoff).await;
                        backoff = (backoff * 2).min(MAX_BACKOFF);
                    }
                }
            }
        }
    }

    /// The next notice; none after a wait, when the queue has to be checked again.
    async fn next(&self) -> Option<DueNotice> {
        let timer = {
            let mut queue = self.queue.lock();
            let due = queue.next(Instant::now());
            if due.is_some() {
                return due;
            }
            queue.next_timer()
        };
        tokio::select! {
            () = self.queue.changed.notified() => {}
            () = sleep_until(timer.unwrap_or_else(Instant::now)), if timer.is_some() => {}
        }
        None
    }

    /// Writes the event for each workload. On failure: the first error and its workload.
    async fn publish_to_all(&mut self, due: DueNotice) -> Result<(), (PublishError, WorkloadId)> {
        let DueNotice { topic, notice, mut written } = due;
        let mut failure = None;
        // Workloads that are no longer affected keep their last event.
        written.retain(|workload, _| notice.workloads.contains(workload));
        for workload in &notice.workloads {
            let before = written.get(workload);
            match tokio::time::timeout(DEADLINE, self.publish(workload, &notice, before)).await {
                Ok(Ok(Some(event))) => {
                    written.insert(workload.clone(), event);
                }
                Ok(Ok(None)) => {
                    written.remove(workload);
                }
                Ok(Err(error)) => failure = failure.or(Some((PublishError::from(error), workload.clone()))),
                Err(late) => failure = failure.or(Some((PublishError::from(late), workload.clone()))),
            }
            if failure.as_ref().is_some_and(|(error, _)| error.is_retryable()) {
                break;
            }
            sleep(MIN_INTERVAL).await;
        }
        let now = Instant::now();
        let mut queue = self.queue.lock();
        match &failure {
            Some((error, _)) if error.is_retryable() => {
                if !queue.postpone(&topic, written, now + MAX_BACKOFF) {
                    self.metrics.event_lost("refused");
                }
            }
            Some(_) => {
                self.metrics.event_lost("refused");
                queue.mark_written(&topic, written, now);
            }
            None => queue.mark_written(&topic, written, now),
        }
        drop(queue);
        failure.map_or(Ok(()), Err)
    }

    /// None if the workload does not exist any more.
    async fn publish(
        &mut self,
        workload: &WorkloadId,
        notice: &Notice,
        before: Option<&WrittenEvent>,
    ) -> kube::Result<Option<WrittenEvent>> {
        // `kubectl describe` finds events by the uid of the object.
        let resource = api_resource(workload.kind);
        let objects: Api<DynamicObject> = Api::namespaced_with(self.client.clone(), &workload.namespace, &resource);
        let Some(object) = objects.get_metadata_opt(&workload.name).await? else { return Ok(None) };
        let regarding = ObjectReference {
            api_version: Some(resource.api_version),
            kind: Some(resource.kind),
            namespace: Some(workload.namespace.clone()),
            name: Some(workload.name.clone()),
            uid: object.metadata.uid,
            ..ObjectReference::default()
        };
        self.writer.write(notice, &regarding, before).await.map(Some)
    }
}

fn api_resource(kind: WorkloadKind) -> ApiResource {
    match kind {
        WorkloadKind::Deployment => ApiResource::erase::<Deployment>(&()),
        WorkloadKind::StatefulSet => ApiResource::erase::<StatefulSet>(&()),
        WorkloadKind::DaemonSet => ApiResource::erase::<DaemonSet>(&()),
        WorkloadKind::Job => ApiResource::erase::<Job>(&()),
        WorkloadKind::CronJob => ApiResource::erase::<CronJob>(&()),
        WorkloadKind::Pod => ApiResource::erase::<Pod>(&()),
    }
}
