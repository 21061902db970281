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
    cloud::{Cloud, Place},
    data_plane::{basic, forward, redirect, split},
    hosts::PUBLIC_ACCOUNT,
    tokens::Standing,
};

/// What bearer tokens are issued for.
const BEARER: &str = "public bearer";
const CHALLENGE: &str = "Bearer realm=\"https://public.ecr.aws/token/\",service=\"public.ecr.aws\",scope=\"aws\"";

/// Answers a request.
pub async fn answer(cloud: &Cloud, parts: Parts, body: Body, fault: Option<Fault>) -> Response<Body> {
    if parts.uri.path() == "/token/" {
        return token(cloud, &parts);
    }
    let authorization = parts.headers.get(header::AUTHORIZATION).map(|value| value.to_str().unwrap());
    let Some(bearer) = authorization.and_then(|authorization| authorization.strip_prefix("Bearer ")) else {
        return respond(401, &[("www-authenticate", CHALLENGE)]);
    };
    match cloud.tokens.standing(bearer, BEARER) {
        Standing::Live => {}
        // Nothing tells that another token is wanted.
        Standing::Expired => {
            return refuse(400, "DENIED", "Your Authorization Token has expired. Please reauthenticate.");
        }
        Standing::Foreign => return refuse(403, "DENIED", "Your Authorization Token is invalid."),
    }
    let place = Place::new(PUBLIC_ACCOUNT, "us-east-1");
    let backing = cloud.backing(&place).await;
    match (parts.method.as_str(), split(parts.uri.path())) {
        ("GET", Some((repository, kind, digest))) if kind == "blobs" => {
            redirect(&backing, &place, &repository, &digest).await
        }
        ("GET" | "HEAD", _) => forward(&backing, parts, body, fault).await,
        _ => refuse(403, "DENIED", "The gallery is for reading."),
    }
}

/// A bearer token, for whoever asks.
fn token(cloud: &Cloud, parts: &Parts) -> Response<Body> {
    if parts.headers.contains_key(header::AUTHORIZATION) {
        let standing = basic(parts).map(|token| cloud.tokens.standing(&token, PUBLIC_ACCOUNT));
        if standing != Some(Standing::Live) {
            return refuse(403, "DENIED", "Your Authorization Token is invalid.");
        }
    }
    let (token, _) = cloud.tokens.issue(BEARER);
    call::respond(200, "application/json", json!({ "token": token }).to_string())
}
