//! The pages for people, over HTTP.

use std::sync::Arc;

use axum::{
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use futures::future::BoxFuture;
use tokio::task::spawn_blocking;
use url::form_urlencoded;

use super::plugins::PluginsReport;
use crate::{
    model::{Decision, ImageUse, WorkloadId},
    report::{
        page::{self, Explanations, PluginsNow},
        status::{Query, Snapshot, document},
    },
};

/// Pages show what clusters and registries wrote: nothing of it may run, load or be sent elsewhere.
const CONTENT_SECURITY_POLICY: &str = "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; \
     connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'";
/// The most images that are shown with one destination.
const MAX_STORIES: usize = 10;
/// Of them, the most that the plugins are asked about.
const MAX_EXPLAINED: usize = 2;

/// The overview, for the query of a URL.
pub(super) async fn overview(
    query: Option<String>,
    snapshot: impl Future<Output = Option<Arc<Snapshot>>>,
    plugins: PluginsReport,
) -> Response {
    let query = match Query::parse(&query.unwrap_or_default()) {
        Ok(query) => query,
        Err(error) => return problem(StatusCode::BAD_REQUEST, "This can't be shown", &error.to_string()),
    };
    let Some(snapshot) = snapshot.await else { return no_state() };
    let rendered = spawn_blocking(move || {
        let PluginsReport { plugins, reload_error, needs_restart } = &plugins;
        let plugins = PluginsNow { plugins, reload_refused: reload_error.as_deref(), needs_restart };
        page::overview(&snapshot, &query, &plugins)
    });
    match rendered.await {
        Ok(rendered) => html(StatusCode::OK, rendered),
        Err(error) => failed(&error),
    }
}

/// The story of the image with the destination that the query of a URL names, and what `decide` says about it.
pub(super) async fn image(
    query: Option<String>,
    snapshot: impl Future<Output = Option<Arc<Snapshot>>>,
    explanations: &Explanations,
    decide: impl Fn(WorkloadId, String) -> BoxFutureOfDecisions,
) -> Response {
    let name = match destination(&query.unwrap_or_default()) {
        Ok(name) => name,
        Err(error) => return problem(StatusCode::BAD_REQUEST, "This can't be shown", &error),
    };
    let Some(snapshot) = snapshot.await else { return no_state() };
    let query = Query { destination: Some(name.clone()), limit: MAX_STORIES, ..Query::default() };
    let status = snapshot.status(&query);
    if status.images.is_empty() {
        let why = if status.phase == "standby" {
            "This replica is on standby and knows nothing of images: ask the leader, which the first page names."
                .to_owned()
        } else {
            format!("No image has the destination {name} now, and no image of this name is undecided or skipped.")
        };
        return problem(StatusCode::NOT_FOUND, "No such image", &why);
    }
    let mut answers = Vec::new();
    for image in status.images.iter().take(MAX_EXPLAINED) {
        answers.push(match workload_of(image) {
            Some(workload) => {
                let decision = decide(workload.clone(), image.image.clone());
                Some(explanations.get(workload, image.image.clone(), decision).await)
            }
            None => None,
        });
    }
    html(StatusCode::OK, page::image(&name, &status, &answers))
}

type BoxFutureOfDecisions = BoxFuture<'static, Option<Vec<(ImageUse, Decision)>>>;

/// A file that pages load.
pub(super) fn asset(name: &str) -> Response {
    match page::asset(name) {
        Some(asset) => {
            let headers = [
                (header::CONTENT_TYPE, asset.content_type),
                (header::CACHE_CONTROL, "public, max-age=31536000, immutable"),
                (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
            ];
            (headers, asset.content).into_response()
        }
        None => (StatusCode::NOT_FOUND, [(header::CACHE_CONTROL, "no-store")]).into_response(),
    }
}

/// The value of the only parameter.
fn destination(query: &str) -> Result<String, String> {
    let mut destination = None;
    for (name, value) in form_urlencoded::parse(query.as_bytes()) {
        match &*name {
            "destination" if !value.is_empty() => destination = Some(value.into_owned()),
            "destination" => {}
            _ => return Err(format!("unknown parameter {name:?}: the only one is destination")),
        }
    }
    destination.ok_or_else(|| {
        "the parameter destination is missing: a destination, or the name of an image that is undecided or skipped"
            .to_owned()
    })
}

fn workload_of(image: &document::Image) -> Option<WorkloadId> {
    let document::Workload { kind, namespace, name } = image.workloads.first()?;
    Some(WorkloadId { kind: kind.parse().ok()?, namespace: namespace.clone(), name: name.clone() })
}

fn no_state() -> Response {
    let why = "The mirror did not report its state. It may be shutting down: try again in a few seconds.";
    problem(StatusCode::SERVICE_UNAVAILABLE, "No state", why)
}

fn problem(status: StatusCode, what: &str, why: &str) -> Response {
    html(status, page::problem(what, why))
}

fn html<E: std::error::Error + 'static>(status: StatusCode, page: Result<String, E>) -> Response {
    let page = match page {
        Ok(page) => page,
        Err(error) => return failed(&error),
    };
    let mut response = (status, page).into_response();
    for (name, value) in [
        (header::CONTENT_TYPE, "text/html; charset=utf-8"),
        (header::CONTENT_SECURITY_POLICY, CONTENT_SECURITY_POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::CACHE_CONTROL, "no-store"),
    ] {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    response
}

fn failed(error: &(dyn std::error::Error + 'static)) -> Response {
    tracing::error!(error, "cannot render a page");
    (StatusCode::INTERNAL_SERVER_ERROR, "cannot render this page\n").into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_destination_is_named() {
        assert_eq!(destination("destination=r.io%2Fa%3A1"), Ok("r.io/a:1".into()));
        for (query, part) in
            [("", "is missing"), ("destination=", "is missing"), ("destination=a&x=1", "\"x\": the only one")]
        {
            assert!(destination(query).unwrap_err().contains(part), "{query}");
        }
    }

    #[test]
    fn files_are_kept_and_unknown_ones_are_not() {
        assert_eq!(asset("page.css").status(), StatusCode::NOT_FOUND);
        assert_eq!(asset("../Cargo.toml").headers()[header::CACHE_CONTROL], "no-store");
    }
}
