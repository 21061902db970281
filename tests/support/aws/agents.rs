//! Who gives Pods and nodes their credentials: EKS's agent, and EC2's instance metadata in version 2.

use axum::{body::Body, http::Response};
use http::{Method, request::Parts};
use serde_json::json;

use super::{
    call::respond,
    cloud::{Cloud, SECRET_KEY},
};

/// What instance metadata is asked with.
const SESSION: &str = "a-session-of-instance-metadata";

/// The answer to a request that is for neither of the services.
pub fn answer(cloud: &Cloud, parts: &Parts) -> Option<Response<Body>> {
    let text = |status, body: &str| Some(respond(status, "text/plain", body.to_owned()));
    let shows = |header: &str| parts.headers.get(header).is_some();
    match parts.uri.path() {
        "/v1/credentials" if shows("authorization") => Some(credentials(cloud)),
        "/latest/api/token" if parts.method == Method::PUT => {
            let mut answer = respond(200, "text/plain", SESSION.to_owned());
            answer.headers_mut().insert("x-aws-ec2-metadata-token-ttl-seconds", 21600.into());
            Some(answer)
        }
        path if path.starts_with("/latest/") || path.starts_with("/v1/") => {
            let known = parts.headers.get("x-aws-ec2-metadata-token").is_some_and(|token| token == SESSION);
            let part = path.trim_end_matches('/').rsplit('/').next();
            match part {
                _ if !known => text(401, "no token"),
                Some("security-credentials" | "security-credentials-extended") => text(200, "node"),
                Some("node") => Some(credentials(cloud)),
                _ => text(404, "not here"),
            }
        }
        _ => None,
    }
}

/// The caller's own.
fn credentials(cloud: &Cloud) -> Response<Body> {
    let body = json!({
        "Code": "Success",
        "Type": "AWS-HMAC",
        "AccountId": cloud.account,
        "AccessKeyId": cloud.key,
        "SecretAccessKey": SECRET_KEY,
        "Token": "a-session",
        "LastUpdated": "2020-01-01T00:00:00Z",
        "Expiration": "2099-01-01T00:00:00Z",
    });
    respond(200, "application/json", body.to_string())
}
