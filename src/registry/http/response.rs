//! An answer, read within bounds of length and time.

use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use http::{
    HeaderMap, StatusCode,
    header::{CONTENT_LENGTH, CONTENT_TYPE},
};
use url::Url;

use crate::model::{Digest, Retry};
use crate::registry::{
    error::{Answer, Fault},
    http::addresses::{Limit, Reach},
    http::transfer_rate::{LeastRate, Meter},
    limits::connections::Place,
};

/// No more is read of what a registry says of an error.
const LONGEST_REFUSAL: usize = 64 * 1024;

/// An answer whose body is still to come.
pub(in crate::registry) struct Response {
    response: reqwest::Response,
    timeout: Option<Duration>,
    meter: Meter,
    limit: Limit,
    hope: bool,
    _place: Option<Place>,
}

impl Response {
    /// `timeout` bounds each silence in the body, `least` the speed at which it comes. `limit` says how near those on
    /// whose behalf it was asked for may send us.
    pub(in crate::registry) fn new(
        response: reqwest::Response,
        timeout: Option<Duration>,
        least: Option<LeastRate>,
        limit: Limit,
    ) -> Self {
        Self { response, timeout, meter: Meter::new(least), limit, hope: false, _place: None }
    }

    /// How near those may send us on whose behalf it was asked for.
    pub(in crate::registry) fn limit(&self) -> Limit {
        self.limit
    }

    /// From where the peer's address can be reached, be it the one who answers or a proxy.
    pub(in crate::registry) fn peer(&self) -> Option<Reach> {
        self.response.remote_addr().map(|address| Reach::of(address.ip()))
    }

    /// Another try can help, although the status does not look like it.
    pub(in crate::registry) fn with_hope(self) -> Self {
        Self { hope: true, ..self }
    }

    /// Among the requests that the registry may have at once it counts until it is read.
    pub(in crate::registry) fn in_place(self, place: Option<Place>) -> Self {
        Self { _place: place, ..self }
    }

    pub(in crate::registry) fn status(&self) -> StatusCode {
        self.response.status()
    }

    pub(in crate::registry) fn headers(&self) -> &HeaderMap {
        self.response.headers()
    }

    /// Where it came from, behind all redirects.
    pub(in crate::registry) fn url(&self) -> &Url {
        self.response.url()
    }

    /// The length as announced.
    pub(in crate::registry) fn length(&self) -> Option<u64> {
        self.header(CONTENT_LENGTH.as_str())?.parse().ok()
    }

    /// `Docker-Content-Digest`, where it is a digest.
    pub(in crate::registry) fn digest(&self) -> Option<Digest> {
        self.header("docker-content-digest")?.trim().parse().ok()
    }

    /// A header that is text.
    pub(in crate::registry) fn header(&self, name: &str) -> Option<&str> {
        self.response.headers().get(name)?.to_str().ok()
    }

    /// A success that is none: a page of something that stands before the registry, to log in or to say sorry. Some
    /// registries call their own answers HTML as well, but those have another status or name a digest.
    pub(in crate::registry) fn is_page(&self) -> bool {
        self.status() == StatusCode::OK
            && self.digest().is_none()
            && self.header(CONTENT_TYPE.as_str()).is_some_and(|text| text.starts_with("text/html"))
    }

    /// The next piece of the body; none at its end.
    pub(in crate::registry) async fn chunk(&mut self) -> Result<Option<Bytes>, Fault> {
        let begun = Instant::now();
        let chunk = self.response.chunk();
        let chunk = match self.timeout {
            Some(timeout) => tokio::time::timeout(timeout, chunk).await.map_err(|_| Fault::Silence(timeout))?,
            None => chunk.await,
        };
        let chunk = chunk.map_err(|error| Fault::Network(error.without_url()))?;
        if let Some(bytes) = &chunk {
            // Between two calls somebody else is waited for.
            self.meter.add(bytes.len() as u64, begun.elapsed()).map_err(Fault::SendsTooSlowly)?;
        }
        Ok(chunk)
    }

