//! The metrics listener: the scrape endpoint, and operations that an operator can request.

use std::{io, sync::Arc};

use axum::{
    Router,
    extract::{Path, RawQuery, State},
    http::{Method, StatusCode, header},
    middleware,
    response::{IntoResponse, Response},
    routing::{any, get},
};
use futures::future::BoxFuture;
use serde::Serialize;
use serde_json::json;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::{
    authorization::{CallerAuthorization, guard},
    pages,
    plugins::{Page, PluginsReport},
    server::serve,
};
use crate::{
    model::{Decision, ImageUse, WorkloadId, printable_json},
    report::{
        Metrics,
        page::Explanations,
        status::{Query, ReplicaStatus, Snapshots, Traffic},
    },
};

/// The result of clearing the cooldowns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CooldownReset {
    /// This replica does not mirror: it is starting, on standby, or shutting down.
    NotReady,
    /// `failureCooldownMinutes` is 0.
    Disabled,
    /// The number of destinations whose cooldown was cleared.
    Cleared(usize),
}

/// The result of a forced pass.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ForcedPass {
    /// This replica does not mirror: it is starting, on standby, or shutting down.
    NotReady,
    /// The pass has ended.
    Ended {
        /// Workloads that were not skipped, including failed ones.
        workloads: usize,
        /// Containers that were processed without an error.
        images: usize,
        /// Failures, each as `deployment namespace/name: cause`; empty on success.
        failures: Vec<String>,
    },
}

/// Operations on the mirror.
pub trait Operations: Send + Sync + 'static {
    /// Clears all cooldowns.
    fn reset_cooldown(&self) -> BoxFuture<'_, CooldownReset>;

    /// Runs a pass over all workloads. Dropping the future only stops waiting; queued copies still run.
    fn force_reconcile(&self) -> BoxFuture<'_, ForcedPass>;

    /// The active plugins.
    fn plugins(&self) -> PluginsReport;

    /// The state of this replica; none if the mirror has stopped.
    fn status(&self) -> BoxFuture<'_, Option<ReplicaStatus>>;

    /// Lets the plugins decide, without any effect, about the containers of a workload that use this image (as written), at
    /// most ten; none if there is no such workload.
    fn decide(&self, workload: WorkloadId, image: String) -> BoxFuture<'static, Option<Vec<(ImageUse, Decision)>>>;
}

/// Serves the pages for people (`/`, `/image`), `/metrics`, `/status`, `/plugins`, `/reset-cooldown` and `/force-reconcile`
/// until `shutdown`, then ends within seconds.
/// With `authorization`, only those callers can use the last two whom it allows to.
///
/// # Errors
///
/// If the listener fails.
pub async fn serve_operations(
    listener: TcpListener,
    metrics: Arc<Metrics>,
    operations: Arc<dyn Operations>,
    traffic: Arc<Traffic>,
    authorization: Option<Arc<dyn CallerAuthorization>>,
    shutdown: CancellationToken,
) -> io::Result<()> {
    let mut acting =
        Router::new().route("/reset-cooldown", any(reset_cooldown)).route("/force-reconcile", any(force_reconcile));
    if let Some(authorization) = authorization {
        acting = acting.route_layer(middleware::from_fn_with_state(authorization, guard));
    }
    let router = Router::new()
        .route("/", get(overview))
        .route("/image", get(image))
        .route("/assets/{name}", get(asset))
        .route("/metrics", get(scrape))
        .route("/plugins", get(plugins))
        .route("/status", get(status))
        .merge(acting)
        .with_state(Endpoints {
            metrics,
            operations,
            snapshots: Arc::new(Snapshots::new(traffic)),
            explanations: Arc::default(),
            shutdown: shutdown.clone(),
        });
    serve(listener, router, shutdown).await
}

#[derive(Clone)]
struct Endpoints {
    metrics: Arc<Metrics>,
    operations: Arc<dyn Operations>,
    snapshots: Arc<Snapshots>,
    explanations: Arc<Explanations>,
    shutdown: CancellationToken,
}

async fn overview(State(endpoints): State<Endpoints>, RawQuery(query): RawQuery) -> Response {
    let snapshot = endpoints.snapshots.get(endpoints.operations.status());
    pages::overview(query, snapshot, endpoints.operations.plugins()).await
}

async fn image(State(endpoints): State<Endpoints>, RawQuery(query): RawQuery) -> Response {
    let snapshot = endpoints.snapshots.get(endpoints.operations.status());
    let decide = |workload, image| endpoints.operations.decide(workload, image);
    pages::image(query, snapshot, &endpoints.explanations, decide).await
}

async fn asset(Path(name): Path<String>) -> Response {
    pages::asset(&name)
}

async fn scrape(State(endpoints): State<Endpoints>) -> Response {
    match endpoints.metrics.render() {
        Ok(text) => ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text).into_response(),
        Err(error) => {
            tracing::error!(error = &error as &dyn std::error::Error, "cannot render metrics");
            (StatusCode::INTERNAL_SERVER_ERROR, "cannot render metrics\n").into_response()
        }
    }
}

