//! Azure.

use std::sync::atomic::Ordering;

use axum::{body::Body, http::Response};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use http::request::Parts;
use serde_json::json;

use super::{
    super::proxy::{refuse, respond},
    AZURE, CloudState, Form, answer, bearer, challenge, form, forward, is_post, oauth_error, query,
};

/// Microsoft Entra ID.
pub const AUTHORITY: &str = "login.microsoftonline.com";

pub const TENANT: &str = "11111111-1111-1111-1111-111111111111";
pub const CLIENT: &str = "22222222-2222-2222-2222-222222222222";
pub const FEDERATED_TOKEN: &str = "a-token-of-kubernetes";
pub const SECRET: &str = "a-secret-of-the-application";

/// For what a token is good.
const ENTRA: &str = "entra";
const REFRESH: &str = "refresh";
const BEARER: &str = "registry";
const RESOURCE: &str = "https://containerregistry.azure.net";

/// Microsoft Entra ID, version 2.0.
pub(super) fn authority(state: &CloudState, parts: &Parts, form: &Form) -> Response<Body> {
    if parts.uri.path() != format!("/{TENANT}/oauth2/v2.0/token") || !is_post(parts) {
        return oauth_error(400, "invalid_request", "AADSTS90002: Tenant not found.");
    }
    let scope = format!("{RESOURCE}/.default");
    let common = [("grant_type", "client_credentials"), ("scope", scope.as_str()), ("client_id", CLIENT)];
    let with = |more: &[(&str, &str)]| form.is(&[&common, more].concat());
    let assertion_type = ("client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:jwt-bearer");
    if with(&[assertion_type, ("client_assertion", FEDERATED_TOKEN)]) || with(&[("client_secret", SECRET)]) {
        return answer(
            200,
            &json!({ "token_type": "Bearer", "expires_in": state.lifetime(), "access_token": jwt(state) }),
        );
    }
    oauth_error(401, "invalid_client", "AADSTS700213: No matching federated identity record found.")
}

/// The instance metadata service.
pub(super) fn metadata(state: &CloudState, parts: &Parts) -> Response<Body> {
    let has_header = parts.headers.get("metadata").is_some_and(|value| value == "true");
    let query = query(parts);
    if !has_header || query.get("api-version") != Some("2018-02-01") || query.get("resource") != Some(RESOURCE) {
        return oauth_error(400, "invalid_request", "Required metadata header not specified");
    }
    if query.get("client_id").is_some_and(|client| client != CLIENT) {
        return oauth_error(400, "invalid_request", "Identity not found");
    }
    // Numbers are texts there.
    let token = json!({
        "access_token": jwt(state),
        "client_id": CLIENT,
        "expires_in": state.lifetime().to_string(),
        "expires_on": "4070908800",
        "resource": RESOURCE,
        "token_type": "Bearer",
    });
    answer(200, &token)
}

/// A token that names its tenant.
fn jwt(state: &CloudState) -> String {
    let part = |json: serde_json::Value| URL_SAFE_NO_PAD.encode(json.to_string());
    let signature = state.issue(ENTRA);
    format!(
        "{}.{}.{signature}",
        part(json!({ "typ": "JWT" })),
        part(json!({ "tid": TENANT, "exp": 4_070_908_800_u64 }))
    )
}

/// A registry that allows anonymous pulls from nowhere.
pub(super) async fn registry(state: &CloudState, parts: Parts, body: Body) -> Response<Body> {
    match parts.uri.path() {
        "/oauth2/exchange" if is_post(&parts) => exchange(state, &form(body).await),
        "/oauth2/token" if is_post(&parts) => token(state, &form(body).await),
        "/oauth2/token" => {
            refuse(401, "UNAUTHORIZED", "authentication required, visit https://aka.ms/acr/authorization")
        }
        path if path.starts_with("/v2/") => match bearer(&parts) {
            Some(token) if state.is_valid(BEARER, token) => forward(state, parts, body).await,
            _ => challenge(&format!("https://{AZURE}/oauth2/token"), AZURE),
        },
        _ => respond(404, &[]),
    }
}

fn exchange(state: &CloudState, form: &Form) -> Response<Body> {
    let token = form.get("access_token").unwrap_or_default();
    let signature = token.rsplit('.').next().unwrap_or_default();
    let fields = [("grant_type", "access_token"), ("service", AZURE), ("tenant", TENANT), ("access_token", token)];
    if !form.is(&fields) || !state.is_valid(ENTRA, signature) {
        return refuse(401, "UNAUTHORIZED", "The token is invalid.");
    }
    let token = state.issue(REFRESH);
    if state.revokes_next.swap(false, Ordering::SeqCst) {
        state.secrets.lock().unwrap().retain(|secret| *secret != token);
    }
    answer(200, &json!({ "refresh_token": token }))
}

fn token(state: &CloudState, form: &Form) -> Response<Body> {
    let is_valid = form.get("grant_type") == Some("refresh_token")
        && form.get("service") == Some(AZURE)
        && form.get("refresh_token").is_some_and(|token| state.is_valid(REFRESH, token));
    if !is_valid {
        return refuse(401, "UNAUTHORIZED", "authentication required");
    }
    if form.get("scope").is_some_and(|scope| scope.starts_with("repository:forbidden/")) {
        return refuse(403, "DENIED", "The identity has no permission for this repository.");
    }
    answer(200, &json!({ "access_token": state.issue(BEARER) }))
}
