//! Google Cloud.

use axum::{body::Body, http::Response};
use http::request::Parts;
use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use rcgen::PublicKeyData as _;
use serde_json::{Value, json};

use super::{
    super::proxy::{refuse, respond},
    CloudState, Form, answer, basic, bearer, challenge, forward, is_post, oauth_error, query,
};

/// The services that issue tokens.
pub const HOSTS: [&str; 3] = ["oauth2.googleapis.com", "sts.googleapis.com", "iamcredentials.googleapis.com"];

/// The identities in files.
pub const SERVICE_ACCOUNT: &str = "mirror@acme.iam.gserviceaccount.com";
pub const AUDIENCE: &str =
    "//iam.googleapis.com/projects/1/locations/global/workloadIdentityPools/pool/providers/cluster";
pub const SUBJECT_TOKEN: &str = "a-token-of-kubernetes";
pub const REFRESH_TOKEN: &str = "a-refresh-token-of-the-user";
pub const CLIENT_SECRET: &str = "a-client-secret";

/// For what a token is good.
const ACCESS: &str = "ya29";
/// Of an identity that may only act as the service account.
const FEDERATED: &str = "federated";
const BEARER: &str = "registry";
const SCOPE: &str = "https://www.googleapis.com/auth/cloud-platform";

/// The metadata server of GKE or of a machine.
pub(super) fn metadata(state: &CloudState, parts: &Parts) -> Response<Body> {
    if parts.headers.get("metadata-flavor").is_none_or(|flavor| flavor != "Google") {
        return respond(403, &[]);
    }
    let mut response = match parts.uri.path() {
        "/computeMetadata/v1/instance/service-accounts/default/token" => token(state, ACCESS),
        _ => respond(404, &[]),
    };
    response.headers_mut().insert("metadata-flavor", "Google".parse().unwrap());
    response
}

fn token(state: &CloudState, kind: &str) -> Response<Body> {
    let token = json!({ "access_token": state.issue(kind), "expires_in": state.lifetime(), "token_type": "Bearer" });
    answer(200, &token)
}

/// The services that issue tokens.
pub(super) fn service(state: &CloudState, host: &str, parts: &Parts, body: &[u8]) -> Response<Body> {
    match (host, parts.uri.path()) {
        ("oauth2.googleapis.com", "/token") if is_post(parts) => user_or_service_account(state, &Form::parse(body)),
        ("sts.googleapis.com", "/v1/token") if is_post(parts) => exchange(state, &Form::parse(body)),
        ("iamcredentials.googleapis.com", path)
            if path == format!("/v1/projects/-/serviceAccounts/{SERVICE_ACCOUNT}:generateAccessToken") =>
        {
            impersonate(state, parts, body)
        }
        _ => respond(404, &[]),
    }
}

fn user_or_service_account(state: &CloudState, form: &Form) -> Response<Body> {
    match form.get("grant_type") {
        Some("refresh_token") => {
            let is_known = form.is(&[
                ("grant_type", "refresh_token"),
                ("client_id", "a-client"),
                ("client_secret", CLIENT_SECRET),
                ("refresh_token", REFRESH_TOKEN),
            ]);
            if is_known { token(state, ACCESS) } else { oauth_error(400, "invalid_grant", "Bad Request") }
        }
        Some("urn:ietf:params:oauth:grant-type:jwt-bearer") => {
            let mut validation = Validation::new(Algorithm::RS256);
            validation.set_audience(&["https://oauth2.googleapis.com/token"]);
            validation.set_issuer(&[SERVICE_ACCOUNT]);
            validation.set_required_spec_claims(&["aud", "exp", "iss"]);
            let key = DecodingKey::from_rsa_der(state.key.der_bytes());
            let claims = jsonwebtoken::decode::<Value>(form.get("assertion").unwrap_or_default(), &key, &validation);
            match claims {
                Ok(data) if data.claims["scope"] == SCOPE && data.header.kid.as_deref() == Some("key-1") => {
                    token(state, ACCESS)
                }
                other => oauth_error(400, "invalid_grant", &format!("Invalid JWT: {other:?}")),
            }
        }
        _ => oauth_error(400, "unsupported_grant_type", "Invalid grant_type"),
    }
}

/// Workload identity federation.
fn exchange(state: &CloudState, form: &Form) -> Response<Body> {
    let access_token = "urn:ietf:params:oauth:token-type:access_token";
    let fields = [
        ("grant_type", "urn:ietf:params:oauth:grant-type:token-exchange"),
        ("audience", AUDIENCE),
        ("scope", SCOPE),
        ("requested_token_type", access_token),
        ("subject_token_type", "urn:ietf:params:oauth:token-type:jwt"),
        ("subject_token", SUBJECT_TOKEN),
    ];
    if !form.is(&fields) {
        return oauth_error(400, "invalid_grant", "The audience in ID Token does not match the expected audience.");
    }
    let token = state.issue(FEDERATED);
    answer(
        200,
        &json!({ "access_token": token, "issued_token_type": access_token, "token_type": "Bearer", "expires_in": 3600 }),
    )
}

fn impersonate(state: &CloudState, parts: &Parts, body: &[u8]) -> Response<Body> {
    let is_identity =
        bearer(parts).is_some_and(|token| state.is_valid(FEDERATED, token) || state.is_valid(ACCESS, token));
    let request: Value = serde_json::from_slice(body).unwrap_or_default();
    if !is_identity || request != json!({ "scope": [SCOPE] }) {
        let error = json!({ "code": 403, "message": "Permission 'iam.serviceAccounts.getAccessToken' denied" });
        return answer(403, &json!({ "error": error }));
    }
    answer(200, &json!({ "accessToken": state.issue(ACCESS), "expireTime": "2099-01-01T00:00:00Z" }))
}

/// Artifact Registry: repositories below `public/` need no login.
pub(super) async fn registry(state: &CloudState, host: &str, parts: Parts, body: Body) -> Response<Body> {
    if parts.uri.path() == "/v2/token" {
        return registry_token(state, &parts);
    }
    match bearer(&parts) {
        Some(token) if state.is_valid(BEARER, token) => forward(state, parts, body).await,
        _ => challenge(&format!("https://{host}/v2/token"), host),
    }
}

fn registry_token(state: &CloudState, parts: &Parts) -> Response<Body> {
    let scope = query(parts).get("scope").unwrap_or_default().to_owned();
    let is_allowed = match basic(parts) {
        Some((user, password)) if user == "oauth2accesstoken" && state.is_valid(ACCESS, &password) => true,
        Some(_) => return refuse(401, "UNAUTHORIZED", "The provided credentials are invalid."),
        None => scope.is_empty() || scope.starts_with("repository:public/"),
    };
    if !is_allowed {
        return refuse(403, "DENIED", "Unauthenticated request.");
    }
    answer(200, &json!({ "token": state.issue(BEARER), "expires_in": 3600 }))
}
