//! The AWS API: moto, with what it lacks.

use axum::{
    body::{Body, to_bytes},
    http::Response,
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use http::request::Parts;
use serde_json::{Value, json};

use super::{
    call::{Call, Refusal, error, respond},
    hosts::PUBLIC_ACCOUNT,
    moto::ACCOUNT,
    state::{AwsState, RegistryId},
};

/// Answers a call.
pub async fn answer(state: &AwsState, mut parts: Parts, body: Body) -> Response<Body> {
    let body = String::from_utf8(to_bytes(body, 1 << 20).await.unwrap().to_vec()).unwrap();
    let Some(call) = Call::read(&parts, &body, |key| state.account_of(key)) else {
        let message = "The security token included in the request is invalid.";
        let body = json!({ "__type": "UnrecognizedClientException", "message": message });
        return respond(400, "application/x-amz-json-1.1", body.to_string());
    };
    let refusal = state.record(&call);
    if let Some(Refusal::Late(late)) = refusal {
        tokio::time::sleep(late).await;
    }
    if let Some(answer) = refusal.and_then(|refusal| refusal.answer(&call)) {
        return answer;
    }
    if call.action == "ecr-public:GetAuthorizationToken" {
        return public_token(state, &call);
    }
    // By default moto uses the caller's account.
    parts.headers.insert(ACCOUNT, call.account.parse().unwrap());
    let answer = state.upstream.forward(parts, Body::from(body), None).await;
    match call.action.as_str() {
        "ecr:GetAuthorizationToken" => {
            let mut response = serde_json::from_str(&text(answer).await).unwrap();
            renew(state, &call, &mut response);
            respond(200, "application/x-amz-json-1.1", response.to_string())
        }
        "sts:AssumeRole" | "sts:AssumeRoleWithWebIdentity" => {
            let response = text(answer).await;
            let part = |name: &str| {
                let rest = response.split_once(&format!("<{name}>")).unwrap().1;
                rest.split_once('<').unwrap().0.to_owned()
            };
            let account = part("Arn").split(':').nth(4).unwrap().to_owned();
            state.add_key(&part("AccessKeyId"), &account, [part("SecretAccessKey"), part("SessionToken")]);
            respond(200, "text/xml", response)
        }
        _ => {
            state.clear_repository_cache();
            answer
        }
    }
}

async fn text(answer: Response<Body>) -> String {
    String::from_utf8(to_bytes(answer.into_body(), 1 << 20).await.unwrap().to_vec()).unwrap()
}

/// Replaces moto's tokens, which are all equal and expired in 2015, by valid ones.
fn renew(state: &AwsState, call: &Call, response: &mut Value) {
    for data in response["authorizationData"].as_array_mut().unwrap() {
        let endpoint = data["proxyEndpoint"].as_str().unwrap();
        let account = endpoint.trim_start_matches("https://").split('.').next().unwrap();
        let (token, expires) = state.tokens.issue(&RegistryId::new(account, &call.region).registry());
        data["authorizationToken"] = STANDARD.encode(format!("AWS:{token}")).into();
        data["expiresAt"] = expires.into();
    }
}

fn public_token(state: &AwsState, call: &Call) -> Response<Body> {
    if call.region != "us-east-1" {
        // The service exists only in this region.
        return error(call, 400, "InvalidSignature", "Credential should be scoped to a valid region.");
    }
    let (token, expires) = state.tokens.issue(PUBLIC_ACCOUNT);
    let token = STANDARD.encode(format!("AWS:{token}"));
    let body = json!({ "authorizationData": { "authorizationToken": token, "expiresAt": expires } });
    respond(200, "application/x-amz-json-1.1", body.to_string())
}
