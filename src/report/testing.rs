//! What several tests of this room need.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::model::{
    Destination, Failure, FailureKind, Outcome, Retry, Status, Target, TargetKind, WorkloadId, WorkloadKind,
};

/// A failure of the target that says `message`.
pub(super) fn failed(message: &str) -> Status {
    Status::Failed(Failure { kind: FailureKind::Target, message: message.to_owned(), retry: Retry::Soon })
}

/// What came of the Docker Hub image `name:tag` that Deployment `shop/web` uses, at `mirror.example/library`.
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
        bytes: 0,
        took: Duration::from_millis(1500),
        next_try: None,
    }
}

/// Deployment `shop/web`.
pub(super) fn web() -> WorkloadId {
    WorkloadId { kind: WorkloadKind::Deployment, namespace: "shop".to_owned(), name: "web".to_owned() }
}

/// Sends one request and reads what comes until the server hangs up: the head, and the body.
pub(super) async fn exchange(address: SocketAddr, method: &str, path: &str) -> (String, String) {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request = format!("{method} {path} HTTP/1.1\r\nHost: test\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.to_ascii_lowercase(), body.to_owned())
}
