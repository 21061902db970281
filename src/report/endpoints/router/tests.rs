use std::{
    net::SocketAddr,
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

use futures::{FutureExt as _, future::BoxFuture};
use tokio::{io::AsyncWriteExt, net::TcpStream, sync::Notify};

use super::*;
use crate::{
    model::{Decision, Event, ImageUse, Observer, WorkloadId},
    report::{PluginsReport, status::ReplicaStatus, testing::exchange},
};

/// Returns prepared answers and counts the calls; without an answer, a pass never ends.
#[derive(Default)]
struct FakeOperations {
    reset: Mutex<Option<CooldownReset>>,
    pass: Mutex<Option<ForcedPass>>,
    calls: AtomicUsize,
    started: Notify,
    dropped: Arc<Notify>,
}

struct NotifyOnDrop(Arc<Notify>);

impl Drop for NotifyOnDrop {
    fn drop(&mut self) {
        self.0.notify_one();
    }
}

impl Operations for FakeOperations {
    fn reset_cooldown(&self) -> BoxFuture<'_, CooldownReset> {
        self.calls.fetch_add(1, Ordering::Relaxed);
        let answer = self.reset.lock().unwrap().unwrap();
        Box::pin(async move { answer })
    }

    fn force_reconcile(&self) -> BoxFuture<'_, ForcedPass> {
        self.calls.fetch_add(1, Ordering::Relaxed);
        let answer = self.pass.lock().unwrap().clone();
        let guard = NotifyOnDrop(self.dropped.clone());
        self.started.notify_one();
        async move {
            let _guard = guard;
            match answer {
                Some(pass) => pass,
                None => std::future::pending().await,
            }
        }
        .boxed()
    }

    fn plugins(&self) -> PluginsReport {
        PluginsReport { needs_restart: vec!["watchResources"], ..PluginsReport::default() }
    }

    fn status(&self) -> BoxFuture<'_, Option<ReplicaStatus>> {
        self.calls.fetch_add(1, Ordering::Relaxed);
        std::future::ready(Some(ReplicaStatus::default())).boxed()
    }

    fn decide(&self, _: WorkloadId, _: String) -> BoxFuture<'static, Option<Vec<(ImageUse, Decision)>>> {
        std::future::ready(None).boxed()
    }
}

struct Server {
    address: SocketAddr,
    metrics: Arc<Metrics>,
    operations: Arc<FakeOperations>,
    shutdown: CancellationToken,
    ended: tokio::task::JoinHandle<io::Result<()>>,
}

async fn start() -> Server {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (metrics, operations) = (Arc::new(Metrics::new().unwrap()), Arc::new(FakeOperations::default()));
    let shutdown = CancellationToken::new();
    let ended = tokio::spawn(serve_operations(
        listener,
        metrics.clone(),
        operations.clone(),
        Arc::default(),
        None,
        shutdown.clone(),
    ));
    Server { address, metrics, operations, shutdown, ended }
}

#[tokio::test]
async fn metrics_are_served_as_text() {
    let server = start().await;
    server.metrics.observe(&Event::PullSucceeded("nginx"));
    let (head, body) = exchange(server.address, "GET", "/metrics").await;
    assert!(head.starts_with("http/1.1 200 ok"), "{head}");
    assert!(head.contains("content-type: text/plain; version=0.0.4; charset=utf-8"), "{head}");
    assert!(body.contains("k8s_copycat_registry_pull_success_total{image=\"nginx\"} 1\n"), "{body}");
}

#[tokio::test]
async fn plugins_are_listed() {
    let server = start().await;
    let (head, body) = exchange(server.address, "GET", "/plugins").await;
    assert!(head.starts_with("http/1.1 200 ok") && head.contains("content-type: application/json"), "{head}");
    assert_eq!(body, "{\"plugins\":[],\"reloadRefused\":null,\"needsRestart\":[\"watchResources\"]}\n");
}

#[tokio::test]
async fn pages_run_and_load_nothing_from_elsewhere() {
    let server = start().await;
    for (path, status) in
        [("/", "200 ok"), ("/?state=down", "400 bad request"), ("/image?destination=a", "404 not found")]
    {
        let (head, body) = exchange(server.address, "GET", path).await;
        assert!(head.starts_with(&format!("http/1.1 {status}")), "{path}: {head}");
        for header in [
            "content-type: text/html; charset=utf-8",
            "content-security-policy: default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; \
             connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'\r\n",
            "x-content-type-options: nosniff",
            "referrer-policy: no-referrer",
            "cache-control: no-store",
        ] {
            assert!(head.contains(header), "{path}: {header}: {head}");
        }
        assert!(body.starts_with("<!doctype html>") && body.trim_end().ends_with("</html>"), "{body}");
        for asset in body.split('"').filter(|part| part.starts_with("/assets/")) {
            let (head, _) = exchange(server.address, "GET", asset).await;
            assert!(head.starts_with("http/1.1 200 ok") && head.contains("immutable"), "{asset}: {head}");
        }
    }
    let (_, body) = exchange(server.address, "GET", "/?state=down").await;
    assert!(body.contains("unknown state &#34;down&#34;: the states are missing, stale, "), "{body}");
}

