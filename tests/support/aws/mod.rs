//! A simulated AWS: moto for the API, and registries that behave like ECR, with their real host names.

mod api;
mod call;
mod credential_endpoints;
mod data_plane;
mod ecr;
mod hosts;
mod manifest_put;
mod moto;
mod public;
mod smoke;
mod state;
mod tokens;
pub mod tunnel;

use std::{
    fs,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use axum::{Router, body::Body, extract::State, http::Response};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use http::header;
use tempfile::TempDir;

use super::{
    background::BackgroundServer,
    certificates::Authority,
    program::Program,
    proxy::respond,
    traffic::{Fault, Request},
};
use hosts::{Host, PUBLIC_ACCOUNT};
use moto::Moto;
use state::{AwsState, RegistryId, SECRET_KEY};

pub use call::{Call, Refusal};
pub use ecr::Ecr;
pub use moto::new_account;

/// A simulated AWS for one test.
pub struct Aws {
    state: Arc<AwsState>,
    api: BackgroundServer,
    tunnel: BackgroundServer,
    directory: TempDir,
}

impl Aws {
    /// With a new account, the caller's.
    pub async fn start() -> Self {
        let state = Arc::new(AwsState::new(Moto::shared().await));
        let authority = Authority::new();
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join("ca.pem"), authority.pem()).unwrap();
        let api = BackgroundServer::start(Router::new().fallback(api).with_state(Arc::clone(&state)));
        let router = Router::new().fallback(any).with_state(Arc::clone(&state));
        let tunnel = tunnel::start(authority, |host| Host::parse(host).is_some(), router);
        Self { state, api, tunnel, directory }
    }

    /// The caller's account.
    pub fn account(&self) -> &str {
        &self.state.account
    }

    /// The caller's access key and secret.
    pub fn key(&self) -> (&str, &str) {
        (&self.state.key, SECRET_KEY)
    }

    /// The registry of an account in a region.
    pub async fn registry(&self, account: &str, region: &str) -> Ecr {
        let registry_id = RegistryId::new(account, region);
        Ecr::new(Arc::clone(&self.state), self.state.backend(&registry_id).await, registry_id)
    }

    /// The public gallery.
    pub async fn gallery(&self) -> Ecr {
        self.registry(PUBLIC_ACCOUNT, "us-east-1").await
    }

    /// The API calls since the last call of this.
    pub fn take_calls(&self) -> Vec<Call> {
        self.state.take_calls()
    }

    /// The requests to registries and blob storage since the last call.
    pub fn take_requests(&self) -> Vec<Request> {
        self.state.traffic.take_requests()
    }

    /// Refuses the next `times` calls of an action such as `ecr:CreateRepository`.
    pub fn refuse(&self, times: usize, action: &str, refusal: Refusal) {
        self.state.refuse(times, action, refusal);
    }

    /// Injects a fault into the next `times` requests to registries for which `matches` holds.
    pub fn inject(&self, times: usize, matches: impl Fn(&Request) -> bool + Send + 'static, fault: Fault) {
        self.state.traffic.inject(times, matches, fault);
    }

    /// Throttles the next `times` requests to registries for which `matches` holds, like ECR.
    pub fn throttle(&self, times: usize, matches: impl Fn(&Request) -> bool + Send + 'static) {
        self.inject(times, matches, Fault::Refuse(429, "TOOMANYREQUESTS", "Rate exceeded".to_owned()));
    }

    /// Removes all refusals and faults.
    pub fn clear_faults(&self) {
        self.state.clear_faults();
    }

    /// Sets the lifetime of new tokens.
    pub fn set_token_lifetime(&self, lifetime: Duration) {
        self.state.tokens.set_lifetime(lifetime);
    }

    /// Expires all issued tokens.
    pub fn expire_tokens(&self) {
        self.state.tokens.expire();
    }

    /// Expires all issued tokens at the next request to a registry for which `matches` holds.
    pub fn expire_tokens_when(&self, matches: impl Fn(&Request) -> bool + Send + 'static) {
        let (state, done) = (Arc::downgrade(&self.state), AtomicBool::default());
        let expire = move |request: &Request| {
            if !done.load(Ordering::Relaxed) && matches(request) {
                done.store(true, Ordering::Relaxed);
                state.upgrade().unwrap().tokens.expire();
            }
            false
        };
        self.inject(1, expire, Fault::Answer(500, vec![]));
    }

    /// Answers expired tokens with 401 instead of 403.
    pub fn answer_401_when_expired(&self) {
        self.state.expired.store(401, Ordering::Relaxed);
    }

    /// A secret that `text` contains, if any.
    pub fn find_secret(&self, text: &str) -> Option<String> {
        let contains =
            |secret: &String| text.contains(secret) || text.contains(&STANDARD.encode(format!("AWS:{secret}")));
        self.state.secrets().into_iter().find(contains)
    }

    /// The certificate of the authority of all hosts.
    pub fn ca_file(&self) -> PathBuf {
        self.directory.path().join("ca.pem")
    }

    /// The proxy that leads to all hosts.
    pub fn proxy(&self) -> String {
        format!("http://{}", self.tunnel.host())
    }

    /// The API without the proxy.
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.api.host())
    }
}

impl Program {
    /// In a network with this AWS, with credentials.
    pub fn aws(self, aws: &Aws) -> Self {
        let (key, secret) = aws.key();
        self.aws_anonymous(aws).env("AWS_ACCESS_KEY_ID", key).env("AWS_SECRET_ACCESS_KEY", secret)
    }

    /// In a network with this AWS, without credentials.
    pub fn aws_anonymous(self, aws: &Aws) -> Self {
        self.env("AWS_ENDPOINT_URL", aws.endpoint())
            .env("AWS_EC2_METADATA_DISABLED", "true")
            .env("HTTPS_PROXY", aws.proxy())
            .env("NO_PROXY", "127.0.0.1,localhost")
            .env("SSL_CERT_FILE", aws.ca_file())
    }
}

async fn api(State(state): State<Arc<AwsState>>, request: axum::extract::Request) -> Response<Body> {
    let (parts, body) = request.into_parts();
    if let Some(answer) = credential_endpoints::answer(&state, &parts) {
        return answer;
    }
    api::answer(&state, parts, body).await
}

async fn any(State(state): State<Arc<AwsState>>, request: axum::extract::Request) -> Response<Body> {
    let (parts, body) = request.into_parts();
    let host = Host::parse(parts.headers[header::HOST].to_str().unwrap());
    if host == Some(Host::Api) {
        return api::answer(&state, parts, body).await;
    }
    let fault = match state.traffic.record(Request::new(&parts)) {
        // These apply without authentication.
        Some(fault @ (Fault::Answer(..) | Fault::Refuse(..))) => {
            return state.upstream.forward(parts, body, Some(fault)).await;
        }
        fault => fault,
    };
    match host {
        Some(Host::Registry(account, region)) => {
            data_plane::answer(&state, &RegistryId { account, region }, parts, body, fault).await
        }
        Some(Host::Layers) => data_plane::layer(&state, parts, body, fault).await,
        Some(Host::Public) => public::answer(&state, parts, body, fault).await,
        _ => respond(404, &[]),
    }
}
