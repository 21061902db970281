//! A stand-in for AWS: moto for the API, and registries that behave like ECR's, by their real names.

mod agents;
mod api;
mod call;
mod cloud;
mod data_plane;
mod hosts;
mod moto;
mod public;
mod pushes;
mod registries;
mod smoke;
mod tokens;
mod tunnel;

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
    background::Serving,
    certificates::Authority,
    program::Program,
    proxy::respond,
    traffic::{Fault, Request},
};
use cloud::{Cloud, Place, SECRET_KEY};
use hosts::{Host, PUBLIC_ACCOUNT};
use moto::Moto;

pub use call::{Call, Refusal};
pub use moto::new_account;
pub use registries::Ecr;

/// AWS, as one test sees it.
pub struct Aws {
    cloud: Arc<Cloud>,
    api: Serving,
    tunnel: Serving,
    directory: TempDir,
}

impl Aws {
    /// With an account of its own, the caller's.
    pub async fn start() -> Self {
        let cloud = Arc::new(Cloud::new(Moto::shared().await));
        let authority = Authority::new();
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join("ca.pem"), authority.pem()).unwrap();
        let api = Serving::start(Router::new().fallback(api).with_state(Arc::clone(&cloud)));
        let router = Router::new().fallback(any).with_state(Arc::clone(&cloud));
        let tunnel = tunnel::start(authority, |host| Host::parse(host).is_some(), router);
        Self { cloud, api, tunnel, directory }
    }

    /// The caller's account.
    pub fn account(&self) -> &str {
        &self.cloud.account
    }

    /// The caller's access key, and the secret that goes with it.
    pub fn key(&self) -> (&str, &str) {
        (&self.cloud.key, SECRET_KEY)
    }

    /// The registry of an account in a region.
    pub async fn registry(&self, account: &str, region: &str) -> Ecr {
        let place = Place::new(account, region);
        Ecr::new(Arc::clone(&self.cloud), self.cloud.backing(&place).await, place)
    }

    /// The public gallery.
    pub async fn gallery(&self) -> Ecr {
        self.registry(PUBLIC_ACCOUNT, "us-east-1").await
    }

    /// The calls of its API since the last call of this.
    pub fn take_calls(&self) -> Vec<Call> {
        self.cloud.take_calls()
    }

    /// The requests to its registries, and to where these keep blobs, since the last call.
    pub fn take_requests(&self) -> Vec<Request> {
        self.cloud.traffic.take_requests()
    }

    /// Refuses the next `times` calls of an action, as `ecr:CreateRepository`.
    pub fn refuse(&self, times: usize, action: &str, refusal: Refusal) {
        self.cloud.refuse(times, action, refusal);
    }

    /// Lets the next `times` requests to registries that `matches` accepts go wrong.
    pub fn inject(&self, times: usize, matches: impl Fn(&Request) -> bool + Send + 'static, fault: Fault) {
        self.cloud.traffic.inject(times, matches, fault);
    }

    /// Answers the next `times` requests to registries that `matches` accepts as ECR does when there are too many.
    pub fn throttle(&self, times: usize, matches: impl Fn(&Request) -> bool + Send + 'static) {
        self.inject(times, matches, Fault::Refuse(429, "TOOMANYREQUESTS", "Rate exceeded".to_owned()));
    }

    /// Takes all refusals and faults back.
    pub fn heal(&self) {
        self.cloud.heal();
    }

    /// Lets the tokens that will be handed out hold this long.
    pub fn set_token_life(&self, life: Duration) {
        self.cloud.tokens.set_life(life);
    }

    /// Lets all tokens that were handed out end before their time.
    pub fn expire_tokens(&self) {
        self.cloud.tokens.expire();
    }

    /// Lets them end with the next request to a registry that `matches` accepts.
    pub fn expire_tokens_at(&self, matches: impl Fn(&Request) -> bool + Send + 'static) {
        let (cloud, done) = (Arc::downgrade(&self.cloud), AtomicBool::default());
        let effect = move |request: &Request| {
            if !done.load(Ordering::Relaxed) && matches(request) {
                done.store(true, Ordering::Relaxed);
                cloud.upgrade().unwrap().tokens.expire();
            }
            false
        };
        self.inject(1, effect, Fault::Answer(500, vec![]));
    }

    /// Refuses an expired token with 401 rather than 403.
    pub fn answer_401_when_expired(&self) {
        self.cloud.expired.store(401, Ordering::Relaxed);
    }

    /// The secret that a text tells, if it tells one.
    pub fn secret_in(&self, text: &str) -> Option<String> {
        let told = |secret: &String| text.contains(secret) || text.contains(&STANDARD.encode(format!("AWS:{secret}")));
        self.cloud.secrets().into_iter().find(told)
    }

    /// The certificate of the authority that vouches for its hosts.
    pub fn authority(&self) -> PathBuf {
        self.directory.path().join("ca.pem")
    }

    /// Where its hosts can be reached.
    pub fn proxy(&self) -> String {
        format!("http://{}", self.tunnel.host())
    }

    /// Where its API can be reached without that.
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.api.host())
    }
}

impl Program {
    /// In a network that has AWS, with credentials.
    pub fn aws(self, aws: &Aws) -> Self {
        let (key, secret) = aws.key();
        self.aws_anonymous(aws).env("AWS_ACCESS_KEY_ID", key).env("AWS_SECRET_ACCESS_KEY", secret)
    }

    /// In a network that has AWS, without credentials.
    pub fn aws_anonymous(self, aws: &Aws) -> Self {
        self.env("AWS_ENDPOINT_URL", aws.endpoint())
            .env("AWS_EC2_METADATA_DISABLED", "true")
            .env("HTTPS_PROXY", aws.proxy())
            .env("NO_PROXY", "127.0.0.1,localhost")
            .env("SSL_CERT_FILE", aws.authority())
    }
}

async fn api(State(cloud): State<Arc<Cloud>>, request: axum::extract::Request) -> Response<Body> {
    let (parts, body) = request.into_parts();
    if let Some(answer) = agents::answer(&cloud, &parts) {
        return answer;
    }
    api::answer(&cloud, parts, body).await
}

async fn any(State(cloud): State<Arc<Cloud>>, request: axum::extract::Request) -> Response<Body> {
    let (parts, body) = request.into_parts();
    let host = Host::parse(parts.headers[header::HOST].to_str().unwrap());
    if host == Some(Host::Api) {
        return api::answer(&cloud, parts, body).await;
    }
    let fault = match cloud.traffic.note(Request::new(&parts)) {
        // Whoever asks.
        Some(fault @ (Fault::Answer(..) | Fault::Refuse(..))) => {
            return cloud.upstream.forward(parts, body, Some(fault)).await;
        }
        fault => fault,
    };
    match host {
        Some(Host::Registry(account, region)) => {
            data_plane::answer(&cloud, &Place { account, region }, parts, body, fault).await
        }
        Some(Host::Layers) => data_plane::layer(&cloud, parts, body, fault).await,
        Some(Host::Public) => public::answer(&cloud, parts, body, fault).await,
        _ => respond(404, &[]),
    }
}
