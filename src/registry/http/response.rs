//! A response, read with bounds on length and time.

use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use http::{
    HeaderMap, StatusCode,
    header::{CONTENT_LENGTH, CONTENT_TYPE},
};
use url::Url;

use crate::{
    model::{Digest, Retry},
    registry::{
        fault::{ErrorResponse, Fault},
        http::{
            addresses::{AddressScope, RedirectScope},
            transfer_rate::{MinTransferRate, RateMeter},
        },
        limits::connections::RequestPermit,
    },
};

/// The longest body of an error response that is read, in bytes.
const MAX_ERROR_BODY: usize = 64 * 1024;

/// A response whose body has not been read.
pub(in crate::registry) struct Response {
    response: reqwest::Response,
    timeout: Option<Duration>,
    meter: RateMeter,
    scope: RedirectScope,
    is_retryable: bool,
    _permit: Option<RequestPermit>,
}

impl Response {
    /// `timeout` bounds the wait for each chunk of the body, `min_rate` the transfer rate. `scope` is that of the
    /// request.
    pub(in crate::registry) fn new(
        response: reqwest::Response,
        timeout: Option<Duration>,
        min_rate: Option<MinTransferRate>,
        scope: RedirectScope,
    ) -> Self {
        Self { response, timeout, meter: RateMeter::new(min_rate), scope, is_retryable: false, _permit: None }
    }

    pub(in crate::registry) fn scope(&self) -> RedirectScope {
        self.scope
    }

    /// The scope of the peer's address; the peer may be a proxy.
    pub(in crate::registry) fn peer_scope(&self) -> Option<AddressScope> {
        self.response.remote_addr().map(|address| AddressScope::of(address.ip()))
    }

    /// A retry can help although the status suggests otherwise.
    pub(in crate::registry) fn retryable(self) -> Self {
        Self { is_retryable: true, ..self }
    }

    /// Counts as one of the registry's concurrent requests until the body has been read.
    pub(in crate::registry) fn with_permit(self, permit: Option<RequestPermit>) -> Self {
        Self { _permit: permit, ..self }
    }

    pub(in crate::registry) fn status(&self) -> StatusCode {
        self.response.status()
    }

    pub(in crate::registry) fn headers(&self) -> &HeaderMap {
        self.response.headers()
    }

    /// The URL after all redirects.
    pub(in crate::registry) fn url(&self) -> &Url {
        self.response.url()
    }

    pub(in crate::registry) fn content_length(&self) -> Option<u64> {
        self.header(CONTENT_LENGTH.as_str())?.parse().ok()
    }

    /// `Docker-Content-Digest`, if it is a digest.
    pub(in crate::registry) fn digest(&self) -> Option<Digest> {
        self.header("docker-content-digest")?.trim().parse().ok()
    }

    pub(in crate::registry) fn header(&self, name: &str) -> Option<&str> {
        self.response.headers().get(name)?.to_str().ok()
    }

    /// A 200 with a web page: the login or error page of something in front of the registry. Some registries label their
    /// own responses as HTML too, but with another status or with a digest.
    pub(in crate::registry) fn is_html_page(&self) -> bool {
        self.status() == StatusCode::OK
            && self.digest().is_none()
            && self.header(CONTENT_TYPE.as_str()).is_some_and(|text| text.starts_with("text/html"))
    }

    /// The next chunk of the body; None at its end.
    pub(in crate::registry) async fn chunk(&mut self) -> Result<Option<Bytes>, Fault> {
        let begun = Instant::now();
        let chunk = self.response.chunk();
        let chunk = match self.timeout {
            Some(timeout) => tokio::time::timeout(timeout, chunk).await.map_err(|_| Fault::Timeout(timeout))?,
            None => chunk.await,
        };
        let chunk = chunk.map_err(|error| Fault::Network(error.without_url()))?;
        if let Some(bytes) = &chunk {
            // The time between two calls is not the peer's.
            self.meter.add(bytes.len() as u64, begun.elapsed()).map_err(Fault::SlowDownload)?;
        }
        Ok(chunk)
    }

