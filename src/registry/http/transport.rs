//! Sends requests over HTTP: redirects, timeouts, address restrictions. Here because oci-client 0.18 accepts no HTTP
//! client from outside and follows redirects invisibly.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use http::{
    HeaderMap, HeaderValue, Method,
    header::{ACCEPT_ENCODING, AUTHORIZATION, CONTENT_LENGTH},
};
use url::Url;

use crate::registry::{
    fault::Fault,
    http::{
        addresses::{AddressScope, ForbiddenAddress, RedirectScope},
        headers::location::location,
        host_names::{HostPattern, allows_plain_http, is_insecure, names_of_url},
        hosts::HostConfigs,
        request::{Endpoint, Payload},
        response::Response,
        stall::StallTimer,
        transfer_rate::MinTransferRate,
    },
    text::one_line,
};

/// More redirects are taken for a loop.
pub(in crate::registry) const MAX_REDIRECTS: usize = 5;

/// Sends single requests and follows redirects. Knows nothing of registries or tokens.
pub(in crate::registry) struct Transport {
    hosts: Arc<HostConfigs>,
    timeout: Option<Duration>,
    min_rate: Option<MinTransferRate>,
    /// `host[:port]` of servers whose certificates are not verified and that may use plain HTTP.
    insecure: Vec<String>,
    private_redirects: Vec<HostPattern>,
}

impl Transport {
    pub(in crate::registry) fn new(
        hosts: Arc<HostConfigs>,
        timeout: Option<Duration>,
        min_rate: Option<MinTransferRate>,
        insecure: Vec<String>,
        private_redirects: &[String],
    ) -> Self {
        let private_redirects = private_redirects.iter().map(|host| HostPattern::new(host)).collect();
        Self { hosts, timeout, min_rate, insecure, private_redirects }
    }

    /// How long to wait for response headers, and for each chunk of a body.
    pub(in crate::registry) fn timeout(&self) -> Option<Duration> {
        self.timeout
    }

    pub(in crate::registry) fn min_rate(&self) -> Option<MinTransferRate> {
        self.min_rate
    }

    /// Whether plain HTTP is allowed: on loopback, and where the configuration allows it.
    pub(in crate::registry) fn allows_plain_http(&self, url: &Url) -> bool {
        allows_plain_http(url, &self.insecure) || self.hosts.for_url(Some(url)).plain_only
    }

    /// Whether requests to the host of a URL go through a proxy.
    pub(in crate::registry) fn is_proxied(&self, url: &Url) -> bool {
        self.hosts.is_proxied(url)
    }

    /// Sends a request and follows redirects of GET and HEAD. Only the first host receives `Authorization`. Returns
    /// responses of any status.
    pub(in crate::registry) async fn follow(
        &self,
        method: Method,
        mut to: Endpoint,
        mut headers: HeaderMap,
        mut payload: Payload,
    ) -> Result<Response, Fault> {
        if headers.contains_key(AUTHORIZATION) && to.url.scheme() != "https" && !self.allows_plain_http(&to.url) {
            return Err(Fault::Permanent("credentials are not sent over plain HTTP".to_owned()));
        }
        let is_read = method == Method::GET || method == Method::HEAD;
        for _ in 0..=MAX_REDIRECTS {
            let for_retry = payload.for_retry();
            let response = self.exchange(&method, &to, &headers, std::mem::replace(&mut payload, for_retry)).await?;
            if !is_read || !matches!(response.status().as_u16(), 301 | 302 | 303 | 307 | 308) {
                return Ok(response);
            }
            let next = self.location(&response)?;
            if next.url.origin() != to.url.origin() {
                headers.remove(AUTHORIZATION);
            }
            to = next;
        }
        Err(Fault::Permanent(format!("more than {MAX_REDIRECTS} redirects")))
    }

    /// The `Location` of a response.
    pub(in crate::registry) fn location(&self, response: &Response) -> Result<Endpoint, Fault> {
        Ok(self.referred(response, location(response.url(), response.headers())?))
    }

    /// A URL that a response refers to. Its scope is bounded by that of the server, and of every server before it.
    pub(in crate::registry) fn referred(&self, response: &Response, url: Url) -> Endpoint {
        let scope = response.scope();
        let from = response.url();
        if url.origin() == from.origin() {
            return Endpoint { url, scope };
        }
        let server = if self.hosts.is_proxied(from) { AddressScope::of_url(from) } else { response.peer_scope() };
        Endpoint { url, scope: scope.min(RedirectScope::of_server(server)) }
    }

    /// The HTTP client for an endpoint: one that connects to allowed addresses only.
    fn client(&self, to: &Endpoint) -> Result<&reqwest::Client, Fault> {
        let Endpoint { url, scope } = to;
        let scope = if self.is_private_redirect(url) { RedirectScope::Private.max(*scope) } else { *scope };
        if scope != RedirectScope::Any
            && let Some(address_scope) = AddressScope::of_url(url).filter(|address| !scope.allows(*address))
        {
            let address = url.host_str().and_then(|host| host.trim_matches(['[', ']']).parse().ok());
            return Err(forbidden(url, ForbiddenAddress { address, scope: address_scope }));
        }
        // A proxy resolves names itself.
        let scope = if scope == RedirectScope::Any || self.hosts.is_proxied(url) { None } else { Some(scope) };
        let clients = &self.hosts.for_url(Some(url)).clients;
        clients.for_url(url, is_insecure(url, &self.insecure), scope).map_err(Fault::Network)
    }

