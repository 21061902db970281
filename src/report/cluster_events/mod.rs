//! Kubernetes events on the workloads whose images fail, so that `kubectl describe` tells their owners.
//!
//! What is told of a topic is its last word: a failure's present cause. While it lasts it is told again, since the API
//! server forgets an event after an hour.

mod board;
mod publisher;
mod written;

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, SystemTime},
};

use board::{Board, Statement, Topic};
use kube::{Client, runtime::events::EventType};
pub use publisher::Publisher;
use publisher::Shared;
use written::Writer;

use super::{Metrics, moment::utc};
use crate::model::{
    Destination, Digest, Event, Observer, Outcome, Reference, Status, WorkloadId, WorkloadKind, printable,
};

/// How many users of one image are told, oldest first: an image in every namespace must not become a thousand requests.
const MAX_WORKLOADS: usize = 10;

/// The longest note that the API server takes, in bytes.
const MAX_NOTE: usize = 1024;

/// After this long what lasts is told again. The API server forgets an event after an hour where it is not told to keep
/// it longer or shorter.
const RENEWAL: Duration = Duration::from_secs(30 * 60);

/// Tells of failures by Kubernetes events: a Warning `MirrorFailed` for each failed copy and for each workload that wants
/// an image in cooldown, a Warning `MirrorTagTaken` for a tag that may have been another source's, a Warning `MirrorUndecided` for
/// each image use that could not be decided, a Normal `Mirrored` for the first success after a failure, and for a changed
/// configuration that can't be used a Warning `ReloadRefused` about this program's own Pod. Nothing else, so that a
/// healthy cluster sees none.
pub struct ClusterEvents {
    /// None outside a cluster.
    own_pod: Option<WorkloadId>,
    shared: Shared,
    undecided: Mutex<HashMap<WorkloadId, Vec<UndecidedImage>>>,
    metrics: Arc<Metrics>,
}

/// An image of a workload that is told as undecided.
struct UndecidedImage {
    image: String,
    /// Whether it was told since the workload was decided last.
    is_new: bool,
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
        Self::renewing(RENEWAL, client, instance, namespace, metrics)
    }

    fn renewing(
        renewal: Duration,
        client: Client,
        instance: String,
        namespace: Option<String>,
        metrics: Arc<Metrics>,
    ) -> (Self, Publisher) {
        let pod = |namespace| WorkloadId { kind: WorkloadKind::Pod, namespace, name: instance.clone() };
        let own_pod = namespace.map(pod);
        let shared = Shared::new(Board::new(renewal));
        let writer = Writer::new(client.clone(), instance);
        let publisher = Publisher { shared: shared.clone(), client, writer, metrics: Arc::clone(&metrics) };
        (Self { own_pod, shared, undecided: Mutex::default(), metrics }, publisher)
    }

    fn say(&self, topic: Topic, statement: Statement) {
        let is_kept = self.shared.lock().say(topic, statement);
        if is_kept {
            self.shared.ring();
        } else {
            self.metrics.event_lost("queue_full");
        }
    }

    fn finished(&self, outcome: &Outcome) {
        let Outcome { image, source, destination, status, .. } = outcome;
        let is_failure = matches!(status, Status::Failed(_));
        // The usual case costs nothing.
        if !is_failure && self.shared.lock().is_empty() {
            return;
        }
        let topic = Topic::Image(destination.clone(), source.clone());
        let (kind, reason, note) = match status {
            Status::Failed(failure) => {
                let note = not_mirrored(image, destination, &failure.message, outcome.next_try);
                (EventType::Warning, "MirrorFailed", note)
            }
            Status::Copied(digest) | Status::AlreadyThere(digest) => {
                if !self.shared.lock().lasts(&topic) {
                    return;
                }
                (EventType::Normal, "Mirrored", format!("Image {image} is at {destination} with digest {digest}"))
            }
            Status::WouldCopy(_) | Status::WouldPull => return self.shared.lock().withdraw(&topic),
        };
        let statement = Statement {
            kind,
            reason,
            note: bounded(&note).into(),
            image: Some(destination.to_string()),
            workloads: outcome.workloads.iter().take(MAX_WORKLOADS).cloned().collect(),
            lasts: is_failure,
        };
        self.say(topic, statement);
    }

    fn in_cooldown(
        &self,
        workload: &WorkloadId,
        source: &Reference,
        destination: &Destination,
        until: SystemTime,
        reason: &str,
    ) {
        let note = not_mirrored(&source.to_string(), destination, reason, Some(until));
        let statement = Statement {
            kind: EventType::Warning,
            reason: "MirrorFailed",
            note: bounded(&note).into(),
            image: Some(destination.to_string()),
            workloads: vec![workload.clone()],
            lasts: false,
        };
        self.say(Topic::InCooldown(workload.clone(), destination.clone(), source.clone()), statement);
    }

    fn tag_taken(&self, workloads: &[WorkloadId], source: &Reference, destination: &Destination, before: &Digest) {
        let note = format!(
            "Tag {destination} was moved to {source} from digest {before}, which is not known there: it may have been \
             another image's. Tell them apart with $registry in the repository prefix or with a pathMap rule"
        );
        let statement = Statement {
            kind: EventType::Warning,
            reason: "MirrorTagTaken",
            note: bounded(&note).into(),
            image: Some(destination.to_string()),
            workloads: workloads.iter().take(MAX_WORKLOADS).cloned().collect(),
            lasts: false,
        };
        self.say(Topic::TagTaken(destination.clone()), statement);
    }

    fn undecided(&self, workload: &WorkloadId, image: &str, reason: &str) {
        let statement = Statement {
            kind: EventType::Warning,
            reason: "MirrorUndecided",
            note: bounded(&format!("Image {image} is not mirrored: {reason}")).into(),
            image: Some(printable(image).into_owned()),
            workloads: vec![workload.clone()],
            lasts: true,
        };
        let topic = Topic::Undecided(workload.clone(), image.to_owned());
        // What is not kept need not be withdrawn.
        if !self.shared.lock().say(topic, statement) {
            return self.metrics.event_lost("queue_full");
        }
        self.shared.ring();
        let mut undecided = self.undecided.lock().unwrap_or_else(PoisonError::into_inner);
        let images = undecided.entry(workload.clone()).or_default();
        match images.iter_mut().find(|known| known.image == image) {
            Some(known) => known.is_new = true,
            None => images.push(UndecidedImage { image: image.to_owned(), is_new: true }),
        }
    }

    /// What was undecided before and was not told anew is so no longer.
    fn decided(&self, workload: &WorkloadId) {
        let mut undecided = self.undecided.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(images) = undecided.get_mut(workload) else { return };
        let mut board = self.shared.lock();
        for gone in images.extract_if(.., |known| !std::mem::take(&mut known.is_new)) {
            board.withdraw(&Topic::Undecided(workload.clone(), gone.image));
        }
        drop(board);
        if images.is_empty() {
            undecided.remove(workload);
        }
    }
}

