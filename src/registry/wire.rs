//! Sends requests: finds the scheme, shows who we are, follows redirects, minds the time. Here because oci-client 0.18
//! takes no client of ours, follows redirects unseen, and needs two requests where one would do.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant, SystemTime},
};

use bytes::Bytes;
use http::{
    HeaderMap, HeaderValue, Method, StatusCode,
    header::{ACCEPT_ENCODING, AUTHORIZATION, CONTENT_LENGTH},
};
use url::Url;

use super::{
    answer::Response,
    auth::{Doubt, may_be_renewed},
    connections::Place,
    error::{Fault, SetupError, is_certificate_fault},
    host::{Host, Scheme, is_lenient, is_listed},
    location::location,
    pace::LONGEST_THROTTLING,
    patience::Patience,
    quota::Quota,
    retry::{Backoff, retry_after},
    settings::Settings,
    ways::Ways,
};
use crate::model::{Event, RegistryAccess};

/// A registry that sends us farther has lost its way.
const MOST_REDIRECTS: usize = 5;

/// All that requests to any host share.
pub(super) struct Wire {
    settings: Settings,
    ways: Arc<Ways>,
    hosts: Mutex<HashMap<String, Arc<Host>>>,
}

/// One request to a registry.
pub(super) struct Request<'a> {
    pub method: Method,
    pub to: To<'a>,
    pub headers: HeaderMap,
    /// What a token must be good for.
    pub scopes: &'a [String],
    /// Whether the caller sees to it that the registry does not get too many requests at once.
    pub has_room: bool,
    pub payload: Payload,
}

/// Where a request goes.
pub(super) enum To<'a> {
    /// A path on the registry.
    Path(&'a str, Option<&'a str>),
    /// A place that the registry has named.
    Url(Url),
}

/// What a request carries.
pub(super) enum Payload {
    /// Nothing.
    Empty,
    /// Something that can be sent again.
    Bytes(Bytes),
    /// Something that can be sent once.
    Stream {
        /// The body.
        body: reqwest::Body,
        /// Its length in bytes.
        length: u64,
        /// Knows whether it moves.
        patience: Arc<Patience>,
    },
    /// A stream that was sent.
    Spent,
}

impl Wire {
    /// Nothing is contacted.
    pub(super) fn new(
        settings: Settings,
        registries: &[RegistryAccess],
        connections: usize,
    ) -> Result<Self, SetupError> {
        Ok(Self { ways: Arc::new(Ways::new(registries, connections)?), settings, hosts: Mutex::default() })
    }

    /// Another one over the same connections. What was learned about hosts, tokens among it, is not shared.
    pub(super) fn beside(&self, settings: Settings) -> Self {
        Self { ways: Arc::clone(&self.ways), settings, hosts: Mutex::default() }
    }

    /// The host of a registry; always the same one for the same name.
    pub(super) fn host(&self, registry: &str) -> Arc<Host> {
        let mut hosts = self.hosts.lock().unwrap_or_else(PoisonError::into_inner);
        match hosts.get(registry) {
            Some(host) => Arc::clone(host),
            None => {
                let host = Arc::new(Host::new(registry, &self.settings, &self.ways));
                hosts.insert(registry.to_owned(), Arc::clone(&host));
                host
            }
        }
    }

    /// When requests are sent again.
    pub(super) fn backoff(&self) -> Backoff {
        self.settings.backoff
    }

    /// How long a silence may be.
    pub(super) fn timeout(&self) -> Option<Duration> {
        self.settings.request_timeout
    }

    /// Whether a host may be spoken to over plain HTTP: on loopback, and where the user says so.
    pub(super) fn may_be_plain(&self, url: &Url) -> bool {
        is_lenient(url, &self.settings.insecure) || self.ways.to(Some(url)).is_plain
    }

    /// One request to a registry, asked again where a 401 taught us what to show. Any status is an answer.
    pub(super) async fn send(self: &Arc<Self>, host: &Host, mut request: Request<'_>) -> Result<Response, Fault> {
        let begun = Instant::now();
        let mut renewed = false;
        loop {
            let presented = host.auth.present(self, request.scopes).await?;
            let authorization = presented.as_ref().map(|presented| &presented.header);
            let response = self.in_turn(host, &mut request, authorization).await?;
            if !host.has(response.url()) {
                return Ok(response);
            }
            let presented = presented.as_ref();
            let taken_before = host.auth.note(response.status(), presented);
            let again = match host.auth.doubt(response.status(), presented) {
                Doubt::None => {
                    let throttled = response.status() == StatusCode::TOO_MANY_REQUESTS && host.has_known_pace();
                    throttled && begun.elapsed() < LONGEST_THROTTLING
                }
                Doubt::Challenged => {
                    host.auth.learn(self, response.headers(), presented, begun)?
                        || (may_be_renewed(response.headers(), presented) && !std::mem::replace(&mut renewed, true))
                }
                Doubt::Unsure if !self.says_no_to(host, authorization, request.has_room).await? => false,
                // Whether it was old or has just been fetched: another one is tried once.
                Doubt::Ended | Doubt::Unsure => !std::mem::replace(&mut renewed, true) && host.auth.forget(presented),
            };
            if !again {
                return Ok(if taken_before { response.with_hope() } else { response });
            }
            if matches!(request.payload, Payload::Spent) {
                return Ok(response.with_hope());
            }
        }
    }