async fn plugins(State(endpoints): State<Endpoints>) -> Response {
    json(StatusCode::OK, &Page::from(&endpoints.operations.plugins()))
}

async fn status(State(endpoints): State<Endpoints>, RawQuery(query): RawQuery) -> Response {
    let query = match Query::parse(&query.unwrap_or_default()) {
        Ok(query) => query,
        Err(error) => return json(StatusCode::BAD_REQUEST, &json!({ "error": error.to_string() })),
    };
    match endpoints.snapshots.get(endpoints.operations.status()).await {
        Some(snapshot) => json(StatusCode::OK, &snapshot.status(&query)),
        None => {
            let error = json!({ "error": "the mirror did not report its state; it may be shutting down" });
            json(StatusCode::SERVICE_UNAVAILABLE, &error)
        }
    }
}

async fn reset_cooldown(State(endpoints): State<Endpoints>, method: Method) -> Response {
    if !is_allowed(&method) {
        return not_allowed();
    }
    let reset = endpoints.operations.reset_cooldown().await;
    let status = status_code(reset != CooldownReset::NotReady);
    let answer = ResetAnswer::from(reset);
    tracing::info!(%method, cleared_targets = answer.cleared_targets, "cooldown reset requested: {}", answer.message);
    json(status, &answer)
}

async fn force_reconcile(State(endpoints): State<Endpoints>, method: Method) -> Response {
    if !is_allowed(&method) {
        return not_allowed();
    }
    let pass = tokio::select! {
        pass = endpoints.operations.force_reconcile() => pass,
        () = endpoints.shutdown.cancelled() => ForcedPass::Ended {
            workloads: 0,
            images: 0,
            failures: vec!["the program is shutting down".to_owned()],
        },
    };
    let status = status_code(pass != ForcedPass::NotReady);
    let answer = PassAnswer::from(pass);
    tracing::info!(
        %method,
        workloads_processed = answer.workloads_processed,
        images_mirrored = answer.images_mirrored,
        success = answer.success,
        "forced pass ended"
    );
    json(status, &answer)
}

/// Whether a method may start an operation. HEAD, which axum routes like GET, must not: crawlers and health checks send it.
fn is_allowed(method: &Method) -> bool {
    method == Method::GET || method == Method::POST
}

fn not_allowed() -> Response {
    (StatusCode::METHOD_NOT_ALLOWED, [(header::ALLOW, "GET, POST")]).into_response()
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ResetAnswer {
    reset: bool,
    cleared_targets: usize,
    message: &'static str,
}

impl From<CooldownReset> for ResetAnswer {
    fn from(reset: CooldownReset) -> Self {
        let (cleared_targets, message) = match reset {
            CooldownReset::NotReady => (0, "cooldown reset service not ready"),
            CooldownReset::Disabled => (0, "failure cooldown disabled"),
            CooldownReset::Cleared(0) => (0, "no cooldown entries to reset"),
            CooldownReset::Cleared(targets) => (targets, "failure cooldown reset"),
        };
        Self { reset: cleared_targets > 0, cleared_targets, message }
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct PassAnswer {
    triggered: bool,
    success: bool,
    workloads_processed: usize,
    images_mirrored: usize,
    message: String,
}

impl From<ForcedPass> for PassAnswer {
    fn from(pass: ForcedPass) -> Self {
        let (triggered, workloads_processed, images_mirrored, failures) = match pass {
            ForcedPass::NotReady => (false, 0, 0, Vec::new()),
            ForcedPass::Ended { workloads, images, failures } => (true, workloads, images, failures),
        };
        let success = triggered && failures.is_empty();
        let message = if !triggered {
            "force reconcile service not ready".to_owned()
        } else if success {
            "force reconcile completed".to_owned()
        } else {
            format!("force reconcile failed: {}", failures.join("\n"))
        };
        Self { triggered, success, workloads_processed, images_mirrored, message }
    }
}

/// 200 even if the operation failed: scripts written for the original check only the body. 503 if another replica has to be
/// asked.
fn status_code(is_ready: bool) -> StatusCode {
    if is_ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE }
}

/// One line of JSON.
fn json(status: StatusCode, answer: &impl Serialize) -> Response {
    match printable_json(answer) {
        Ok(text) => (status, [(header::CONTENT_TYPE, "application/json")], text + "\n").into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")).into_response(),
    }
}

#[cfg(test)]
mod tests {
    use std::{
        net::SocketAddr,
        sync::{
            Mutex,
            atomic::{AtomicUsize, Ordering},
        },
    };

    use futures::FutureExt as _;
    use tokio::{io::AsyncWriteExt, net::TcpStream, sync::Notify};

    use super::*;
    use crate::{
        model::{Event, Observer},
        report::testing::exchange,
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
            (
                CooldownReset::Cleared(0),
                r#"{"reset":false,"clearedTargets":0,"message":"no cooldown entries to reset"}"#,
            ),
            (CooldownReset::Disabled, r#"{"reset":false,"clearedTargets":0,"message":"failure cooldown disabled"}"#),
            (
                CooldownReset::NotReady,
                r#"{"reset":false,"clearedTargets":0,"message":"cooldown reset service not ready"}"#,
            ),
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
}
