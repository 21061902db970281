//! The manifest PUT of ECR.

use axum::{
    body::{Body, to_bytes},
    http::Response,
};
use http::{StatusCode, header, request::Parts};
use serde_json::Value;

use super::{
    super::{proxy::refuse, traffic::Fault},
    data_plane::forward,
    state::Backend,
};

/// In bytes.
const MAX_MANIFEST: usize = 4_194_304;
/// 52,000 MiB in bytes.
pub const MAX_LAYER: u64 = 52_000 << 20;

/// Stores a manifest or rejects it.
pub async fn manifest(
    backend: &Backend,
    settings: &Value,
    repository: &str,
    reference: &str,
    parts: Parts,
    body: Body,
    fault: Option<Fault>,
) -> Response<Body> {
    let Ok(bytes) = to_bytes(body, MAX_MANIFEST).await else {
        let message = "Invalid parameter at 'imageManifest' failed to satisfy constraint: 'Member must have length less \
                       than or equal to 4194304'";
        return refuse(400, "MANIFEST_INVALID", message);
    };
    let content: Value = serde_json::from_slice(&bytes).unwrap_or_default();
    if !content["subject"].is_null() {
        return refuse(405, "UNSUPPORTED", "The operation is unsupported.");
    }
    let layers = content["layers"].as_array().map(Vec::as_slice).unwrap_or_default();
    if layers.iter().any(|layer| layer["size"].as_u64().is_some_and(|size| size > MAX_LAYER)) {
        return refuse(400, "MANIFEST_INVALID", "A layer is larger than 52000 MiB");
    }
    let is_tag = !reference.contains(':');
    if is_tag && is_immutable(settings, reference) && backend.registry.manifest(repository, reference).await.is_some() {
        let message = format!(
            "The image tag '{reference}' already exists in the '{repository}' repository and cannot be overwritten because \
             the tag is immutable."
        );
        return refuse(400, "TAG_INVALID", &message);
    }
    let mut answer = forward(backend, parts, Body::from(bytes), fault).await;
    if answer.status() == StatusCode::CREATED {
        let digests = layers.iter().chain([&content["config"]]).filter_map(|blob| blob["digest"].as_str());
        backend.referenced.lock().unwrap().extend(digests.map(str::to_owned));
        if !is_tag {
            answer.headers_mut().remove(header::LOCATION);
        }
    }
    answer
}

/// Whether a tag must not move.
fn is_immutable(settings: &Value, tag: &str) -> bool {
    let filters = settings["imageTagMutabilityExclusionFilters"].as_array().map(Vec::as_slice).unwrap_or_default();
    let excluded = filters.iter().any(|filter| matches_pattern(filter["filter"].as_str().unwrap(), tag));
    match settings["imageTagMutability"].as_str().unwrap() {
        "IMMUTABLE" => true,
        "IMMUTABLE_WITH_EXCLUSION" => !excluded,
        "MUTABLE_WITH_EXCLUSION" => excluded,
        _ => false,
    }
}

/// Whether a pattern with `*` matches a tag.
fn matches_pattern(pattern: &str, tag: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == tag,
        Some((start, rest)) => tag.strip_prefix(start).is_some_and(|tag| {
            (0..=tag.len()).any(|skipped| tag.get(skipped..).is_some_and(|end| matches_pattern(rest, end)))
        }),
    }
}

#[test]
fn patterns_match_tags() {
    for (pattern, tag, expected) in
        [("latest", "latest", true), ("dev-*", "dev-1", true), ("*-rc*", "1.2-rc3", true), ("dev-*", "prod-1", false)]
    {
        assert_eq!(matches_pattern(pattern, tag), expected, "{pattern} {tag}");
    }
}