    /// As [`Self::reach`], as often as the registry is known to allow.
    async fn in_turn(
        &self,
        host: &Host,
        request: &mut Request<'_>,
        authorization: Option<&HeaderValue>,
    ) -> Result<Response, Fault> {
        let path = match &request.to {
            To::Path(path, _) => path,
            To::Url(url) => url.path(),
        };
        let reads_manifest = request.method == Method::GET && path.contains("/manifests/");
        let pace = host.pace(&request.method, path).cloned();
        let told = |wait| Fault::Throttled { host: host.authority().to_owned(), wait };
        if reads_manifest {
            host.manifest_reads.turn().await.map_err(told)?;
        }
        if let Some(pace) = &pace {
            pace.turn().await.map_err(told)?;
        }
        let place = self.place(host, request).await;
        let response = self.reach(host, request, authorization).await?;
        // Nobody else has a body that matters, and a refusal may lead to another request.
        let is_read = request.method == Method::GET && response.status() == StatusCode::OK;
        let response = if is_read { response.in_place(place) } else { response };
        if !host.has(response.url()) {
            // It has sent us on, so it did not mind.
            if let Some(pace) = &pace {
                pace.went_well();
            }
            return Ok(response);
        }
        let (now, registry) = (Instant::now(), host.authority());
        if let Some(pace) = pace {
            if !matches!(response.status(), StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE) {
                pace.went_well();
            } else if let Some(pause) = pace.too_fast(now, retry_after(response.headers(), SystemTime::now())) {
                tracing::debug!(registry, ?pause, "everybody slows down");
                self.settings.observer.observe(&Event::Throttled { registry });
            }
        }
        if let Some(quota) = Quota::of(response.headers()).filter(|_| reads_manifest) {
            self.settings.observer.observe(&Event::PullsLeft { registry, left: quota.remaining });
            if let Some(refill) = quota.refill.filter(|_| quota.remaining == 0) {
                host.manifest_reads.pause(now, refill);
            }
        }
        Ok(response)
    }

    /// Waits until the registry may have one more request.
    async fn place(&self, host: &Host, request: &Request<'_>) -> Option<Place> {
        if request.has_room { None } else { Some(host.places.one().await) }
    }

    /// Whether a registry refuses what we show even where it is asked for nothing in particular.
    async fn says_no_to(
        &self,
        host: &Host,
        authorization: Option<&HeaderValue>,
        has_room: bool,
    ) -> Result<bool, Fault> {
        let to = To::Path("/v2/", None);
        let (headers, payload) = (HeaderMap::new(), Payload::Empty);
        let mut request = Request { method: Method::GET, to, headers, scopes: &[], has_room, payload };
        let _place = self.place(host, &request).await;
        let response = self.reach(host, &mut request, authorization).await?;
        Ok(matches!(response.status(), StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN))
    }

    /// Chooses the scheme. Where both may be spoken, TLS comes first, since a plain server says no to it at once, and
    /// nothing was sent yet.
    async fn reach(
        &self,
        host: &Host,
        request: &mut Request<'_>,
        authorization: Option<&HeaderValue>,
    ) -> Result<Response, Fault> {
        let (path, query) = match &request.to {
            To::Url(url) => return self.with_authorization(host, url.clone(), request, authorization).await,
            To::Path(path, query) => (*path, *query),
        };
        if let Some(scheme) = host.scheme() {
            let url = host.url(scheme, path, query)?;
            return self.with_authorization(host, url, request, authorization).await;
        }
        let _probing = host.probing.lock().await;
        if let Some(scheme) = host.scheme() {
            let url = host.url(scheme, path, query)?;
            return self.with_authorization(host, url, request, authorization).await;
        }
        let url = host.url(Scheme::Https, path, query)?;
        let first = match self.with_authorization(host, url, request, authorization).await {
            Err(Fault::Network(error)) if error.is_connect() && !is_certificate_fault(&error) => error,
            other => {
                if other.is_ok() {
                    host.settle(Scheme::Https);
                }
                return other;
            }
        };
        let url = host.url(Scheme::Http, path, query)?;
        match self.with_authorization(host, url, request, authorization).await {
            // Neither is spoken there, so the first has as much to tell as the second.
            Err(Fault::Network(second)) if second.is_connect() => Err(Fault::Network(first)),
            Err(other) => Err(other),
            Ok(response) => {
                // A TLS server that had a bad moment says 400 to plain HTTP.
                if response.status() != StatusCode::BAD_REQUEST {
                    host.settle(Scheme::Http);
                }
                Ok(response)
            }
        }
    }

