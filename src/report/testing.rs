//! Shared by tests.

use std::{
    collections::BTreeMap,
    io,
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::{Duration, SystemTime},
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use tracing_subscriber::fmt::MakeWriter;

use crate::model::{
    Activity, Destination, Failure, FailureKind, ImageRecord, ImageStatus, Outcome, Retry, Seen, Status, TagMeaning,
    Target, TargetKind, Workload, WorkloadId, WorkloadKind,
};

/// What is known after an outcome.
pub(super) fn record(outcome: &Outcome) -> ImageRecord {
    let now = SystemTime::now();
    let mut record = ImageRecord::new(now);
    record.record(outcome, now);
    record
}

/// A workload that nothing but its name is known of.
pub(super) fn workload(id: WorkloadId) -> Arc<Workload> {
    Arc::new(Workload {
        id,
        uid: String::new(),
        owners: Vec::new(),
        labels: BTreeMap::new(),
        annotations: BTreeMap::new(),
        namespace_labels: Arc::default(),
        created: 0,
    })
}

/// The status of the image that `outcome` is of; only Deployment `shop/web` uses it.
pub(super) fn image_status(outcome: &Outcome, record: ImageRecord, activity: Activity) -> ImageStatus {
    ImageStatus {
        image: outcome.image.clone(),
        source: outcome.source.clone(),
        destination: outcome.destination.clone(),
        record,
        activity,
        owner: None,
        workloads: vec![workload(web())],
    }
}

/// A failure of the target with this message.
pub(super) fn failed(message: &str) -> Status {
    Status::Failed(Failure { kind: FailureKind::Target, message: message.to_owned(), retry: Retry::Soon })
}

/// The outcome for Docker Hub image `name:tag`, used by Deployment `shop/web`, at `mirror.example/library`.
pub(super) fn outcome(image: &str, status: Status) -> Outcome {
    let (name, tag) = image.split_once(':').unwrap();
    Outcome {
        image: image.to_owned(),
        source: image.parse().unwrap(),
        destination: Destination {
            target: Arc::new(Target {
                name: "default".to_owned(),
                kind: TargetKind::Docker,
                registry: "mirror.example".to_owned(),
                repo_prefix: String::new(),
            }),
            repository: format!("library/{name}"),
            tag: Some(tag.to_owned()),
            digest: None,
        },
        workloads: vec![web()],
        status,
        seen: Seen::default(),
        referrers: None,
        copied_from: Vec::new(),
        tag: TagMeaning::Told,
        bytes: 0,
        took: Duration::from_millis(1500),
        next_try: None,
    }
}

/// Deployment `shop/web`.
pub(super) fn web() -> WorkloadId {
    WorkloadId { kind: WorkloadKind::Deployment, namespace: "shop".to_owned(), name: "web".to_owned() }
}

/// Sends one request and returns the head and the body of the response.
pub(super) async fn exchange(address: SocketAddr, method: &str, path: &str) -> (String, String) {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request = format!("{method} {path} HTTP/1.1\r\nHost: test\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.to_ascii_lowercase(), body.to_owned())
}

/// Collects log output in memory.
#[derive(Clone, Default)]
pub(super) struct LogBuffer(Arc<Mutex<Vec<u8>>>);

impl LogBuffer {
    pub fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

impl io::Write for LogBuffer {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl MakeWriter<'_> for LogBuffer {
    type Writer = Self;

    fn make_writer(&self) -> Self {
        self.clone()
    }
}

/// An error with a cause.
#[derive(Debug, thiserror::Error)]
#[error("outer")]
pub(super) struct Outer(#[source] pub io::Error);
