//! The health listener: liveness and readiness.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use axum::{
    Router,
    extract::{RawQuery, State},
    http::StatusCode,
    routing::get,
};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::server::serve;

/// The conditions for readiness, each fulfilled once.
pub struct Readiness {
    conditions: Vec<(&'static str, Arc<AtomicBool>)>,
}

/// One condition of a [`Readiness`].
pub struct Condition(Arc<AtomicBool>);

impl Readiness {
    /// Ready when all these conditions are fulfilled.
    pub fn new<const N: usize>(names: [&'static str; N]) -> (Self, [Condition; N]) {
        let conditions = names.map(|name| (name, Arc::new(AtomicBool::new(false))));
        let handles = conditions.each_ref().map(|(_, fulfilled)| Condition(Arc::clone(fulfilled)));
        (Self { conditions: conditions.into() }, handles)
    }
}

impl Condition {
    /// Marks the condition as fulfilled.
    pub fn fulfil(&self) {
        self.0.store(true, Ordering::Release);
    }
}

/// Serves `/healthz` (always 200) and `/readyz` (200 if ready, else 503 with the missing conditions) until `shutdown`. Both
/// list their conditions with `?verbose`.
///
/// # Errors
///
/// If the listener fails.
pub async fn serve_health(
    listener: TcpListener,
    readiness: Arc<Readiness>,
    shutdown: CancellationToken,
) -> io::Result<()> {
    let router = Router::new().route("/healthz", get(healthz)).route("/readyz", get(readyz)).with_state(readiness);
    serve(listener, router, shutdown).await
}

async fn healthz(RawQuery(query): RawQuery) -> String {
    if is_verbose(query.as_deref()) { report("healthz", true, [("ping", true)]) } else { "ok".to_owned() }
}

async fn readyz(State(readiness): State<Arc<Readiness>>, RawQuery(query): RawQuery) -> (StatusCode, String) {
    let conditions: Vec<_> =
        readiness.conditions.iter().map(|(name, fulfilled)| (*name, fulfilled.load(Ordering::Acquire))).collect();
    let ready = conditions.iter().all(|(_, fulfilled)| *fulfilled);
    let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    if ready && !is_verbose(query.as_deref()) {
        return (status, "ok".to_owned());
    }
    (status, report("readyz", ready, conditions))
}

/// Whether the query has the key `verbose`, with or without a value.
fn is_verbose(query: Option<&str>) -> bool {
    query.unwrap_or_default().split('&').any(|pair| pair.split('=').next() == Some("verbose"))
}

/// In the format of the Kubernetes API server's endpoints.
fn report(endpoint: &str, passed: bool, conditions: impl IntoIterator<Item = (&'static str, bool)>) -> String {
    let mut text = String::new();
    for (name, fulfilled) in conditions {
        text.push_str(if fulfilled { "[+]" } else { "[-]" });
        text.push_str(name);
        text.push_str(if fulfilled { " ok\n" } else { " not yet\n" });
    }
    text.push_str(endpoint);
    text.push_str(if passed { " check passed\n" } else { " check failed\n" });
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::testing::exchange;

    #[tokio::test]
    async fn readyz_succeeds_once_all_conditions_are_fulfilled() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (readiness, [caches, plugins]) = Readiness::new(["caches", "plugins"]);
        let shutdown = CancellationToken::new();
        let server = tokio::spawn(serve_health(listener, Arc::new(readiness), shutdown.clone()));

        let (head, body) = exchange(address, "GET", "/healthz").await;
        assert!(head.starts_with("http/1.1 200 ok"), "{head}");
        assert_eq!(body, "ok");
        let (_, body) = exchange(address, "GET", "/healthz?verbose").await;
        assert_eq!(body, "[+]ping ok\nhealthz check passed\n");

        plugins.fulfil();
        let (head, body) = exchange(address, "GET", "/readyz").await;
        assert!(head.starts_with("http/1.1 503 "), "{head}");
        assert_eq!(body, "[-]caches not yet\n[+]plugins ok\nreadyz check failed\n");

        caches.fulfil();
        let (head, body) = exchange(address, "GET", "/readyz").await;
        assert!(head.starts_with("http/1.1 200 ok"), "{head}");
        assert_eq!(body, "ok");
        let (_, body) = exchange(address, "GET", "/readyz?verbose=1").await;
        assert_eq!(body, "[+]caches ok\n[+]plugins ok\nreadyz check passed\n");

        shutdown.cancel();
        server.await.unwrap().unwrap();
    }
}
