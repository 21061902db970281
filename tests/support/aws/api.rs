//! AWS's API: moto, with what it lacks.

use axum::{
    body::{Body, to_bytes},
    http::Response,
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use http::request::Parts;
use serde_json::{Value, json};

use super::{
    call::{Call, Refusal, error, respond},
    cloud::{Cloud, Place},
    hosts::PUBLIC_ACCOUNT,
    moto::ACCOUNT,
};

/// Answers a call.
pub async fn answer(cloud: &Cloud, mut parts: Parts, body: Body) -> Response<Body> {
    let body = String::from_utf8(to_bytes(body, 1 << 20).await.unwrap().to_vec()).unwrap();
    let Some(call) = Call::read(&parts, &body, |key| cloud.account_of(key)) else {
        let message = "The security token included in the request is invalid.";
        let body = json!({ "__type": "UnrecognizedClientException", "message": message });
        return respond(400, "application/x-amz-json-1.1", body.to_string());
    };
    let refusal = cloud.note(&call);
    if let Some(Refusal::Late(late)) = refusal {
        tokio::time::sleep(late).await;
    }
    if let Some(answer) = refusal.and_then(|refusal| refusal.answer(&call)) {
        return answer;
    }
    if call.action == "ecr-public:GetAuthorizationToken" {
        return public_token(cloud, &call);
    }
    // Moto would take the caller's account for all.
    parts.headers.insert(ACCOUNT, call.account.parse().unwrap());
    let answer = cloud.upstream.forward(parts, Body::from(body), None).await;
    match call.action.as_str() {
        "ecr:GetAuthorizationToken" => {
            let mut said = serde_json::from_str(&text(answer).await).unwrap();
            renew(cloud, &call, &mut said);
            respond(200, "application/x-amz-json-1.1", said.to_string())
        }
        "sts:AssumeRole" | "sts:AssumeRoleWithWebIdentity" => {
            let said = text(answer).await;
            let part = |name: &str| {
                let rest = said.split_once(&format!("<{name}>")).unwrap().1;
                rest.split_once('<').unwrap().0.to_owned()
            };
            let account = part("Arn").split(':').nth(4).unwrap().to_owned();
            cloud.add_key(&part("AccessKeyId"), &account, [part("SecretAccessKey"), part("SessionToken")]);
            respond(200, "text/xml", said)
        }
        _ => {
            cloud.forget_repositories();
            answer
        }
    }
}

async fn text(answer: Response<Body>) -> String {
    String::from_utf8(to_bytes(answer.into_body(), 1 << 20).await.unwrap().to_vec()).unwrap()
}

/// Puts tokens that end in the future in the place of moto's, which are all alike and ended in 2015.
fn renew(cloud: &Cloud, call: &Call, said: &mut Value) {
    for data in said["authorizationData"].as_array_mut().unwrap() {
        let endpoint = data["proxyEndpoint"].as_str().unwrap();
        let account = endpoint.trim_start_matches("https://").split('.').next().unwrap();
        let (token, expires) = cloud.tokens.issue(&Place::new(account, &call.region).registry());
        data["authorizationToken"] = STANDARD.encode(format!("AWS:{token}")).into();
        data["expiresAt"] = expires.into();
    }
}

fn public_token(cloud: &Cloud, call: &Call) -> Response<Body> {
    if call.region != "us-east-1" {
        // The service is in that region alone.
        return error(call, 400, "InvalidSignature", "Credential should be scoped to a valid region.");
    }
    let (token, expires) = cloud.tokens.issue(PUBLIC_ACCOUNT);
    let token = STANDARD.encode(format!("AWS:{token}"));
    let body = json!({ "authorizationData": { "authorizationToken": token, "expiresAt": expires } });
    respond(200, "application/x-amz-json-1.1", body.to_string())
}