    /// The whole body.
    ///
    /// # Errors
    /// If it is longer than `max` bytes.
    pub(in crate::registry) async fn read_all(&mut self, max: usize) -> Result<Bytes, Fault> {
        let (body, is_whole) = self.read_prefix(max).await?;
        if is_whole { Ok(body) } else { Err(Fault::Permanent(format!("the response is longer than {max} bytes"))) }
    }

    /// The fault that an error response means. `with_login`: credentials are configured for the host.
    pub(in crate::registry) async fn into_fault(mut self, with_login: bool) -> Fault {
        // The status is enough if the body can't be read.
        let body = self.read_prefix(MAX_ERROR_BODY).await.map(|(body, _)| body).unwrap_or_default();
        let url = self.response.url();
        let host = match (url.host_str(), url.port()) {
            (Some(host), Some(port)) => format!("{host}:{port}"),
            (host, _) => host.unwrap_or_default().to_owned(),
        };
        let response = ErrorResponse { host, status: self.status(), headers: self.response.headers().clone(), body };
        let fault = Fault::from_response(&response, with_login);
        if self.is_retryable && fault.retry() == Retry::Later { fault.with_retry(Retry::Soon) } else { fault }
    }

    /// At most `max` bytes of the body, and whether that is all of it. The timeout bounds the whole read: a body sent
    /// byte by byte could otherwise block for days.
    async fn read_prefix(&mut self, max: usize) -> Result<(Bytes, bool), Fault> {
        let timeout = self.timeout;
        let read = async {
            let mut body = BytesMut::new();
            while let Some(chunk) = self.chunk().await? {
                let free = max.saturating_sub(body.len());
                body.extend_from_slice(chunk.get(..free).unwrap_or(&chunk));
                if chunk.len() > free {
                    return Ok((body.freeze(), false));
                }
            }
            Ok((body.freeze(), true))
        };
        match timeout {
            None => read.await,
            Some(timeout) => tokio::time::timeout(timeout, read).await.unwrap_or_else(|_| {
                Err(Fault::InvalidResponse(format!("the response was incomplete after {}s", timeout.as_secs_f32())))
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::{
        Settings, TagOrDigest,
        testing::{Reply, Server, settings},
    };

    const TAG: TagOrDigest<'static> = TagOrDigest::Tag("1");

    #[tokio::test]
    async fn quotes_the_beginning_of_an_endless_error_response() {
        // It would go on for a terabyte; only the first MiB is sent, so a client that waits for the rest quotes nothing.
        let endless = Reply::new(403).header("Content-Length", 1_u64 << 40).body(vec![b'a'; 1 << 20]).stall(1 << 20);
        let server = Server::start(move |_| endless.clone()).await;
        let error = server.repository().manifest(TAG).await.unwrap_err();
        assert!(error.to_string().contains(&"a".repeat(300)), "{error}");
        assert!(error.to_string().len() < 1_000, "{error}");
        assert_eq!((error.retry(), server.requests().len()), (Retry::Later, 1));
    }

    #[tokio::test]
    async fn gives_up_on_endless_headers() {
        let reply = Reply::new(200).header("X-Padding", "a".repeat(8 << 20)).body("{}");
        let many = (0..10_000).fold(Reply::new(200), |reply, n| reply.header(&format!("X-{n}"), "a"));
        for reply in [reply, many] {
            let server = Server::start(move |_| reply.clone()).await;
            let error = server.repository().manifest(TAG).await.unwrap_err().to_string();
            assert!(error.contains("message head is too large"), "{error}");
        }
    }

    #[tokio::test]
    async fn gives_up_on_a_response_sent_byte_by_byte() {
        let impatient = Settings { request_timeout: Some(Duration::from_millis(300)), ..settings() };
        let drip = |status| Reply::new(status).body(vec![b' '; 10_000]).drip(Duration::from_millis(1));
        let server = Server::start(move |_| drip(200)).await;
        let error = server.repository_with(impatient.clone()).manifest(TAG).await.unwrap_err().to_string();
        assert!(error.contains("incomplete"), "{error}");
        let server = Server::start(move |_| drip(404)).await;
        let error = server.repository_with(impatient).manifest(TAG).await.unwrap_err().to_string();
        assert!(error.contains("404"), "{error}");
    }
}
