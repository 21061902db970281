//! Kubernetes events on the workloads whose images fail, so that `kubectl describe` tells their owners.

use std::{
    collections::HashSet,
    sync::{Arc, Mutex, PoisonError},
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
    runtime::events::{Event as ClusterEvent, EventType, Recorder, Reporter},
};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::Metrics;
use crate::model::{Destination, Event, Observer, Outcome, Reference, Status, WorkloadId, WorkloadKind};

/// The reporting controller of every event.
const CONTROLLER: &str = "k8s-copycat";

/// How many events may wait; what comes on top is counted and let go, for the log has it too.
const QUEUE_LENGTH: usize = 256;

/// How many users of one image are told, oldest first: an image in every namespace must not become a thousand requests.
const MAX_WORKLOADS: usize = 10;

/// How long the API server may take for one event.
const DEADLINE: Duration = Duration::from_secs(10);

/// The longest note that the API server takes, in bytes.
const MAX_NOTE: usize = 1024;

/// Queues Kubernetes events: a Warning `MirrorFailed` for each failed copy, a Warning `MirrorUndecided` for each image
/// use that could not be decided, a Normal `Mirrored` for the first success after a failure, and for a changed
/// configuration that can't be used a Warning `ReloadRefused` about this program's own Pod. Nothing else, so that a
/// healthy cluster sees none.
pub struct ClusterEvents {
    /// None outside a cluster.
    own_pod: Option<WorkloadId>,
    queue: mpsc::Sender<Notice>,
    failing: Mutex<HashSet<(Destination, Reference)>>,
    metrics: Arc<Metrics>,
}

/// Writes the queued events to the cluster.
pub struct Publisher {
    queue: mpsc::Receiver<Notice>,
    client: Client,
    recorder: Recorder,
    metrics: Arc<Metrics>,
}

/// An event to be.
struct Notice {
    workload: WorkloadId,
    kind: EventType,
    reason: &'static str,
    /// The image that the event is about besides the workload. It also keeps the recorder from taking two images of one
    /// workload for repetitions of one event.
    image: Option<String>,
    note: String,
}

impl ClusterEvents {
    /// An observer, and what has to run for its events to be written. `instance` is this replica's name, that of its
    /// Pod, and `namespace` that of the Pod, where there is one.
    pub fn new(
        client: Client,
        instance: String,
        namespace: Option<String>,
        metrics: Arc<Metrics>,
    ) -> (Self, Publisher) {
        let pod = |namespace| WorkloadId { kind: WorkloadKind::Pod, namespace, name: instance.clone() };
        let own_pod = namespace.map(pod);
        let (sender, receiver) = mpsc::channel(QUEUE_LENGTH);
        let reporter = Reporter { controller: CONTROLLER.to_owned(), instance: Some(instance) };
        let recorder = Recorder::new(client.clone(), reporter);
        let publisher = Publisher { queue: receiver, client, recorder, metrics: Arc::clone(&metrics) };
        (Self { own_pod, queue: sender, failing: Mutex::default(), metrics }, publisher)
    }

    fn finished(&self, outcome: &Outcome) {
        let key = (outcome.destination.clone(), outcome.source.clone());
        let mut failing = self.failing.lock().unwrap_or_else(PoisonError::into_inner);
        let (kind, reason, note) = match &outcome.status {
            Status::Failed(failure) => {
                failing.insert(key);
                let note = format!("Image {} was not mirrored to {}: {failure}", outcome.image, outcome.destination);
                (EventType::Warning, "MirrorFailed", note)
            }
            Status::Copied(digest) | Status::AlreadyThere(digest) => {
                if !failing.remove(&key) {
                    return;
                }
                let note = format!("Image {} is at {} with digest {digest}", outcome.image, outcome.destination);
                (EventType::Normal, "Mirrored", note)
            }
            Status::WouldCopy(_) | Status::WouldPull => {
                failing.remove(&key);
                return;
            }
        };
        drop(failing);
        for workload in outcome.workloads.iter().take(MAX_WORKLOADS) {
            self.push(Notice {
                workload: workload.clone(),
                kind,
                reason,
                image: Some(outcome.destination.to_string()),
                note: note.clone(),
            });
        }
    }

    fn push(&self, notice: Notice) {
        if self.queue.try_send(notice).is_err() {
            self.metrics.event_lost("queue_full");
        }
    }
}

impl Observer for ClusterEvents {
    fn observe(&self, event: &Event<'_>) {
        match event {
            Event::Finished(outcome) => self.finished(outcome),
            Event::Forgotten { destination, source } => {
                let key = ((*destination).clone(), (*source).clone());
                self.failing.lock().unwrap_or_else(PoisonError::into_inner).remove(&key);
            }
            Event::Undecided { workload, image, reason } => self.push(Notice {
                workload: (*workload).clone(),
                kind: EventType::Warning,
                reason: "MirrorUndecided",
                image: Some((*image).to_owned()),
                note: format!("Image {image} is not mirrored: {reason}"),
            }),
            Event::ReloadRefused { reason } => {
                if let Some(pod) = &self.own_pod {
                    self.push(Notice {
                        workload: pod.clone(),
                        kind: EventType::Warning,
                        reason: "ReloadRefused",
                        image: None,
                        note: format!("The changed configuration can't be used; what was in force goes on: {reason}"),
                    });
                }
            }
            _ => {}
        }
    }
}

