//! The sources of credentials of Pods and nodes: the EKS Pod Identity agent, and EC2 instance metadata (version 2).

use axum::{body::Body, http::Response};
use http::{Method, request::Parts};
use serde_json::json;

use super::{
    call::respond,
    state::{AwsState, SECRET_KEY},
};

/// The session token of instance metadata.
const SESSION: &str = "a-session-of-instance-metadata";

/// The response to a credential request; none for other requests.
pub fn answer(state: &AwsState, parts: &Parts) -> Option<Response<Body>> {
    let text = |status, body: &str| Some(respond(status, "text/plain", body.to_owned()));
    let has = |header: &str| parts.headers.get(header).is_some();
    match parts.uri.path() {
        "/v1/credentials" if has("authorization") => Some(credentials(state)),
        "/latest/api/token" if parts.method == Method::PUT => {
            let mut answer = respond(200, "text/plain", SESSION.to_owned());
            answer.headers_mut().insert("x-aws-ec2-metadata-token-ttl-seconds", 21600.into());
            Some(answer)
        }
        path if path.starts_with("/latest/") || path.starts_with("/v1/") => {
            let has_session = parts.headers.get("x-aws-ec2-metadata-token").is_some_and(|token| token == SESSION);
            let part = path.trim_end_matches('/').rsplit('/').next();
            match part {
                _ if !has_session => text(401, "no token"),
                Some("security-credentials" | "security-credentials-extended") => text(200, "node"),
                Some("node") => Some(credentials(state)),
                _ => text(404, "not here"),
            }
        }
        _ => None,
    }
}

fn credentials(state: &AwsState) -> Response<Body> {
    let body = json!({
        "Code": "Success",
        "Type": "AWS-HMAC",
        "AccountId": state.account,
        "AccessKeyId": state.key,
        "SecretAccessKey": SECRET_KEY,
        "Token": "a-session",
        "LastUpdated": "2020-01-01T00:00:00Z",
        "Expiration": "2099-01-01T00:00:00Z",
    });
    respond(200, "application/json", body.to_string())
}
