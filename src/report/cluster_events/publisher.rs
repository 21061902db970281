//! Writes what is to be told to the cluster.

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
    board::{Board, Due, Statement},
    written::{Writer, Written},
};
use crate::{
    model::{WorkloadId, WorkloadKind},
    report::Metrics,
};

/// How long the API server may take for one event.
const DEADLINE: Duration = Duration::from_secs(10);

/// From one event to the next, so that a day on which everything fails is not the API server's worst as well.
const PACE: Duration = Duration::from_millis(100);

/// From one try to the next while no event can be written; it doubles.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// The board, and a bell for who reads it.
#[derive(Clone)]
pub(super) struct Shared {
    board: Arc<Mutex<Board>>,
    news: Arc<Notify>,
}

impl Shared {
    pub fn new(board: Board) -> Self {
        Self { board: Arc::new(Mutex::new(board)), news: Arc::new(Notify::new()) }
    }

    pub fn lock(&self) -> MutexGuard<'_, Board> {
        self.board.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Something is to be told.
    pub fn ring(&self) {
        self.news.notify_one();
    }
}

/// Writes events to the cluster.
pub struct Publisher {
    pub(super) shared: Shared,
    pub(super) client: Client,
    pub(super) writer: Writer,
    pub(super) metrics: Arc<Metrics>,
}

/// Why an event was not written.
#[derive(Debug, thiserror::Error)]
enum PublishError {
    /// The API server refused, or could not be reached.
    #[error(
        "the event could not be written; the role must allow to get its object, and to create and patch events of the \
         API group events.k8s.io"
    )]
    Refused(#[from] kube::Error),
    /// The API server took longer than [`DEADLINE`].
    #[error("the event could not be written: the API server did not answer in time")]
    Late(#[from] tokio::time::error::Elapsed),
}

impl PublishError {
    /// Whether it is the API server's trouble, and not with this event.
    fn can_pass(&self) -> bool {
        match self {
            Self::Refused(kube::Error::Api(status)) => status.code == 429 || status.code >= 500,
            Self::Refused(_) | Self::Late(_) => true,
        }
    }
}

impl Publisher {
    /// Writes events until `shutdown`. What waits at the end is let go.
    pub async fn run(mut self, shutdown: CancellationToken) {
        shutdown.run_until_cancelled(self.write_all()).await;
    }

    async fn write_all(&mut self) {
        let mut failing = false;
        let mut pause = FIRST_PAUSE;
        loop {
            let Some(due) = self.next().await else { continue };
            match self.tell(due).await {
                Ok(()) => (failing, pause) = (false, FIRST_PAUSE),
                Err((error, workload)) => {
                    if !failing {
                        let error = &error as &dyn std::error::Error;
                        tracing::warn!(error, %workload, "Kubernetes events can't be written");
                    }
                    failing = true;
                    if error.can_pass() {
                        sleep(pause).await;
                        pause = (pause * 2).min(LONGEST_PAUSE);
                    }
                }
            }
        }
    }

    /// What is to be told, once there is something; nothing where it is worth to look again.
    async fn next(&self) -> Option<Due> {
        let timer = {
            let mut board = self.shared.lock();
            let due = board.next(Instant::now());
            if due.is_some() {
                return due;
            }
            board.next_timer()
        };
        tokio::select! {
            () = self.shared.news.notified() => {}
            () = sleep_until(timer.unwrap_or_else(Instant::now)), if timer.is_some() => {}
        }
        None
    }

    /// Tells all workloads that it concerns; the first error, and whose, where it could not be told to all.
    async fn tell(&mut self, due: Due) -> Result<(), (PublishError, WorkloadId)> {
        let Due { topic, statement, mut written } = due;
        let mut failure = None;
        // Who is not concerned any more keeps what was told.
        written.retain(|workload, _| statement.workloads.contains(workload));
        for workload in &statement.workloads {
            let before = written.get(workload);
            match tokio::time::timeout(DEADLINE, self.publish(workload, &statement, before)).await {
                Ok(Ok(Some(event))) => {
                    written.insert(workload.clone(), event);
                }
                Ok(Ok(None)) => {
                    written.remove(workload);
                }
                Ok(Err(error)) => failure = failure.or(Some((PublishError::from(error), workload.clone()))),
                Err(late) => failure = failure.or(Some((PublishError::from(late), workload.clone()))),
            }
            if failure.as_ref().is_some_and(|(error, _)| error.can_pass()) {
                break;
            }
            sleep(PACE).await;
        }
        let now = Instant::now();
        let mut board = self.shared.lock();
        match &failure {
            Some((error, _)) if error.can_pass() => {
                if !board.put_off(&topic, written, now + LONGEST_PAUSE) {
                    self.metrics.event_lost("refused");
                }
            }
            Some(_) => {
                self.metrics.event_lost("refused");
                board.told(&topic, written, now);
            }
            None => board.told(&topic, written, now),
        }
        drop(board);
        failure.map_or(Ok(()), Err)
    }

    /// Nothing where the workload is gone.
    async fn publish(
        &mut self,
        workload: &WorkloadId,
        statement: &Statement,
        before: Option<&Written>,
    ) -> kube::Result<Option<Written>> {
        // Without its uid an event is not found by `kubectl describe`.
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
        self.writer.write(statement, &regarding, before).await.map(Some)
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