/// Why an event was not written.
#[derive(Debug, thiserror::Error)]
enum PublishError {
    /// The API server refused, or could not be reached.
    #[error("the event could not be written; the role must allow to get its object, and to create and patch events")]
    Refused(#[from] kube::Error),
    /// The API server took longer than [`DEADLINE`].
    #[error("the event could not be written: the API server did not answer in time")]
    Late(#[from] tokio::time::error::Elapsed),
}

impl Publisher {
    /// Writes events until `shutdown`, or until the observer is gone. What waits at the end is let go.
    pub async fn run(mut self, shutdown: CancellationToken) {
        let mut failing = false;
        while let Some(Some(notice)) = shutdown.run_until_cancelled(self.queue.recv()).await {
            let Some(published) = shutdown.run_until_cancelled(self.publish(&notice)).await else { return };
            if let Err(error) = &published {
                self.metrics.event_lost("refused");
                if !failing {
                    let error = error as &dyn std::error::Error;
                    tracing::warn!(error, workload = %notice.workload, "Kubernetes events can't be written");
                }
            }
            failing = published.is_err();
        }
    }

    async fn publish(&self, notice: &Notice) -> Result<(), PublishError> {
        tokio::time::timeout(DEADLINE, async {
            // Without its uid an event is not found by `kubectl describe`.
            let resource = api_resource(notice.workload.kind);
            let objects: Api<DynamicObject> =
                Api::namespaced_with(self.client.clone(), &notice.workload.namespace, &resource);
            let Some(object) = objects.get_metadata_opt(&notice.workload.name).await? else { return Ok(()) };
            let regarding = ObjectReference {
                api_version: Some(resource.api_version),
                kind: Some(resource.kind),
                namespace: Some(notice.workload.namespace.clone()),
                name: Some(notice.workload.name.clone()),
                uid: object.metadata.uid,
                ..ObjectReference::default()
            };
            let event = ClusterEvent {
                type_: notice.kind,
                reason: notice.reason.to_owned(),
                note: Some(bounded(&notice.note)),
                action: "Mirror".to_owned(),
                secondary: notice.image.as_ref().map(|image| ObjectReference {
                    kind: Some("Image".to_owned()),
                    name: Some(image.clone()),
                    ..ObjectReference::default()
                }),
            };
            Ok(self.recorder.publish(&event, &regarding).await?)
        })
        .await?
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

/// At most [`MAX_NOTE`] bytes of it.
fn bounded(note: &str) -> String {
    const ELLIPSIS: char = '…';
    if note.len() <= MAX_NOTE {
        return note.to_owned();
    }
    let mut bounded: String = note.chars().take(MAX_NOTE).collect();
    bounded.truncate(bounded.floor_char_boundary(MAX_NOTE - ELLIPSIS.len_utf8()));
    bounded.push(ELLIPSIS);
    bounded
}

#[cfg(test)]
mod tests {
    use axum::{
        Router,
        extract::{Path, State},
        http::{StatusCode, header},
        response::{IntoResponse, Response},
        routing::{get, post},
    };
    use serde_json::{Value, json};
    use tokio::net::TcpListener;

    use super::*;
    use crate::{
        model::Digest,
        report::testing::{failed, outcome, web},
    };

    type Written = mpsc::UnboundedSender<Value>;

    fn answer(status: StatusCode, body: &Value) -> Response {
        (status, [(header::CONTENT_TYPE, "application/json")], body.to_string()).into_response()
    }

    async fn deployment(Path(name): Path<String>) -> Response {
        if name == "web" {
            let metadata = json!({"name": name, "namespace": "shop", "uid": "u-1"});
            let body = json!({"apiVersion": "meta.k8s.io/v1", "kind": "PartialObjectMetadata", "metadata": metadata});
            return answer(StatusCode::OK, &body);
        }
        let (status, reason, code) = match name.as_str() {
            "gone" => (StatusCode::NOT_FOUND, "NotFound", 404),
            _ => (StatusCode::FORBIDDEN, "Forbidden", 403),
        };
        let body = json!({"apiVersion": "v1", "kind": "Status", "status": "Failure", "reason": reason, "code": code});
        answer(status, &body)
    }

    async fn own_pod(Path(name): Path<String>) -> Response {
        let metadata = json!({"name": name, "namespace": "shop", "uid": "u-2"});
        let body = json!({"apiVersion": "meta.k8s.io/v1", "kind": "PartialObjectMetadata", "metadata": metadata});
        answer(StatusCode::OK, &body)
    }

    async fn event(State(written): State<Written>, body: String) -> Response {
        let event: Value = serde_json::from_str(&body).unwrap();
        written.send(event.clone()).unwrap();
        answer(StatusCode::CREATED, &event)
    }

    struct Cluster {
        events: ClusterEvents,
        written: mpsc::UnboundedReceiver<Value>,
        metrics: Arc<Metrics>,
        shutdown: CancellationToken,
        publisher: tokio::task::JoinHandle<()>,
    }

    /// A publisher in front of what answers as the API server does for Deployments and events in namespace `shop`.
    async fn cluster() -> Cluster {
        let (sender, written) = mpsc::unbounded_channel();
        let router = Router::new()
            .route("/apis/apps/v1/namespaces/shop/deployments/{name}", get(deployment))
            .route("/api/v1/namespaces/shop/pods/{name}", get(own_pod))
            .route("/apis/events.k8s.io/v1/namespaces/shop/events", post(event))
            .with_state(sender);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(axum::serve(listener, router).into_future());
        let client = Client::try_from(kube::Config::new(url.parse().unwrap())).unwrap();
        let metrics = Arc::new(Metrics::new().unwrap());
        let (events, publisher) =
            ClusterEvents::new(client, "copycat-0".to_owned(), Some("shop".to_owned()), metrics.clone());
        let shutdown = CancellationToken::new();
        let publisher = tokio::spawn(publisher.run(shutdown.clone()));
        Cluster { events, written, metrics, shutdown, publisher }
    }

    fn deployment_named(name: &str) -> WorkloadId {
        WorkloadId { name: name.to_owned(), ..web() }
    }

    #[tokio::test]
    async fn failures_and_the_first_success_after_one_are_told_with_the_objects_uid() {
        let mut cluster = cluster().await;
        let there = outcome("nginx:1", Status::AlreadyThere(Digest::sha256(b"1")));
        for outcome in [&there, &outcome("nginx:1", failed("connection refused")), &there, &there] {
            cluster.events.observe(&Event::Finished(outcome));
        }
        let workload = web();
        cluster.events.observe(&Event::Undecided { workload: &workload, image: "Nginx", reason: "malformed" });

        let warning = cluster.written.recv().await.unwrap();
        assert_eq!(warning["type"], "Warning");
        assert_eq!(warning["reason"], "MirrorFailed");
        assert_eq!(
            warning["note"],
            "Image nginx:1 was not mirrored to mirror.example/library/nginx:1: connection refused"
        );
        let regarding =
            json!({"apiVersion": "apps/v1", "kind": "Deployment", "namespace": "shop", "name": "web", "uid": "u-1"});
        assert_eq!(warning["regarding"], regarding);
        assert_eq!(warning["reportingController"], "k8s-copycat");
        assert_eq!(warning["reportingInstance"], "copycat-0");

        let success = cluster.written.recv().await.unwrap();
        assert_eq!((&success["type"], &success["reason"]), (&"Normal".into(), &"Mirrored".into()));
        let last = cluster.written.recv().await.unwrap();
        assert_eq!(last["reason"], "MirrorUndecided");
        assert_eq!(last["note"], "Image Nginx is not mirrored: malformed");

        cluster.events.observe(&Event::ReloadRefused { reason: "config.yaml: broken" });
        let refused = cluster.written.recv().await.unwrap();
        assert_eq!((&refused["reason"], &refused["regarding"]["name"]), (&"ReloadRefused".into(), &"copycat-0".into()));
        assert!(refused["note"].as_str().unwrap().ends_with(": config.yaml: broken"), "{refused}");

        cluster.shutdown.cancel();
        cluster.publisher.await.unwrap();
        assert!(cluster.written.try_recv().is_err());
    }

    #[tokio::test]
    async fn what_is_refused_is_counted_and_what_is_gone_is_passed_over() {
        let mut cluster = cluster().await;
        for name in ["forbidden", "gone", "web"] {
            let workload = deployment_named(name);
            cluster.events.observe(&Event::Undecided { workload: &workload, image: "Nginx", reason: "malformed" });
        }
        let written = cluster.written.recv().await.unwrap();
        assert_eq!(written["regarding"]["name"], "web");
        let metrics = cluster.metrics.render().unwrap();
        assert!(metrics.contains("k8s_copycat_lost_events_total{reason=\"refused\"} 1\n"), "{metrics}");
    }

    #[tokio::test]
    async fn a_full_queue_counts_what_it_lets_go() {
        let client = Client::try_from(kube::Config::new("http://127.0.0.1:9".parse().unwrap())).unwrap();
        let metrics = Arc::new(Metrics::new().unwrap());
        let (events, _publisher) =
            ClusterEvents::new(client, "copycat-0".to_owned(), Some("shop".to_owned()), metrics.clone());
        let workload = web();
        for _ in 0..QUEUE_LENGTH + 3 {
            events.observe(&Event::Undecided { workload: &workload, image: "Nginx", reason: "malformed" });
        }
        let metrics = metrics.render().unwrap();
        assert!(metrics.contains("k8s_copycat_lost_events_total{reason=\"queue_full\"} 3\n"), "{metrics}");
    }

    #[test]
    fn notes_fit_what_the_api_server_takes() {
        assert_eq!(bounded("down"), "down");
        for long in ["é".repeat(600), "x".repeat(1025)] {
            let note = bounded(&long);
            assert!(note.len() <= MAX_NOTE && note.len() > MAX_NOTE - 6 && note.ends_with('…'), "{note}");
        }
    }
}