    async fn with_authorization(
        &self,
        host: &Host,
        url: Url,
        request: &mut Request<'_>,
        authorization: Option<&HeaderValue>,
    ) -> Result<Response, Fault> {
        let mut headers = request.headers.clone();
        if let Some(authorization) = authorization
            && host.has(&url)
        {
            headers.insert(AUTHORIZATION, authorization.clone());
        }
        let again = request.payload.again();
        let payload = std::mem::replace(&mut request.payload, again);
        self.follow(request.method.clone(), url, headers, payload).await
    }

    /// One request wherever it leads. `Authorization` is shown to the first host alone.
    pub(super) async fn follow(
        &self,
        method: Method,
        mut url: Url,
        mut headers: HeaderMap,
        mut payload: Payload,
    ) -> Result<Response, Fault> {
        if headers.contains_key(AUTHORIZATION) && url.scheme() != "https" && !self.may_be_plain(&url) {
            return Err(Fault::Refused("credentials are not sent over plain HTTP".to_owned()));
        }
        let reading = method == Method::GET || method == Method::HEAD;
        for _ in 0..=MOST_REDIRECTS {
            let again = payload.again();
            let response = self.exchange(&method, &url, &headers, std::mem::replace(&mut payload, again)).await?;
            if !reading || !matches!(response.status().as_u16(), 301 | 302 | 303 | 307 | 308) {
                return Ok(response);
            }
            let next = self.location(&response)?;
            if next.origin() != url.origin() {
                headers.remove(AUTHORIZATION);
            }
            url = next;
        }
        Err(Fault::Refused(format!("it redirects more than {MOST_REDIRECTS} times")))
    }

    /// Where an answer sends us, if one may go there.
    pub(super) fn location(&self, response: &Response) -> Result<Url, Fault> {
        location(response.url(), response.headers(), |url| self.may_be_plain(url))
    }

    /// One request, one answer.
    async fn exchange(
        &self,
        method: &Method,
        url: &Url,
        headers: &HeaderMap,
        payload: Payload,
    ) -> Result<Response, Fault> {
        let mut request = reqwest::Request::new(method.clone(), url.clone());
        *request.headers_mut() = headers.clone();
        request.headers_mut().insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        let mut patience = None;
        match payload {
            Payload::Empty if *method == Method::POST || *method == Method::PUT => {
                request.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from_static("0"));
            }
            Payload::Empty | Payload::Spent => {}
            Payload::Bytes(bytes) => *request.body_mut() = Some(bytes.into()),
            Payload::Stream { body, length, patience: its } => {
                request.headers_mut().insert(CONTENT_LENGTH, length.into());
                *request.body_mut() = Some(body);
                // Its turn may have been long in coming.
                its.receiver_is_handed();
                patience = Some(its);
            }
        }
        let client = self.ways.to(Some(url)).clients.to(url, is_listed(url, &self.settings.insecure));
        let client = client.map_err(Fault::Network)?;
        let begun = Instant::now();
        let answer = self.within(client.execute(request), patience).await;
        let (host, path) = (url.authority(), url.path());
        let millis = begun.elapsed().as_millis();
        match answer {
            Ok(response) => {
                tracing::debug!(%method, host, path, status = response.status().as_u16(), millis, "registry request");
                Ok(Response::new(response, self.timeout()))
            }
            Err(fault) => {
                tracing::debug!(%method, host, path, millis, "registry request failed: {fault}");
                Err(fault)
            }
        }
    }

    async fn within(
        &self,
        answer: impl Future<Output = reqwest::Result<reqwest::Response>>,
        patience: Option<Arc<Patience>>,
    ) -> Result<reqwest::Response, Fault> {
        let answer = async { answer.await.map_err(|error| Fault::Network(error.without_url())) };
        match (self.timeout(), patience) {
            (None, _) => answer.await,
            (Some(timeout), None) => {
                tokio::time::timeout(timeout, answer).await.unwrap_or(Err(Fault::Silence(timeout)))
            }
            (Some(timeout), Some(patience)) => tokio::select! {
                answer = answer => answer,
                () = patience.ends(timeout) => Err(Fault::Stall(timeout)),
            },
        }
    }
}

impl Payload {
    /// What is left to send it again.
    fn again(&self) -> Self {
        match self {
            Self::Empty => Self::Empty,
            Self::Bytes(bytes) => Self::Bytes(bytes.clone()),
            Self::Stream { .. } | Self::Spent => Self::Spent,
        }
    }
}

#[cfg(test)]
mod tests;