impl Observer for ClusterEvents {
    fn observe(&self, event: &Event<'_>) {
        match event {
            Event::Finished(outcome) => self.finished(outcome),
            Event::OutcomeChanged { destination, source, after: None, .. } => {
                self.shared.lock().withdraw(&Topic::Image((*destination).clone(), (*source).clone()));
            }
            Event::InCooldown { workload, source, destination, until, reason } => {
                self.in_cooldown(workload, source, destination, *until, reason);
            }
            Event::TagTaken { workloads, source, destination, before } => {
                self.tag_taken(workloads, source, destination, before);
            }
            Event::Undecided { workload, image, reason } => self.undecided(workload, image, reason),
            Event::Decided { workload } => self.decided(workload),
            Event::ReloadRefused { reason } => {
                let Some(pod) = &self.own_pod else { return };
                let note = format!("The changed configuration can't be used; what was in force goes on: {reason}");
                let statement = Statement {
                    kind: EventType::Warning,
                    reason: "ReloadRefused",
                    note: bounded(&note).into(),
                    image: None,
                    workloads: vec![pod.clone()],
                    lasts: true,
                };
                self.say(Topic::Configuration, statement);
            }
            Event::Reloaded => self.shared.lock().withdraw(&Topic::Configuration),
            _ => {}
        }
    }
}

fn not_mirrored(image: &str, destination: &Destination, cause: &str, next_try: Option<SystemTime>) -> String {
    let next_try = next_try.map(|moment| format!(" (next try at {})", utc(moment))).unwrap_or_default();
    // The cause may be long, and is cut then.
    format!("Image {image} was not mirrored to {destination}{next_try}: {cause}")
}

