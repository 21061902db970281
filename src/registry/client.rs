//! Sends requests to registries: chooses the scheme, authenticates, and keeps the limits on concurrent requests and on
//! the request rate. Here because oci-client 0.18 needs two requests where one is enough, and hides status codes.

pub(super) mod request;

use std::{
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use http::{
    HeaderMap, HeaderValue, Method, StatusCode,
    header::{AUTHORIZATION, WWW_AUTHENTICATE},
};
use tokio_util::task::TaskTracker;

use self::request::{Permit, Request, Target};
use super::{
    auth::{
        host_auth::{AuthRejection, can_be_renewed},
        scheme::RequestScheme,
    },
    error::CertificateError,
    fault::Fault,
    host::Host,
    http::{
        headers::{quota::Quota, retry_after::retry_after},
        host_names::canonical,
        hosts::HostConfigs,
        request::{Endpoint, Payload, Scheme},
        response::Response,
        retry::Backoff,
        tls::TlsFailure,
        transfer_rate::MinTransferRate,
        transport::Transport,
    },
    limits::{
        connections::{ConnectionLimits, RequestPermit},
        rate_limiter::{MAX_THROTTLED_TIME, Slot},
    },
    login_hosts::LoginHosts,
    settings::Settings,
    shared_cache::SharedCache,
    text::one_line,
};
use crate::model::{Event, Login, RegistryAccess};

/// The most retries of a request after a 401: for a token, for one that replaces it, for another service. A registry
/// that changes its challenge each time would cause an endless loop.
const MAX_CHALLENGES: u32 = 4;

/// When this many hosts are known, unused ones are removed: learning their scheme and authentication again costs a few
/// requests.
const MAX_HOSTS: usize = 1024;

/// Sends requests to registries.
pub(super) struct Client {
    settings: Settings,
    shared: Arc<Shared>,
    transport: Arc<Transport>,
    hosts: SharedCache<String, Host>,
    login_hosts: Arc<LoginHosts>,
}

/// What clients with different settings have in common.
struct Shared {
    configs: Arc<HostConfigs>,
    limits: ConnectionLimits,
    /// Requests that nobody waits for.
    background: TaskTracker,
}

impl Client {
    /// `connections` is the maximum number of concurrent requests to one registry.
    pub(super) fn new(
        settings: Settings,
        registries: &[RegistryAccess],
        connections: usize,
    ) -> Result<Self, CertificateError> {
        let shared = Shared {
            configs: Arc::new(HostConfigs::new(registries)?),
            limits: ConnectionLimits::new(connections),
            background: TaskTracker::new(),
        };
        Ok(Self::sharing(Arc::new(shared), settings))
    }

    /// A client with other settings that shares connections and their limits, but no tokens.
    pub(super) fn with_settings(&self, settings: Settings) -> Self {
        Self::sharing(Arc::clone(&self.shared), settings)
    }

    fn sharing(shared: Arc<Shared>, settings: Settings) -> Self {
        let transport = Transport::new(
            Arc::clone(&shared.configs),
            settings.request_timeout,
            settings.min_transfer_rate,
            settings.insecure.clone(),
            &settings.private_redirects,
        );
        Self {
            shared,
            transport: Arc::new(transport),
            settings,
            hosts: SharedCache::new(MAX_HOSTS),
            login_hosts: Arc::default(),
        }
    }

    /// Ends all pauses that registries have requested; where the pull quota is used up, one pull is tried.
    pub(super) fn end_rate_limit_waits(&self) {
        for host in self.hosts.all().into_iter().chain(self.login_hosts.all()) {
            host.end_rate_limit_waits();
        }
    }

    pub(super) fn known_hosts(&self) -> Vec<Arc<Host>> {
        self.hosts.all()
    }

    /// Runs a task that nobody waits for. Does nothing outside of a runtime, that is, when the program ends.
    pub(super) fn spawn_background(&self, task: impl Future<Output = ()> + Send + 'static) {
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            self.shared.background.spawn_on(task, &runtime);
        }
    }

    /// Waits until all background tasks have finished.
    pub(super) async fn background_finished(&self) {
        self.shared.background.close();
        self.shared.background.wait().await;
    }

    /// The host of a registry, for one of its repositories; the same one for the same name while it is in use. Those
    /// with a login of their own get one of their own.
    pub(super) fn host(&self, registry: &str, repository: &str) -> Arc<Host> {
        let scope = self.settings.docker_logins.scope(&canonical(registry), repository);
        let new = || Host::new(registry, scope, &self.settings, &self.shared.configs, &self.shared.limits);
        if scope.is_empty() {
            self.hosts.get(registry, new)
        } else {
            self.hosts.get(&format!("{registry}/{scope}"), new)
        }
    }

    /// The same with an owner's login in place of the configured credentials.
    pub(super) fn host_with_login(&self, registry: &str, owner: &str, login: &Login) -> Arc<Host> {
        self.login_hosts.get(owner, registry, login, || self.host(registry, "").with_login(registry, login))
    }

    pub(super) fn transport(&self) -> &Transport {
        &self.transport
    }

    pub(super) fn shared_transport(&self) -> &Arc<Transport> {
        &self.transport
    }

    pub(super) fn backoff(&self) -> Backoff {
        self.settings.backoff
    }

    /// Repeats a request as [`Backoff::retry`] does.
    pub(super) async fn retry<T, F>(&self, host: &Host, mut attempt: impl FnMut() -> F) -> Result<T, Fault>
    where
        F: Future<Output = Result<T, Fault>>,
    {
        let mut is_retry = false;
        let attempt = || {
            if std::mem::replace(&mut is_retry, true) {
                self.report_retry(host);
            }
            attempt()
        };
        self.backoff().retry(attempt).await
    }

    /// Reports that a failed request is repeated.
    pub(super) fn report_retry(&self, host: &Host) {
        self.settings.observer.observe(&Event::Retried { registry: host.authority() });
    }

    pub(super) fn timeout(&self) -> Option<Duration> {
        self.transport.timeout()
    }

    pub(super) fn min_rate(&self) -> Option<MinTransferRate> {
        self.transport.min_rate()
    }

    /// Sends a request without credentials. Returns responses of any status.
    pub(super) async fn reach(&self, host: &Host, mut request: Request<'_>) -> Result<Response, Fault> {
        let _permit = self.permit(host, request.permit).await;
        self.send_with_scheme_fallback(host, &mut request, None).await
    }

    /// Sends a request, again with other credentials after a 401. Returns responses of any status.
    pub(super) async fn send(&self, host: &Host, mut request: Request<'_>) -> Result<Response, Fault> {
        let begun = Instant::now();
        let mut renewed = false;
        let mut challenges = 0;
        let mut scheme = RequestScheme::default();
        loop {
            let authorization = host.auth.authorization(&self.transport, request.scopes, &scheme).await?;
            let header = authorization.as_ref().map(|authorization| &authorization.header);
            let response = self.send_within_limits(host, &mut request, header).await?;
            if !host.is_origin_of(response.url()) {
                return Ok(response);
            }
            let authorization = authorization.as_ref();
            let accepted_before = host.auth.record_status(response.status(), authorization);
            host.auth.confirm_scheme(response.status(), &mut scheme);
            let send_again = match host.auth.rejection(response.status(), authorization) {
                AuthRejection::None => {
                    let throttled = response.status() == StatusCode::TOO_MANY_REQUESTS && host.has_documented_rate();
                    throttled && begun.elapsed() < MAX_THROTTLED_TIME
                }
                AuthRejection::Challenged => {
                    let send_again = host
                        .auth
                        .handle_challenge(&self.transport, &response, authorization, begun, &mut scheme)
                        .await?
                        || (can_be_renewed(response.headers(), authorization)
                            && !std::mem::replace(&mut renewed, true));
                    challenges += u32::from(send_again);
                    if challenges > MAX_CHALLENGES {
                        return Err(too_many_challenges(challenges, response.headers()));
                    }
                    send_again
                }
                AuthRejection::MaybeExpired if !self.probe_auth(host, header, request.permit).await? => false,
                // However new the token is, another one is tried once.
                AuthRejection::Expired | AuthRejection::MaybeExpired => {
                    !std::mem::replace(&mut renewed, true) && host.auth.invalidate(authorization)
                }
            };
            if !send_again {
                return Ok(if accepted_before { response.retryable() } else { response });
            }
            if matches!(request.payload, Payload::Spent) {
                return Ok(response.retryable());
            }
        }
    }

    /// Sends a request when the limits of the registry allow it, and adapts them to the response.
    async fn send_within_limits(
        &self,
        host: &Host,
        request: &mut Request<'_>,
        authorization: Option<&HeaderValue>,
    ) -> Result<Response, Fault> {
        let path = match &request.target {
            Target::Path(path, _) => path,
            Target::Endpoint(to) => to.url.path(),
        };
        let is_manifest_read = request.method == Method::GET && path.contains("/manifests/");
        let rate_limiter = host.rate_limiter(&request.method, path).cloned();
        let rate_limited = |wait| Fault::RateLimited { host: host.authority().to_owned(), wait };
        let manifest_slot = match is_manifest_read {
            true => Some(host.manifest_reads.acquire().await.map_err(rate_limited)?),
            false => None,
        };
        let slot = match &rate_limiter {
            Some(rate_limiter) => Some(rate_limiter.acquire().await.map_err(rate_limited)?),
            None => None,
        };
        let permit = self.permit(host, request.permit).await;
        let method = request.method.clone();
        let response = self.send_with_scheme_fallback(host, request, authorization).await;
        let status = response.as_ref().ok().map(|response| response.status().as_u16());
        let requested = Event::Requested { registry: host.authority(), method: method.as_str(), status };
        self.settings.observer.observe(&requested);
        let response = response?;
        // Other bodies are short, and after an error response the next request may need the permit.
        let is_read = request.method == Method::GET && response.status() == StatusCode::OK;
        let response = if is_read { response.with_permit(permit) } else { response };
        if !host.is_origin_of(response.url()) {
            // The registry redirected, so it did not throttle.
            [slot, manifest_slot].into_iter().flatten().for_each(Slot::succeeded);
            return Ok(response);
        }
        let (now, registry) = (Instant::now(), host.authority());
        if matches!(response.status(), StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE) {
            let retry_after = retry_after(response.headers(), SystemTime::now());
            if let Some(pause) = slot.and_then(|slot| slot.throttled(now, retry_after)) {
                tracing::debug!(registry, ?pause, "registry limits requests, slowing down");
                self.settings.observer.observe(&Event::Throttled { registry });
            }
        } else {
            [slot, manifest_slot].into_iter().flatten().for_each(Slot::succeeded);
        }
        if let Some(quota) = Quota::from_headers(response.headers()).filter(|_| is_manifest_read) {
            let (left, limit) = (quota.remaining, quota.limit);
            self.settings.observer.observe(&Event::PullsLeft { registry, left, limit });
            if let Some(refill) = quota.refill.filter(|_| quota.remaining == 0) {
                host.manifest_reads.pause(now, refill);
            }
        }
        Ok(response)
    }

    async fn permit(&self, host: &Host, permit: Permit) -> Option<RequestPermit> {
        match permit {
            Permit::Held => None,
            Permit::Acquire => Some(host.requests.acquire().await),
        }
    }

    /// Whether the registry rejects the credentials even for `/v2/`, which needs no permissions.
    async fn probe_auth(
        &self,
        host: &Host,
        authorization: Option<&HeaderValue>,
        permit: Permit,
    ) -> Result<bool, Fault> {
        let target = Target::Path("/v2/", None);
        let (headers, payload) = (HeaderMap::new(), Payload::Empty);
        let mut request = Request { method: Method::GET, target, headers, scopes: &[], permit, payload };
        let _permit = self.permit(host, permit).await;
        let response = self.send_with_scheme_fallback(host, &mut request, authorization).await?;
        Ok(matches!(response.status(), StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN))
    }

    /// Chooses the scheme. If both are allowed, TLS is tried first: a plain HTTP server fails the handshake at once, and
    /// nothing has been sent yet.
    async fn send_with_scheme_fallback(
        &self,
        host: &Host,
        request: &mut Request<'_>,
        authorization: Option<&HeaderValue>,
    ) -> Result<Response, Fault> {
        let (path, query) = match &request.target {
            Target::Endpoint(to) => {
                return self.send_authorized(host, to.clone(), request, authorization).await;
            }
            Target::Path(path, query) => (*path, *query),
        };
        if let Some(scheme) = host.scheme() {
            let to = Endpoint::trusted(host.url(scheme, path, query)?);
            return self.send_authorized(host, to, request, authorization).await;
        }
        let _probing = host.scheme_probe.lock().await;
        if let Some(scheme) = host.scheme() {
            let to = Endpoint::trusted(host.url(scheme, path, query)?);
            return self.send_authorized(host, to, request, authorization).await;
        }
        let to = Endpoint::trusted(host.url(Scheme::Https, path, query)?);
        let tls_error = match self.send_authorized(host, to, request, authorization).await {
            Err(Fault::Network(error)) if is_fallback_allowed(&error) => error,
            other => {
                if other.is_ok() {
                    host.set_scheme(Scheme::Https);
                }
                return other;
            }
        };
        let to = Endpoint::trusted(host.url(Scheme::Http, path, query)?);
        match self.send_authorized(host, to, request, authorization).await {
            // The host accepts neither; the first error says as much as the second.
            Err(Fault::Network(error)) if error.is_connect() => Err(Fault::Network(tls_error)),
            Err(other) => Err(other),
            Ok(response) => {
                // A TLS server whose handshake failed temporarily responds to plain HTTP with 400.
                if response.status() != StatusCode::BAD_REQUEST {
                    host.set_scheme(Scheme::Http);
                }
                Ok(response)
            }
        }
    }

    /// Credentials go to the registry's own origin only.
    async fn send_authorized(
        &self,
        host: &Host,
        to: Endpoint,
        request: &mut Request<'_>,
        authorization: Option<&HeaderValue>,
    ) -> Result<Response, Fault> {
        let mut headers = request.headers.clone();
        if let Some(authorization) = authorization
            && host.is_origin_of(&to.url)
        {
            headers.insert(AUTHORIZATION, authorization.clone());
        }
        let for_retry = request.payload.for_retry();
        let payload = std::mem::replace(&mut request.payload, for_retry);
        self.transport.follow(request.method.clone(), to, headers, payload).await
    }
}

/// An untrusted certificate must not lead to plain HTTP.
fn is_fallback_allowed(error: &reqwest::Error) -> bool {
    error.is_connect() && TlsFailure::of(error) != Some(TlsFailure::UntrustedCertificate)
}

fn too_many_challenges(attempts: u32, headers: &HeaderMap) -> Fault {
    let last = headers.get(WWW_AUTHENTICATE).map(|value| one_line(&String::from_utf8_lossy(value.as_bytes())));
    Fault::TooManyChallenges { attempts, last: last.unwrap_or_default() }
}

#[cfg(test)]
mod tests;
