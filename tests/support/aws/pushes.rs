//! How ECR takes a manifest.

use axum::{
    body::{Body, to_bytes},
    http::Response,
};
use http::{StatusCode, header, request::Parts};
use serde_json::Value;

use super::{
    super::{proxy::refuse, traffic::Fault},
    cloud::Backing,
    data_plane::forward,
};

/// The bytes that a manifest may have.
const MAX_MANIFEST: usize = 4_194_304;
/// The bytes that a layer may have: 52,000 MiB.
pub const MAX_LAYER: u64 = 52_000 << 20;

/// Takes a manifest, or says why not.
pub async fn manifest(
    backing: &Backing,
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
    if is_tag && is_immutable(settings, reference) && backing.registry.manifest(repository, reference).await.is_some() {
        let message = format!(
            "The image tag '{reference}' already exists in the '{repository}' repository and cannot be overwritten because \
             the tag is immutable."
        );
        return refuse(400, "TAG_INVALID", &message);
    }
    let mut answer = forward(backing, parts, Body::from(bytes), fault).await;
    if answer.status() == StatusCode::CREATED {
        let digests = layers.iter().chain([&content["config"]]).filter_map(|blob| blob["digest"].as_str());
        backing.referenced.lock().unwrap().extend(digests.map(str::to_owned));
        if !is_tag {
            answer.headers_mut().remove(header::LOCATION);
        }
    }
    answer
}

/// Whether a tag of a repository stays where it is.
fn is_immutable(settings: &Value, tag: &str) -> bool {
    let filters = settings["imageTagMutabilityExclusionFilters"].as_array().map(Vec::as_slice).unwrap_or_default();
    let excluded = filters.iter().any(|filter| fits(filter["filter"].as_str().unwrap(), tag));
    match settings["imageTagMutability"].as_str().unwrap() {
        "IMMUTABLE" => true,
        "IMMUTABLE_WITH_EXCLUSION" => !excluded,
        "MUTABLE_WITH_EXCLUSION" => excluded,
        _ => false,
    }
}

/// Whether a pattern, in which `*` is any text, is that of a tag.
fn fits(pattern: &str, tag: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == tag,
        Some((start, rest)) => tag
            .strip_prefix(start)
            .is_some_and(|tag| (0..=tag.len()).any(|skipped| tag.get(skipped..).is_some_and(|end| fits(rest, end)))),
    }
}

#[test]
fn patterns_match_tags() {
    for (pattern, tag, expected) in
        [("latest", "latest", true), ("dev-*", "dev-1", true), ("*-rc*", "1.2-rc3", true), ("dev-*", "prod-1", false)]
    {
        assert_eq!(fits(pattern, tag), expected, "{pattern} {tag}");
    }
}