/// At most [`MAX_NOTE`] bytes of it, and nothing that acts on the terminal of who reads it.
fn bounded(note: &str) -> String {
    const ELLIPSIS: char = '…';
    // An escape takes more room than what it stands for.
    let is_long = note.len() > MAX_NOTE;
    let start = note.get(..note.floor_char_boundary(MAX_NOTE)).unwrap_or_default();
    let note = printable(start);
    if !is_long && note.len() <= MAX_NOTE {
        return note.into_owned();
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
        routing::{get, patch, post},
    };
    use serde_json::{Value, json};
    use tokio::{net::TcpListener, sync::mpsc};
    use tokio_util::sync::CancellationToken;

    use super::{board::MAX_TOPICS, *};
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

    async fn created(State(written): State<Written>, body: String) -> Response {
        let event: Value = serde_json::from_str(&body).unwrap();
        written.send(event.clone()).unwrap();
        answer(StatusCode::CREATED, &event)
    }

    async fn patched(State(written): State<Written>, Path(name): Path<String>, body: String) -> Response {
        let mut event: Value = serde_json::from_str(&body).unwrap();
        event["metadata"] = json!({ "name": name });
        written.send(event.clone()).unwrap();
        answer(StatusCode::OK, &event)
    }

    struct Cluster {
        events: ClusterEvents,
        written: mpsc::UnboundedReceiver<Value>,
        metrics: Arc<Metrics>,
        shutdown: CancellationToken,
        publisher: tokio::task::JoinHandle<()>,
    }

    impl Cluster {
        /// The next that is written: `MirrorFailed: Image …`, or `again` with the count.
        async fn next(&mut self) -> String {
            let event = self.written.recv().await.unwrap();
            match event["note"].as_str() {
                Some(note) => format!("{}: {note}", event["reason"].as_str().unwrap()),
                None => format!("again {}", event["series"]["count"]),
            }
        }

        async fn lost(&self, reason: &str, count: usize) {
            let line = format!("k8s_copycat_lost_events_total{{reason=\"{reason}\"}} {count}\n");
            while !self.metrics.render().unwrap().contains(&line) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        }
    }

    /// A publisher in front of what answers as the API server does for Deployments and events in namespace `shop`.
    async fn cluster(renewal: Duration) -> Cluster {
        let (sender, written) = mpsc::unbounded_channel();
        let router = Router::new()
            .route("/apis/apps/v1/namespaces/shop/deployments/{name}", get(deployment))
            .route("/api/v1/namespaces/shop/pods/{name}", get(own_pod))
            .route("/apis/events.k8s.io/v1/namespaces/shop/events", post(created))
            .route("/apis/events.k8s.io/v1/namespaces/shop/events/{name}", patch(patched))
            .with_state(sender);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(axum::serve(listener, router).into_future());
        let client = Client::try_from(kube::Config::new(url.parse().unwrap())).unwrap();
        let metrics = Arc::new(Metrics::new().unwrap());
        let (events, publisher) =
            ClusterEvents::renewing(renewal, client, "copycat-0".to_owned(), Some("shop".to_owned()), metrics.clone());
        let shutdown = CancellationToken::new();
        let publisher = tokio::spawn(publisher.run(shutdown.clone()));
        Cluster { events, written, metrics, shutdown, publisher }
    }

    fn deployment_named(name: &str) -> WorkloadId {
        WorkloadId { name: name.to_owned(), ..web() }
    }

    fn there() -> Outcome {
        outcome("nginx:1", Status::AlreadyThere(Digest::sha256(b"1")))
    }

    #[tokio::test]
    async fn failures_and_the_first_success_after_one_are_told_with_the_objects_uid() {
        let mut cluster = cluster(RENEWAL).await;
        cluster.events.observe(&Event::Finished(&there()));
        cluster.events.observe(&Event::Finished(&outcome("nginx:1", failed("connection refused"))));
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

        cluster.events.observe(&Event::Finished(&there()));
        let success = cluster.written.recv().await.unwrap();
        assert_eq!((&success["type"], &success["reason"]), (&"Normal".into(), &"Mirrored".into()));
        cluster.events.observe(&Event::Finished(&there()));
        let workload = web();
        cluster.events.observe(&Event::Undecided { workload: &workload, image: "Nginx", reason: "malformed" });
        assert_eq!(cluster.next().await, "MirrorUndecided: Image Nginx is not mirrored: malformed");

        cluster.events.observe(&Event::ReloadRefused { reason: "config.yaml: broken" });
        let refused = cluster.written.recv().await.unwrap();
        assert_eq!((&refused["reason"], &refused["regarding"]["name"]), (&"ReloadRefused".into(), &"copycat-0".into()));
        assert!(refused["note"].as_str().unwrap().ends_with(": config.yaml: broken"), "{refused}");

        cluster.shutdown.cancel();
        cluster.publisher.await.unwrap();
        assert!(cluster.written.try_recv().is_err());
    }

    #[tokio::test]
    async fn the_same_again_is_the_same_event_and_another_cause_is_another() {
        let mut cluster = cluster(RENEWAL).await;
        let refused = outcome("nginx:1", failed("connection refused"));
        let denied = outcome("nginx:1", failed("denied"));
        let told = "MirrorFailed: Image nginx:1 was not mirrored to mirror.example/library/nginx:1: ";
        for (outcome, expected) in [
            (&refused, format!("{told}connection refused")),
            (&refused, "again 2".to_owned()),
            (&refused, "again 3".to_owned()),
            (&denied, format!("{told}denied")),
            (&denied, "again 2".to_owned()),
        ] {
            cluster.events.observe(&Event::Finished(outcome));
            assert_eq!(cluster.next().await, expected);
        }
    }

    #[tokio::test]
    async fn what_lasts_is_told_again_and_what_is_over_is_not() {
        let mut cluster = cluster(Duration::from_millis(20)).await;
        let (one, two) = (outcome("nginx:1", failed("down")), outcome("nginx:2", failed("down")));
        cluster.events.observe(&Event::Finished(&one));
        let told = "MirrorFailed: Image nginx:1 was not mirrored to mirror.example/library/nginx:1: down";
        for expected in [told, "again 2", "again 3"] {
            assert_eq!(cluster.next().await, expected);
        }
        cluster.events.observe(&Event::Finished(&there()));
        let mut last = cluster.next().await;
        while last.starts_with("again") {
            last = cluster.next().await;
        }
        assert!(last.starts_with("Mirrored: "), "{last}");

        cluster.events.observe(&Event::Finished(&two));
        assert!(cluster.next().await.contains("nginx:2"), "nothing is told of what is mirrored");
        cluster.events.observe(&Event::OutcomeChanged {
            destination: &two.destination,
            source: &two.source,
            before: Some(two.status.kind()),
            after: None,
        });
        while !cluster.events.shared.lock().is_empty() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    #[tokio::test]
    async fn an_image_is_undecided_until_its_workload_is_decided_without_saying_so() {
        let mut cluster = cluster(RENEWAL).await;
        let workload = web();
        let decided = |images: &[&str]| {
            for image in images {
                cluster.events.observe(&Event::Undecided { workload: &workload, image, reason: "malformed" });
            }
            cluster.events.observe(&Event::Decided { workload: &workload });
        };
        decided(&["A", "B"]);
        decided(&["B"]);
        assert!(!cluster.events.shared.lock().lasts(&Topic::Undecided(web(), "A".to_owned())));
        assert!(cluster.events.shared.lock().lasts(&Topic::Undecided(web(), "B".to_owned())));
        decided(&[]);
        assert!(cluster.events.shared.lock().is_empty() && cluster.events.undecided.lock().unwrap().is_empty());
        cluster.shutdown.cancel();
        cluster.publisher.await.unwrap();
        cluster.written.close();
    }

    #[tokio::test]
    async fn what_is_refused_is_counted_and_what_is_gone_is_passed_over() {
        let mut cluster = cluster(RENEWAL).await;
        for name in ["forbidden", "gone", "web"] {
            let workload = deployment_named(name);
            cluster.events.observe(&Event::Undecided { workload: &workload, image: "Nginx", reason: "malformed" });
        }
        let written = cluster.written.recv().await.unwrap();
        assert_eq!(written["regarding"]["name"], "web");
        cluster.lost("refused", 1).await;
    }

    #[tokio::test]
    async fn a_full_board_counts_what_it_lets_go() {
        let client = Client::try_from(kube::Config::new("http://127.0.0.1:9".parse().unwrap())).unwrap();
        let metrics = Arc::new(Metrics::new().unwrap());
        let (events, _publisher) =
            ClusterEvents::new(client, "copycat-0".to_owned(), Some("shop".to_owned()), metrics.clone());
        for number in 0..MAX_TOPICS + 3 {
            let workload = deployment_named(&format!("web-{number}"));
            events.observe(&Event::Undecided { workload: &workload, image: "Nginx", reason: "malformed" });
        }
        let metrics = metrics.render().unwrap();
        assert!(metrics.contains("k8s_copycat_lost_events_total{reason=\"queue_full\"} 3\n"), "{metrics}");
    }

    #[tokio::test]
    async fn nothing_that_acts_on_a_terminal_is_written() {
        const HIDDEN: [char; 6] = ['\n', '\u{1b}', '\u{9b}', '\u{200b}', '\u{202e}', '\u{e0041}'];
        let mut cluster = cluster(RENEWAL).await;
        let hostile: String = HIDDEN.iter().flat_map(|hidden| ['x', *hidden]).collect();
        let workload = web();
        cluster.events.observe(&Event::Finished(&outcome("nginx:1", failed(&hostile))));
        cluster.events.observe(&Event::Undecided { workload: &workload, image: &hostile, reason: &hostile });
        cluster.events.observe(&Event::ReloadRefused { reason: &hostile });
        for reason in ["MirrorFailed", "MirrorUndecided", "ReloadRefused"] {
            let event = cluster.written.recv().await.unwrap();
            assert_eq!(event["reason"], reason);
            let note = event["note"].as_str().unwrap();
            assert!(note.ends_with(r"x\nx\u{1b}x\u{9b}x\u{200b}x\u{202e}x\u{e0041}"), "{note:?}");
            let texts = format!("{note}{}", event["related"]["name"].as_str().unwrap_or_default());
            assert!(!texts.contains(HIDDEN), "{event:?}");
        }
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
