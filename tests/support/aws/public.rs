//! The public gallery.

use axum::{body::Body, http::Response};
use http::{header, request::Parts};
use serde_json::json;

use super::{
    super::{
        proxy::{refuse, respond},
        traffic::Fault,
    },
    call,
    data_plane::{basic, forward, redirect, split},
    hosts::PUBLIC_ACCOUNT,
    state::{AwsState, RegistryId},
    tokens::TokenStatus,
};

/// The audience of bearer tokens.
const BEARER: &str = "public bearer";
const CHALLENGE: &str = "Bearer realm=\"https://public.ecr.aws/token/\",service=\"public.ecr.aws\",scope=\"aws\"";

/// Answers a request.
pub async fn answer(state: &AwsState, parts: Parts, body: Body, fault: Option<Fault>) -> Response<Body> {
    if parts.uri.path() == "/token/" {
        return token(state, &parts);
    }
    let authorization = parts.headers.get(header::AUTHORIZATION).map(|value| value.to_str().unwrap());
    let Some(bearer) = authorization.and_then(|authorization| authorization.strip_prefix("Bearer ")) else {
        return respond(401, &[("www-authenticate", CHALLENGE)]);
    };
    match state.tokens.status(bearer, BEARER) {
        TokenStatus::Valid => {}
        // Without a challenge, like the real gallery.
        TokenStatus::Expired => {
            return refuse(400, "DENIED", "Your Authorization Token has expired. Please reauthenticate.");
        }
        TokenStatus::Invalid => return refuse(403, "DENIED", "Your Authorization Token is invalid."),
    }
    let registry_id = RegistryId::new(PUBLIC_ACCOUNT, "us-east-1");
    let backend = state.backend(&registry_id).await;
    match (parts.method.as_str(), split(parts.uri.path())) {
        ("GET", Some((repository, kind, digest))) if kind == "blobs" => {
            redirect(&backend, &registry_id, &repository, &digest).await
        }
        ("GET" | "HEAD", _) => forward(&backend, parts, body, fault).await,
        _ => refuse(403, "DENIED", "The gallery is for reading."),
    }
}

/// Issues a bearer token.
fn token(state: &AwsState, parts: &Parts) -> Response<Body> {
    if parts.headers.contains_key(header::AUTHORIZATION) {
        let status = basic(parts).map(|token| state.tokens.status(&token, PUBLIC_ACCOUNT));
        if status != Some(TokenStatus::Valid) {
            return refuse(403, "DENIED", "Your Authorization Token is invalid.");
        }
    }
    let (token, _) = state.tokens.issue(BEARER);
    call::respond(200, "application/json", json!({ "token": token }).to_string())
}
