//! Sends requests: finds the scheme, shows who we are, follows redirects, minds the time. Here because oci-client 0.18
//! takes no client of ours, follows redirects unseen, and needs two requests where one would do.

use std::{
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use bytes::Bytes;
use http::{
    HeaderMap, HeaderValue, Method, StatusCode,
    header::{ACCEPT_ENCODING, AUTHORIZATION, CONTENT_LENGTH, WWW_AUTHENTICATE},
};
use url::Url;

use super::{
    auth::{Doubt, may_be_renewed},
    error::{Fault, SetupError, is_certificate_fault, one_line},
    host::{Host, Scheme, is_lenient, is_listed},
    http::addresses::{Limit, OffLimits, Reach},
    http::headers::location::location,
    http::headers::quota::Quota,
    http::hosts::Ways,
    http::naming::{Pattern, names_of},
    http::response::Response,
    http::retry::{Backoff, retry_after},
    http::stall::Patience,
    http::transfer_rate::LeastRate,
    limits::connections::Place,
    limits::pace::LONGEST_THROTTLING,
    settings::Settings,
    shared_cache::Shared,
};
use crate::model::{Event, RegistryAccess};

/// A registry that sends us farther has lost its way.
const MOST_REDIRECTS: usize = 5;

/// So often a request is sent again because of a 401: for a token, for one that replaces it, for another service. Whoever
/// asks for something else still would do so for ever.
const MOST_CHALLENGES: u32 = 4;

/// So many hosts are remembered before those are forgotten that nobody uses: what was learned about them costs a few
/// requests.
const MOST_HOSTS: usize = 1024;

/// All that requests to any host share.
pub(super) struct Wire {
    settings: Settings,
    ways: Arc<Ways>,
    private_redirects: Vec<Pattern>,
    hosts: Shared<String, Host>,
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
    Onward(Onward),
}

/// A place that somebody has named.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Onward {
    /// Where it is.
    pub url: Url,
    /// How near it may be.
    pub limit: Limit,
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
        Ok(Self::over(Arc::new(Ways::new(registries, connections)?), settings))
    }

    /// Another one over the same connections. What was learned about hosts, tokens among it, is not shared.
    pub(super) fn beside(&self, settings: Settings) -> Self {
        Self::over(Arc::clone(&self.ways), settings)
    }

    fn over(ways: Arc<Ways>, settings: Settings) -> Self {
        let private_redirects = settings.private_redirects.iter().map(|host| Pattern::new(host)).collect();
        Self { ways, settings, private_redirects, hosts: Shared::new(MOST_HOSTS) }
    }

    /// Ends all pauses that registries have asked for; where pulls are used up, one may be tried.
    pub(super) fn reset_pauses(&self) {
        for host in self.hosts.all() {
            host.reset_pauses();
        }
    }

    /// The hosts that are known.
    pub(super) fn known_hosts(&self) -> Vec<Arc<Host>> {
        self.hosts.all()
    }

    /// Does something that nobody waits for; not at all where the program ends.
    pub(super) fn clear(&self, task: impl Future<Output = ()> + Send + 'static) {
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            self.ways.clearing.spawn_on(task, &runtime);
        }
    }

    /// Waits until all of that is done.
    pub(super) async fn cleared(&self) {
        self.ways.clearing.close();
        self.ways.clearing.wait().await;
    }

    /// The host of a registry; always the same one for the same name while it is in use.
    pub(super) fn host(&self, registry: &str) -> Arc<Host> {
        self.hosts.get(registry, || Host::new(registry, &self.settings, &self.ways))
    }

    /// When requests are sent again.
    pub(super) fn backoff(&self) -> Backoff {
        self.settings.backoff
    }

    /// How long a silence may be.
    pub(super) fn timeout(&self) -> Option<Duration> {
        self.settings.request_timeout
    }

    /// How slow a transfer may be.
    pub(super) fn least_rate(&self) -> Option<LeastRate> {
        self.settings.least_rate
    }

    /// Whether a host may be spoken to over plain HTTP: on loopback, and where the user says so.
    pub(super) fn may_be_plain(&self, url: &Url) -> bool {
        is_lenient(url, &self.settings.insecure) || self.ways.to(Some(url)).is_plain
    }

    /// One request to a registry, asked again where a 401 taught us what to show. Any status is an answer.
    pub(super) async fn send(self: &Arc<Self>, host: &Host, mut request: Request<'_>) -> Result<Response, Fault> {
        let begun = Instant::now();
        let mut renewed = false;
        let mut challenges = 0;
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
                    let again = host.auth.learn(self, &response, presented, begun)?
                        || (may_be_renewed(response.headers(), presented) && !std::mem::replace(&mut renewed, true));
                    challenges += u32::from(again);
                    if challenges > MOST_CHALLENGES {
                        return Err(too_many_challenges(challenges, response.headers()));
                    }
                    again
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
            To::Onward(to) => to.url.path(),
        };
        let reads_manifest = request.method == Method::GET && path.contains("/manifests/");
        let pace = host.pace(&request.method, path).cloned();
        let told = |wait| Fault::Throttled { host: host.authority().to_owned(), wait };
        let read_turn = match reads_manifest {
            true => Some(host.manifest_reads.turn().await.map_err(told)?),
            false => None,
        };
        let turn = match &pace {
            Some(pace) => Some(pace.turn().await.map_err(told)?),
            None => None,
        };
        let place = self.place(host, request).await;
        let response = self.reach(host, request, authorization).await?;
        // Nobody else has a body that matters, and a refusal may lead to another request.
        let is_read = request.method == Method::GET && response.status() == StatusCode::OK;
        let response = if is_read { response.in_place(place) } else { response };
        if !host.has(response.url()) {
            // It has sent us on, so it did not mind.
            for turn in [turn, read_turn].into_iter().flatten() {
                turn.went_well();
            }
            return Ok(response);
        }
        let (now, registry) = (Instant::now(), host.authority());
        if matches!(response.status(), StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE) {
            let asked = retry_after(response.headers(), SystemTime::now());
            if let Some(pause) = turn.and_then(|turn| turn.too_fast(now, asked)) {
                tracing::debug!(registry, ?pause, "everybody slows down");
                self.settings.observer.observe(&Event::Throttled { registry });
            }
        } else {
            for turn in [turn, read_turn].into_iter().flatten() {
                turn.went_well();
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
            To::Onward(to) => return self.with_authorization(host, to.clone(), request, authorization).await,
            To::Path(path, query) => (*path, *query),
        };
        if let Some(scheme) = host.scheme() {
            let to = Onward::anywhere(host.url(scheme, path, query)?);
            return self.with_authorization(host, to, request, authorization).await;
        }
        let _probing = host.probing.lock().await;
        if let Some(scheme) = host.scheme() {
            let to = Onward::anywhere(host.url(scheme, path, query)?);
            return self.with_authorization(host, to, request, authorization).await;
        }
        let to = Onward::anywhere(host.url(Scheme::Https, path, query)?);
        let first = match self.with_authorization(host, to, request, authorization).await {
            Err(Fault::Network(error)) if error.is_connect() && !is_certificate_fault(&error) => error,
            other => {
                if other.is_ok() {
                    host.settle(Scheme::Https);
                }
                return other;
            }
        };
        let to = Onward::anywhere(host.url(Scheme::Http, path, query)?);
        match self.with_authorization(host, to, request, authorization).await {
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
        to: Onward,
        request: &mut Request<'_>,
        authorization: Option<&HeaderValue>,
    ) -> Result<Response, Fault> {
        let mut headers = request.headers.clone();
        if let Some(authorization) = authorization
            && host.has(&to.url)
        {
            headers.insert(AUTHORIZATION, authorization.clone());
        }
        let again = request.payload.again();
        let payload = std::mem::replace(&mut request.payload, again);
        self.follow(request.method.clone(), to, headers, payload).await
    }

    /// One request wherever it leads. `Authorization` is shown to the first host alone.
    pub(super) async fn follow(
        &self,
        method: Method,
        mut to: Onward,
        mut headers: HeaderMap,
        mut payload: Payload,
    ) -> Result<Response, Fault> {
        if headers.contains_key(AUTHORIZATION) && to.url.scheme() != "https" && !self.may_be_plain(&to.url) {
            return Err(Fault::Refused("credentials are not sent over plain HTTP".to_owned()));
        }
        let reading = method == Method::GET || method == Method::HEAD;
        for _ in 0..=MOST_REDIRECTS {
            let again = payload.again();
            let response = self.exchange(&method, &to, &headers, std::mem::replace(&mut payload, again)).await?;
            if !reading || !matches!(response.status().as_u16(), 301 | 302 | 303 | 307 | 308) {
                return Ok(response);
            }
            let next = self.location(&response)?;
            if next.url.origin() != to.url.origin() {
                headers.remove(AUTHORIZATION);
            }
            to = next;
        }
        Err(Fault::Refused(format!("it redirects more than {MOST_REDIRECTS} times")))
    }

    /// Where an answer sends us.
    pub(super) fn location(&self, response: &Response) -> Result<Onward, Fault> {
        Ok(self.onward(response, location(response.url(), response.headers())?))
    }

    /// A place that an answer names. Nobody makes us go nearer than he is himself, or whoever sent us to him.
    pub(super) fn onward(&self, response: &Response, url: Url) -> Onward {
        let limit = response.limit();
        let from = response.url();
        if url.origin() == from.origin() {
            return Onward { url, limit };
        }
        let sender = if self.ways.is_proxied(from) { Reach::of_text(from) } else { response.peer() };
        Onward { url, limit: limit.min(Limit::of(sender)) }
    }

    /// Whether the user says that a host may be private whoever names it.
    fn may_be_private(&self, url: &Url) -> bool {
        let mut names = None;
        self.private_redirects.iter().any(|pattern| pattern.holds(names.get_or_insert_with(|| names_of(url))))
    }

    /// The client for a place: one that connects with no other addresses than it may have.
    fn client(&self, to: &Onward) -> Result<&reqwest::Client, Fault> {
        let Onward { url, limit } = to;
        let limit = if self.may_be_private(url) { Limit::Private.max(*limit) } else { *limit };
        if limit != Limit::Anywhere
            && let Some(reach) = Reach::of_text(url).filter(|reach| !limit.allows(*reach))
        {
            let address = url.host_str().and_then(|host| host.trim_matches(['[', ']']).parse().ok());
            return Err(off_limits(url, OffLimits { address, reach }));
        }
        // What a proxy connects with only the proxy knows.
        let limit = if limit == Limit::Anywhere || self.ways.is_proxied(url) { None } else { Some(limit) };
        let clients = &self.ways.to(Some(url)).clients;
        clients.to(url, is_listed(url, &self.settings.insecure), limit).map_err(Fault::Network)
    }

    /// One request, one answer.
    async fn exchange(
        &self,
        method: &Method,
        to: &Onward,
        headers: &HeaderMap,
        payload: Payload,
    ) -> Result<Response, Fault> {
        let Onward { url, limit } = to;
        let client = self.client(to)?;
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
                its.begins();
                patience = Some(its);
            }
        }
        let begun = Instant::now();
        let answer = self.within(client.execute(request), patience).await;
        let (host, path) = (url.authority(), url.path());
        let millis = begun.elapsed().as_millis();
        match answer {
            Ok(response) => {
                tracing::debug!(%method, host, path, status = response.status().as_u16(), millis, "registry request");
                Ok(Response::new(response, self.timeout(), self.least_rate(), *limit))
            }
            Err(fault) => {
                let fault = match &fault {
                    Fault::Network(error) => off_limits_behind(error).map_or(fault, |why| off_limits(url, why)),
                    _ => fault,
                };
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
            (None, None) => answer.await,
            (Some(timeout), None) => {
                tokio::time::timeout(timeout, answer).await.unwrap_or(Err(Fault::Silence(timeout)))
            }
            (timeout, Some(patience)) => tokio::select! {
                answer = answer => answer,
                fault = patience.ends(timeout) => Err(fault),
            },
        }
    }
}

impl Onward {
    /// Where the user, or an image's name, says to go.
    fn anywhere(url: Url) -> Self {
        Self { url, limit: Limit::Anywhere }
    }
}

fn too_many_challenges(times: u32, headers: &HeaderMap) -> Fault {
    let last = headers.get(WWW_AUTHENTICATE).map(|value| one_line(&String::from_utf8_lossy(value.as_bytes())));
    Fault::Challenges { times, last: last.unwrap_or_default() }
}

fn off_limits(url: &Url, why: OffLimits) -> Fault {
    Fault::OffLimits { host: one_line(url.authority()), why }
}

/// Why no address of a name was connected with, if that is what came to pass.
fn off_limits_behind(error: &reqwest::Error) -> Option<OffLimits> {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(error) = cause {
        if let Some(why) = error.downcast_ref::<OffLimits>() {
            return Some(*why);
        }
        cause = error.source();
    }
    None
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
