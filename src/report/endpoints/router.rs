//! The metrics listener: the scrape endpoint, the state, the pages for people, and operations that an operator can request.

use std::{io, sync::Arc};

use axum::{
    Router,
    extract::{Path, RawQuery, State},
    http::{Method, StatusCode, header},
    middleware,
    response::{IntoResponse, Response},
    routing::{any, get},
};
use serde_json::json;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::{
    answers::{PassAnswer, ResetAnswer, json, status_code},
    authorization::{CallerAuthorization, guard},
    operations::{CooldownReset, ForcedPass, Operations},
    pages,
    plugins::Page,
    server::serve,
};
use crate::report::{
    Metrics,
    page::Explanations,
    status::{Query, Snapshots, Traffic},
};

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

#[cfg(test)]
mod tests;
