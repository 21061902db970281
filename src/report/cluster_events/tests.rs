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

use super::{queue::MAX_TOPICS, *};
use crate::{
    model::{Digest, Known},
    report::testing::{failed, outcome, record, web},
};

fn finish(events: &ClusterEvents, outcome: &Outcome) {
    events.observe(&Event::Finished(outcome, &record(outcome)));
}

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
    /// The next written event: `MirrorFailed: Image …`, or `again` with the count of a repeated one.
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

/// A publisher with a fake API server that has Deployments and events in namespace `shop`.
async fn cluster(repeat_interval: Duration) -> Cluster {
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
    let (events, publisher) = ClusterEvents::with_repeat_interval(
        repeat_interval,
        client,
        "copycat-0".to_owned(),
        Some("shop".to_owned()),
        metrics.clone(),
    );
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
async fn failures_and_the_first_success_after_one_become_events() {
    let mut cluster = cluster(REPEAT_INTERVAL).await;
    finish(&cluster.events, &there());
    finish(&cluster.events, &outcome("nginx:1", failed("connection refused")));
    let warning = cluster.written.recv().await.unwrap();
    assert_eq!(warning["type"], "Warning");
    assert_eq!(warning["reason"], "MirrorFailed");
    assert_eq!(warning["note"], "Image nginx:1 was not mirrored to mirror.example/library/nginx:1: connection refused");
    let regarding =
        json!({"apiVersion": "apps/v1", "kind": "Deployment", "namespace": "shop", "name": "web", "uid": "u-1"});
    assert_eq!(warning["regarding"], regarding);
    assert_eq!(warning["reportingController"], "k8s-copycat");
    assert_eq!(warning["reportingInstance"], "copycat-0");

    finish(&cluster.events, &there());
    let success = cluster.written.recv().await.unwrap();
    assert_eq!((&success["type"], &success["reason"]), (&"Normal".into(), &"Mirrored".into()));
    finish(&cluster.events, &there());
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
async fn a_repeated_failure_updates_its_event_and_a_new_cause_creates_one() {
    let mut cluster = cluster(REPEAT_INTERVAL).await;
    let refused = outcome("nginx:1", failed("connection refused"));
    let later = Outcome { next_try: Some(std::time::SystemTime::now()), ..refused.clone() };
    let denied = outcome("nginx:1", failed("denied"));
    let failed_note = "MirrorFailed: Image nginx:1 was not mirrored to mirror.example/library/nginx:1: ";
    for (outcome, expected) in [
        (&refused, format!("{failed_note}connection refused")),
        (&refused, "again 2".to_owned()),
        // The next attempt is at another time.
        (&later, "again 3".to_owned()),
        (&denied, format!("{failed_note}denied")),
        (&denied, "again 2".to_owned()),
    ] {
        finish(&cluster.events, outcome);
        assert_eq!(cluster.next().await, expected);
    }
}

#[tokio::test]
async fn lasting_failures_are_repeated_until_they_end() {
    let mut cluster = cluster(Duration::from_millis(20)).await;
    let (one, two) = (outcome("nginx:1", failed("down")), outcome("nginx:2", failed("down")));
    finish(&cluster.events, &one);
    let failed_note = "MirrorFailed: Image nginx:1 was not mirrored to mirror.example/library/nginx:1: down";
    for expected in [failed_note, "again 2", "again 3"] {
        assert_eq!(cluster.next().await, expected);
    }
    finish(&cluster.events, &there());
    let mut last = cluster.next().await;
    while last.starts_with("again") {
        last = cluster.next().await;
    }
    assert!(last.starts_with("Mirrored: "), "{last}");

    finish(&cluster.events, &two);
    assert!(cluster.next().await.contains("nginx:2"), "the event of the mirrored image is not repeated");
    cluster.events.observe(&Event::ImageChanged {
        destination: &two.destination,
        source: &two.source,
        before: Some(Known::from(&record(&two))),
        after: None,
    });
    while !cluster.events.queue.lock().is_empty() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn an_image_stays_undecided_until_its_workload_is_decided_without_it() {
    let mut cluster = cluster(REPEAT_INTERVAL).await;
    let workload = web();
    let decided = |images: &[&str]| {
        for image in images {
            cluster.events.observe(&Event::Undecided { workload: &workload, image, reason: "malformed" });
        }
        cluster.events.observe(&Event::Decided { workload: &workload });
    };
    decided(&["A", "B"]);
    decided(&["B"]);
    assert!(!cluster.events.queue.lock().is_lasting(&Topic::Undecided(web(), "A".to_owned())));
    assert!(cluster.events.queue.lock().is_lasting(&Topic::Undecided(web(), "B".to_owned())));
    decided(&[]);
    assert!(cluster.events.queue.lock().is_empty() && cluster.events.undecided.lock().unwrap().is_empty());
    cluster.shutdown.cancel();
    cluster.publisher.await.unwrap();
    cluster.written.close();
}

#[tokio::test]
async fn rejected_events_are_counted_and_missing_objects_are_skipped() {
    let mut cluster = cluster(REPEAT_INTERVAL).await;
    for name in ["forbidden", "gone", "web"] {
        let workload = deployment_named(name);
        cluster.events.observe(&Event::Undecided { workload: &workload, image: "Nginx", reason: "malformed" });
    }
    let written = cluster.written.recv().await.unwrap();
    assert_eq!(written["regarding"]["name"], "web");
    cluster.lost("refused", 1).await;
}

#[tokio::test]
async fn a_full_queue_counts_dropped_events() {
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
async fn notes_escape_control_characters() {
    const HIDDEN: [char; 6] = ['\n', '\u{1b}', '\u{9b}', '\u{200b}', '\u{202e}', '\u{e0041}'];
    let mut cluster = cluster(REPEAT_INTERVAL).await;
    let hostile: String = HIDDEN.iter().flat_map(|hidden| ['x', *hidden]).collect();
    let workload = web();
    finish(&cluster.events, &outcome("nginx:1", failed(&hostile)));
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
