//! Asks a registry, one step at a time, whether it can be used. Nothing stays there: an upload is begun and cancelled.

use std::net::IpAddr;

use http::{HeaderMap, HeaderValue, Method, StatusCode, header::ACCEPT};
use url::Host;

use super::{
    Repository,
    upload_session::{UploadSession, post_upload},
};
use crate::registry::{
    auth::{account::Account, scheme::RequestScheme},
    client::request::{Permit, Request, Target},
    fault::Fault,
    http::{
        headers::quota::Quota,
        request::{Payload, Scheme},
        response::Response,
    },
    manifest::{ACCEPTED, TagOrDigest},
    text::one_line,
};

/// The questions that a repository of a registry can be asked.
pub struct Probe {
    repository: Repository,
}

/// A question that was answered with a problem.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{problem}; {remedy}")]
pub struct ProbeError {
    /// What is wrong, on one line.
    pub problem: String,
    /// What to do about it, on one line.
    pub remedy: String,
}

/// Where a registry's name leads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Resolved {
    /// These addresses; at least one.
    Addresses(Vec<IpAddr>),
    /// The name is an address.
    Address,
    /// A proxy resolves it.
    ByProxy,
}

/// What became of a login.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LoginAnswer {
    /// The registry accepted it.
    Accepted,
    /// The registry asks for none, at least not to be reached.
    NotAsked,
}

/// What became of an upload that was begun and cancelled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PushAnswer {
    /// Nothing is left of it.
    Cancelled,
    /// The registry can't cancel uploads; the empty one expires there.
    Expires,
}

/// What a registry says about an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PullAnswer {
    /// Whether the image exists.
    pub exists: bool,
    /// The remaining pulls, if the registry tells.
    pub quota: Option<PullQuota>,
}

/// The remaining pulls of a registry's quota.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PullQuota {
    /// Images that may still be pulled.
    pub remaining: u64,
    /// The whole quota, if the registry tells.
    pub limit: Option<u64>,
}

impl Probe {
    pub(in crate::registry) fn new(repository: Repository) -> Self {
        Self { repository }
    }

    /// As whom the registry is accessed.
    pub fn account(&self) -> Account {
        self.repository.host.auth.account()
    }

    /// Resolves the registry's name.
    ///
    /// # Errors
    /// When it has no address.
    pub async fn resolve(&self) -> Result<Resolved, ProbeError> {
        let host = &self.repository.host;
        let wrong_name = |fault: Fault| error(&fault, "write host[:port][/path]");
        let url = host.url(Scheme::Https, "/", None).map_err(wrong_name)?;
        if self.repository.client.transport().is_proxied(&url) {
            return Ok(Resolved::ByProxy);
        }
        let Some(Host::Domain(name)) = url.host() else { return Ok(Resolved::Address) };
        let unknown = |cause: &str| ProbeError {
            problem: format!("the name {} does not resolve ({})", one_line(name), one_line(cause)),
            remedy: "correct the name, or the DNS that this machine uses".to_owned(),
        };
        let port = url.port_or_known_default().unwrap_or_default();
        let found = tokio::net::lookup_host((name, port)).await.map_err(|error| unknown(&error.to_string()))?;
        let mut addresses: Vec<IpAddr> = found.map(|address| address.ip()).collect();
        addresses.sort_unstable();
        addresses.dedup();
        if addresses.is_empty() { Err(unknown("no address")) } else { Ok(Resolved::Addresses(addresses)) }
    }

    /// Connects and asks for the registry's API, without credentials. Returns whether the connection uses TLS.
    ///
    /// # Errors
    /// When nothing can be reached, or what answers is no registry.
    pub async fn connect(&self) -> Result<bool, ProbeError> {
        let Repository { client, host, .. } = &self.repository;
        let reached = client.reach(host, base_request()).await;
        let response = reached.map_err(|fault| {
            error(&fault, "check the host name, the port and the network (firewall, NetworkPolicy)")
        })?;
        let status = response.status();
        if status.is_server_error() {
            let fault = self.repository.fault(response).await;
            return Err(error(&fault, "the registry itself fails: look at its own log"));
        }
        if status == StatusCode::NOT_FOUND || response.is_html_page() {
            return Err(ProbeError {
                problem: format!("{} responded to /v2/ with {status}, but not as a registry does", host.authority()),
                remedy: "check host and port: another server answers there".to_owned(),
            });
        }
        Ok(host.scheme() == Some(Scheme::Https))
    }

    /// Obtains credentials for the registry, where that takes a request to another server, as for Amazon ECR.
    ///
    /// # Errors
    /// When there are none.
    pub async fn authorize(&self) -> Result<(), ProbeError> {
        let Repository { client, host, .. } = &self.repository;
        let obtained = host.auth.authorization(client.shared_transport(), &[], &RequestScheme::default()).await;
        obtained.map(drop).map_err(|fault| error(&fault, "check the configured credentials"))
    }