#[tokio::test]
async fn reset_cooldown_answers_like_the_original() {
    let server = start().await;
    for (reset, line) in [
        (CooldownReset::Cleared(2), r#"{"reset":true,"clearedTargets":2,"message":"failure cooldown reset"}"#),
        (CooldownReset::Cleared(0), r#"{"reset":false,"clearedTargets":0,"message":"no cooldown entries to reset"}"#),
        (CooldownReset::Disabled, r#"{"reset":false,"clearedTargets":0,"message":"failure cooldown disabled"}"#),
        (CooldownReset::NotReady, r#"{"reset":false,"clearedTargets":0,"message":"cooldown reset service not ready"}"#),
    ] {
        *server.operations.reset.lock().unwrap() = Some(reset);
        let status = if reset == CooldownReset::NotReady { "503 " } else { "200 " };
        for method in ["GET", "POST"] {
            let (head, body) = exchange(server.address, method, "/reset-cooldown").await;
            assert!(head.starts_with(&format!("http/1.1 {status}")), "{head}");
            assert!(head.contains("content-type: application/json"), "{head}");
            assert_eq!(body, format!("{line}\n"));
        }
    }
}

#[tokio::test]
async fn force_reconcile_answers_like_the_original() {
    let server = start().await;
    let failures = vec!["deployment shop/web: down".to_owned(), "pod shop/\"x\": denied".to_owned()];
    for (pass, line) in [
        (
            ForcedPass::Ended { workloads: 3, images: 5, failures: Vec::new() },
            r#"{"triggered":true,"success":true,"workloadsProcessed":3,"imagesMirrored":5,"message":"force reconcile completed"}"#,
        ),
        (
            ForcedPass::Ended { workloads: 3, images: 1, failures },
            r#"{"triggered":true,"success":false,"workloadsProcessed":3,"imagesMirrored":1,"message":"force reconcile failed: deployment shop/web: down\npod shop/\"x\": denied"}"#,
        ),
        (
            ForcedPass::NotReady,
            r#"{"triggered":false,"success":false,"workloadsProcessed":0,"imagesMirrored":0,"message":"force reconcile service not ready"}"#,
        ),
    ] {
        let status = if pass == ForcedPass::NotReady { "503 " } else { "200 " };
        *server.operations.pass.lock().unwrap() = Some(pass);
        for method in ["GET", "POST"] {
            let (head, body) = exchange(server.address, method, "/force-reconcile").await;
            assert!(head.starts_with(&format!("http/1.1 {status}")), "{head}");
            assert!(head.contains("content-type: application/json"), "{head}");
            assert_eq!(body, format!("{line}\n"));
        }
    }
}

#[tokio::test]
async fn other_methods_and_paths_start_nothing() {
    let server = start().await;
    for path in ["/reset-cooldown", "/force-reconcile"] {
        for method in ["HEAD", "PUT", "DELETE", "PATCH", "OPTIONS"] {
            let (head, _) = exchange(server.address, method, path).await;
            assert!(head.starts_with("http/1.1 405 "), "{method} {path}: {head}");
            assert!(head.contains("allow: get, post"), "{method} {path}: {head}");
        }
        let (head, _) = exchange(server.address, "POST", &format!("{path}/")).await;
        assert!(head.starts_with("http/1.1 404 "), "{path}/: {head}");
    }
    assert_eq!(server.operations.calls.load(Ordering::Relaxed), 0);
}

#[tokio::test]
async fn a_pass_is_dropped_when_its_client_disconnects() {
    let server = start().await;
    let mut client = TcpStream::connect(server.address).await.unwrap();
    client.write_all(b"GET /force-reconcile HTTP/1.1\r\nHost: test\r\n\r\n").await.unwrap();
    server.operations.started.notified().await;
    drop(client);
    server.operations.dropped.notified().await;
}

#[tokio::test]
async fn a_pass_fails_at_shutdown() {
    let server = start().await;
    let address = server.address;
    let client = tokio::spawn(async move { exchange(address, "POST", "/force-reconcile").await });
    server.operations.started.notified().await;
    server.shutdown.cancel();
    let (_, body) = client.await.unwrap();
    assert!(body.contains(r#""success":false"#) && body.contains("failed: the program is shutting down"), "{body}");
    server.ended.await.unwrap().unwrap();
}