    /// The whole body, at most `most` bytes of it.
    pub(in crate::registry) async fn all(&mut self, most: usize) -> Result<Bytes, Fault> {
        let (body, whole) = self.beginning(most).await?;
        if whole { Ok(body) } else { Err(Fault::Refused(format!("its answer is longer than {most} bytes"))) }
    }

    /// What a refusing answer means.
    pub(in crate::registry) async fn refusal(mut self, with_login: bool) -> Fault {
        // The status says enough where the words can't be had.
        let body = self.beginning(LONGEST_REFUSAL).await.map(|(body, _)| body).unwrap_or_default();
        let url = self.response.url();
        let host = match (url.host_str(), url.port()) {
            (Some(host), Some(port)) => format!("{host}:{port}"),
            (host, _) => host.unwrap_or_default().to_owned(),
        };
        let answer = Answer { host, status: self.status(), headers: self.response.headers().clone(), body };
        let fault = Fault::status(&answer, with_login);
        if self.hope && fault.retry() == Retry::Later { fault.with_retry(Retry::Soon) } else { fault }
    }

    /// At most `most` bytes of the body, and whether that is all of it. A transfer may last; what is short may not, or
    /// who sends it byte by byte would hold us up for days.
    async fn beginning(&mut self, most: usize) -> Result<(Bytes, bool), Fault> {
        let timeout = self.timeout;
        let read = async {
            let mut body = BytesMut::new();
            while let Some(chunk) = self.chunk().await? {
                let room = most.saturating_sub(body.len());
                body.extend_from_slice(chunk.get(..room).unwrap_or(&chunk));
                if chunk.len() > room {
                    return Ok((body.freeze(), false));
                }
            }
            Ok((body.freeze(), true))
        };
        match timeout {
            None => read.await,
            Some(timeout) => tokio::time::timeout(timeout, read).await.unwrap_or_else(|_| {
                Err(Fault::Malformed(format!("its answer was not whole after {}s", timeout.as_secs_f32())))
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::{
        Selector, Settings,
        testing::{Reply, Server, settings},
    };

    const TAG: Selector<'static> = Selector::Tag("1");

    #[tokio::test]
    async fn of_an_endless_refusal_the_beginning_is_told() {
        // It would go on for a terabyte; nothing more comes, so that who waits for it has no words.
        let endless = Reply::new(403).header("Content-Length", 1_u64 << 40).body(vec![b'a'; 1 << 20]).stall(1 << 20);
        let server = Server::start(move |_| endless.clone()).await;
        let error = server.repository().manifest(TAG).await.unwrap_err();
        assert!(error.to_string().contains(&"a".repeat(300)), "{error}");
        assert!(error.to_string().len() < 1_000, "{error}");
        assert_eq!((error.retry(), server.asked().len()), (Retry::Later, 1));
    }

    #[tokio::test]
    async fn a_head_without_end_is_given_up() {
        let reply = Reply::new(200).header("X-Padding", "a".repeat(8 << 20)).body("{}");
        let many = (0..10_000).fold(Reply::new(200), |reply, n| reply.header(&format!("X-{n}"), "a"));
        for reply in [reply, many] {
            let server = Server::start(move |_| reply.clone()).await;
            let error = server.repository().manifest(TAG).await.unwrap_err().to_string();
            assert!(error.contains("message head is too large"), "{error}");
        }
    }

    #[tokio::test]
    async fn an_answer_that_comes_byte_by_byte_is_given_up() {
        let impatient = Settings { request_timeout: Some(Duration::from_millis(300)), ..settings() };
        let drip = |status| Reply::new(status).body(vec![b' '; 10_000]).drip(Duration::from_millis(1));
        let server = Server::start(move |_| drip(200)).await;
        let error = server.repository_with(impatient.clone()).manifest(TAG).await.unwrap_err().to_string();
        assert!(error.contains("not whole"), "{error}");
        let server = Server::start(move |_| drip(404)).await;
        let error = server.repository_with(impatient).manifest(TAG).await.unwrap_err().to_string();
        assert!(error.contains("404"), "{error}");
    }
}