    /// Logs in.
    ///
    /// # Errors
    /// When the credentials are not accepted, or can't be obtained.
    pub async fn log_in(&self) -> Result<LoginAnswer, ProbeError> {
        let Repository { client, host, .. } = &self.repository;
        let response = client.send(host, base_request()).await;
        let response = response.map_err(|fault| error(&fault, "check the configured credentials"))?;
        if response.status().is_client_error() {
            let fault = self.repository.fault(response).await;
            return Err(error(&fault, "check the configured credentials"));
        }
        Ok(if host.auth.is_asked_for_login() { LoginAnswer::Accepted } else { LoginAnswer::NotAsked })
    }

    /// Begins an upload and cancels it.
    ///
    /// # Errors
    /// When the registry accepts none.
    pub async fn begin_push(&self) -> Result<PushAnswer, ProbeError> {
        let repository = &self.repository;
        let response = post_upload(repository, None, &[repository.push_scope()], Permit::Acquire).await;
        let response = response.map_err(|fault| error(&fault, "check the network and the registry's own log"))?;
        let status = response.status();
        if status != StatusCode::ACCEPTED {
            return Err(self.push_error(status, response).await);
        }
        let location = repository.client.transport().location(&response);
        let location =
            location.map_err(|fault| error(&fault, "the registry does not keep to the OCI specification"))?;
        match UploadSession::new(repository.clone(), location).cancel().await {
            Ok(status) if status.is_success() || status == StatusCode::NOT_FOUND => Ok(PushAnswer::Cancelled),
            Ok(_) | Err(_) => Ok(PushAnswer::Expires),
        }
    }

    /// Credentials were accepted before, so a refusal is one of the right to push.
    async fn push_error(&self, status: StatusCode, response: Response) -> ProbeError {
        let name = &self.repository;
        let remedy = match (status, self.account()) {
            (StatusCode::UNAUTHORIZED, Account::Without(reason)) => {
                format!("{}; or set a login for the target (username and password)", one_line(&reason))
            }
            (StatusCode::UNAUTHORIZED, Account::Anonymous) => {
                "set a login for the target (username and password) that may push".to_owned()
            }
            (StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN, account) => {
                format!("give {} the right to push to {name}", one_line(&account.to_string()))
            }
            (StatusCode::METHOD_NOT_ALLOWED, _) => {
                "the registry is read-only, or a mirror: allow writing, or choose another target".to_owned()
            }
            (StatusCode::NOT_FOUND, _) => {
                format!("create what {name} is below (project, organisation), or correct the target's path and prefix")
            }
            _ => "look at the registry's own log".to_owned(),
        };
        let (problem, _) = self.repository.fault(response).await.problem_and_remedy();
        ProbeError { problem: format!("an upload to {name} can't be begun: {problem}"), remedy }
    }

    /// Asks for an image by HEAD, which costs no pull of a quota.
    ///
    /// # Errors
    /// When the registry refuses, or limits requests.
    pub async fn look_up(&self, image: TagOrDigest<'_>) -> Result<PullAnswer, ProbeError> {
        let repository = &self.repository;
        let path = repository.manifest_path(image);
        let request = Request {
            method: Method::HEAD,
            target: Target::Path(&path, None),
            headers: HeaderMap::from_iter([(ACCEPT, HeaderValue::from_static(ACCEPTED))]),
            scopes: &[repository.pull_scope()],
            permit: Permit::Acquire,
            payload: Payload::Empty,
        };
        let response = repository.client.send(&repository.host, request).await;
        let response = response.map_err(|fault| error(&fault, "check the credentials in registryCredentials"))?;
        let quota = Quota::from_headers(response.headers());
        let quota = quota.map(|quota| PullQuota { remaining: quota.remaining, limit: quota.limit });
        match response.status() {
            StatusCode::OK => Ok(PullAnswer { exists: true, quota }),
            StatusCode::NOT_FOUND => Ok(PullAnswer { exists: false, quota }),
            _ => {
                let fault = repository.fault(response).await;
                let (problem, remedy) = fault.problem_and_remedy();
                let remedy = remedy.unwrap_or_else(|| "look at the registry's own log".to_owned());
                Err(ProbeError { problem: format!("{repository}: {problem}"), remedy })
            }
        }
    }
}

fn base_request() -> Request<'static> {
    let target = Target::Path("/v2/", None);
    let (headers, payload) = (HeaderMap::new(), Payload::Empty);
    Request { method: Method::GET, target, headers, scopes: &[], permit: Permit::Acquire, payload }
}

/// With the fault's own remedy, or else this one.
fn error(fault: &Fault, otherwise: &str) -> ProbeError {
    let (problem, remedy) = fault.problem_and_remedy();
    ProbeError { problem, remedy: remedy.unwrap_or_else(|| otherwise.to_owned()) }
}