    /// Whether the configuration allows redirects to this host although it is private.
    fn is_private_redirect(&self, url: &Url) -> bool {
        let mut names = None;
        self.private_redirects.iter().any(|pattern| pattern.matches_any(names.get_or_insert_with(|| names_of_url(url))))
    }

    /// Sends one request, without redirects.
    async fn exchange(
        &self,
        method: &Method,
        to: &Endpoint,
        headers: &HeaderMap,
        payload: Payload,
    ) -> Result<Response, Fault> {
        let Endpoint { url, scope } = to;
        let client = self.client(to)?;
        let mut request = reqwest::Request::new(method.clone(), url.clone());
        *request.headers_mut() = headers.clone();
        request.headers_mut().insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        let mut stall_timer = None;
        match payload {
            Payload::Empty if *method == Method::POST || *method == Method::PUT => {
                request.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from_static("0"));
            }
            Payload::Empty | Payload::Spent => {}
            Payload::Bytes(bytes) => *request.body_mut() = Some(bytes.into()),
            Payload::Stream { body, length, stall_timer: timer } => {
                request.headers_mut().insert(CONTENT_LENGTH, length.into());
                *request.body_mut() = Some(body);
                timer.start();
                stall_timer = Some(timer);
            }
        }
        let begun = Instant::now();
        let result = self.with_deadline(client.execute(request), stall_timer).await;
        let (host, path) = (url.authority(), url.path());
        let millis = begun.elapsed().as_millis();
        match result {
            Ok(response) => {
                tracing::debug!(%method, host, path, status = response.status().as_u16(), millis, "registry request");
                Ok(Response::new(response, self.timeout, self.min_rate, *scope))
            }
            Err(fault) => {
                let fault = match &fault {
                    Fault::Network(error) => {
                        forbidden_address_behind(error).map_or(fault, |address| forbidden(url, address))
                    }
                    _ => fault,
                };
                tracing::debug!(%method, host, path, millis, "registry request failed: {fault}");
                Err(fault)
            }
        }
    }

    async fn with_deadline(
        &self,
        response: impl Future<Output = reqwest::Result<reqwest::Response>>,
        stall_timer: Option<Arc<StallTimer>>,
    ) -> Result<reqwest::Response, Fault> {
        let response = async { response.await.map_err(|error| Fault::Network(error.without_url())) };
        match (self.timeout, stall_timer) {
            (None, None) => response.await,
            (Some(timeout), None) => {
                tokio::time::timeout(timeout, response).await.unwrap_or(Err(Fault::Timeout(timeout)))
            }
            (timeout, Some(stall_timer)) => tokio::select! {
                response = response => response,
                fault = stall_timer.expired(timeout) => Err(fault),
            },
        }
    }
}

fn forbidden(url: &Url, address: ForbiddenAddress) -> Fault {
    Fault::ForbiddenAddress { host: one_line(url.authority()), address }
}

/// The reason why no address of a name was connected to, if that was the cause.
fn forbidden_address_behind(error: &reqwest::Error) -> Option<ForbiddenAddress> {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(error) = cause {
        if let Some(address) = error.downcast_ref::<ForbiddenAddress>() {
            return Some(*address);
        }
        cause = error.source();
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::testing::{Reply, Server};

    fn transport() -> Transport {
        Transport::new(Arc::new(HostConfigs::new(&[]).unwrap()), None, None, Vec::new(), &[])
    }

    #[tokio::test]
    async fn sends_no_credentials_over_plain_http() {
        let headers = || HeaderMap::from_iter([(AUTHORIZATION, HeaderValue::from_static("Basic x"))]);
        let to = Endpoint::trusted(Url::parse("http://r.example/v2/").unwrap());
        let refused = transport().follow(Method::GET, to, headers(), Payload::Empty).await;
        assert!(matches!(refused, Err(Fault::Permanent(_))));
        let server = Server::start(|_| Reply::new(200)).await;
        let to = Endpoint::trusted(Url::parse(&server.url("/")).unwrap());
        transport().follow(Method::GET, to, headers(), Payload::Empty).await.unwrap();
    }

    #[tokio::test]
    async fn connects_to_no_forbidden_address_of_a_name() {
        let inside = Server::start(|_| Reply::new(200)).await;
        // `localhost` stands for a name that has to be resolved; the client itself does not check the text.
        let url = Url::parse(&inside.url("/").replace("127.0.0.1", "localhost")).unwrap();
        let transport = transport();
        for scope in [RedirectScope::Public, RedirectScope::Private, RedirectScope::LinkLocal] {
            let client = transport.hosts.for_url(None).clients.for_url(&url, false, Some(scope)).unwrap();
            let error = client.execute(reqwest::Request::new(Method::GET, url.clone())).await.unwrap_err();
            let address = forbidden_address_behind(&error).expect("rejected for its address");
            assert_eq!(address.scope, AddressScope::Loopback, "{address}");
        }
        assert_eq!(inside.handshakes() + inside.requests().len(), 0);
    }
}
