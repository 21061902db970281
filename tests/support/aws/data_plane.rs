//! The registry API of ECR.

use std::sync::atomic::Ordering;

use axum::{body::Body, http::Response};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use http::{HeaderValue, Method, StatusCode, Uri, header, request::Parts};

use super::{
    super::{
        proxy::{refuse, respond},
        traffic::Fault,
    },
    hosts,
    manifest_put::{self, MAX_LAYER},
    state::{AwsState, Backend, RegistryId},
    tokens::TokenStatus,
};

/// Answers a request to a registry.
pub async fn answer(
    state: &AwsState,
    registry_id: &RegistryId,
    parts: Parts,
    body: Body,
    fault: Option<Fault>,
) -> Response<Body> {
    if let Some(refusal) = unauthorized(state, registry_id, &parts) {
        return refusal;
    }
    if parts.uri.path() == "/v2/" {
        return respond(200, &[]);
    }
    let Some((repository, kind, reference)) = split(parts.uri.path()) else {
        return refuse(404, "NOT_FOUND", "no such path");
    };
    let Some(settings) = state.repository(registry_id, &repository).await else {
        let RegistryId { account, .. } = registry_id;
        let message =
            format!("The repository with name '{repository}' does not exist in the registry with id '{account}'");
        return refuse(404, "NAME_UNKNOWN", &message);
    };
    let backend = state.backend(registry_id).await;
    match (parts.method.as_str(), kind.as_str()) {
        ("PUT", "manifests") => {
            manifest_put::manifest(&backend, &settings, &repository, &reference, parts, body, fault).await
        }
        (_, "blobs") => blob(&backend, registry_id, &repository, &reference, parts, body, fault).await,
        _ => forward(&backend, parts, body, fault).await,
    }
}

/// Repository, endpoint (`manifests`, `blobs`, …), and the rest of the path.
pub fn split(path: &str) -> Option<(String, String, String)> {
    let path = path.strip_prefix("/v2/")?;
    let (at, word) =
        ["/manifests/", "/blobs/", "/referrers/", "/tags/"].iter().find_map(|word| Some((path.find(word)?, word)))?;
    let reference = &path[at + word.len()..];
    Some((path[..at].to_owned(), word.trim_matches('/').to_owned(), reference.to_owned()))
}

/// The password of HTTP Basic, if the user is `AWS`.
pub fn basic(parts: &Parts) -> Option<String> {
    let header = parts.headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let decoded = String::from_utf8(STANDARD.decode(header.strip_prefix("Basic ")?).ok()?).ok()?;
    decoded.strip_prefix("AWS:").map(str::to_owned)
}

fn unauthorized(state: &AwsState, registry_id: &RegistryId, parts: &Parts) -> Option<Response<Body>> {
    let Some(token) = basic(parts) else {
        let host = parts.headers[header::HOST].to_str().unwrap();
        let challenge = format!("Basic realm=\"https://{host}/\",service=\"ecr.amazonaws.com\"");
        let mut answer = Response::new(Body::from("Not Authorized\n"));
        *answer.status_mut() = StatusCode::UNAUTHORIZED;
        answer.headers_mut().insert(header::WWW_AUTHENTICATE, challenge.parse().unwrap());
        return Some(answer);
    };
    match state.tokens.status(&token, &registry_id.registry()) {
        TokenStatus::Valid => None,
        TokenStatus::Expired => {
            let message = "Your authorization token has expired. Reauthenticate and try again.";
            Some(refuse(state.expired.load(Ordering::Relaxed), "DENIED", message))
        }
        TokenStatus::Invalid => Some(refuse(403, "DENIED", "Your Authorization Token is invalid.")),
    }
}

async fn blob(
    backend: &Backend,
    registry_id: &RegistryId,
    repository: &str,
    reference: &str,
    mut parts: Parts,
    body: Body,
    fault: Option<Fault>,
) -> Response<Body> {
    let method = parts.method.clone();
    if method == Method::GET && !reference.starts_with("uploads/") {
        return redirect(backend, registry_id, repository, reference).await;
    }
    let declared = parts.headers.get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok());
    if declared.is_some_and(|length: u64| length > MAX_LAYER) {
        return refuse(400, "SIZE_INVALID", "The layer is larger than 52000 MiB");
    }
    if method == Method::POST && !may_mount(backend, &parts.uri) {
        parts.uri = parts.uri.path().parse().unwrap();
    }
    let mut answer = forward(backend, parts, body, fault).await;
    if method == Method::PATCH && answer.status() == StatusCode::ACCEPTED {
        *answer.status_mut() = StatusCode::CREATED;
    }
    answer
}

/// Whether a requested mount is allowed: the account allows mounts, and a manifest refers to the blob.
fn may_mount(backend: &Backend, uri: &Uri) -> bool {
    let query = uri.query().unwrap_or_default();
    let mount = url::form_urlencoded::parse(query.as_bytes()).find(|(name, _)| name == "mount");
    mount.is_none_or(|(_, digest)| {
        backend.mounts.load(Ordering::Relaxed) && backend.referenced.lock().unwrap().contains(&*digest)
    })
}

/// Redirects to the storage of a blob.
pub async fn redirect(backend: &Backend, registry_id: &RegistryId, repository: &str, digest: &str) -> Response<Body> {
    if backend.registry.blob(repository, digest).await.is_none() {
        return refuse(404, "BLOB_UNKNOWN", "blob unknown to registry");
    }
    let RegistryId { account, region } = registry_id;
    let host = hosts::layers(account, region);
    let location = format!("https://{host}/{account}/{region}/{repository}/{digest}?X-Amz-Signature=0");
    let mut answer = respond(307, &[]);
    answer.headers_mut().insert(header::LOCATION, location.parse().unwrap());
    answer
}

/// Answers a request to the storage of blobs.
pub async fn layer(state: &AwsState, mut parts: Parts, body: Body, fault: Option<Fault>) -> Response<Body> {
    if parts.headers.contains_key(header::AUTHORIZATION) {
        let body = "<Error><Code>InvalidArgument</Code><Message>Only one auth mechanism allowed</Message></Error>";
        let mut answer = Response::new(Body::from(body));
        *answer.status_mut() = StatusCode::BAD_REQUEST;
        return answer;
    }
    let mut path = parts.uri.path().trim_start_matches('/').splitn(3, '/');
    let (Some(account), Some(region), Some(rest)) = (path.next(), path.next(), path.next()) else {
        return respond(404, &[]);
    };
    let Some((repository, digest)) = rest.rsplit_once('/') else {
        return respond(404, &[]);
    };
    let backend = state.backend(&RegistryId::new(account, region)).await;
    parts.uri = format!("/v2/{repository}/blobs/{digest}").parse().unwrap();
    forward(&backend, parts, body, fault).await
}

/// Forwards a request to the registry behind; its locations will refer to this host.
pub async fn forward(backend: &Backend, mut parts: Parts, body: Body, fault: Option<Fault>) -> Response<Body> {
    parts.headers.insert("x-forwarded-proto", HeaderValue::from_static("https"));
    backend.upstream.forward(parts, body, fault).await
}
