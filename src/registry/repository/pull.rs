//! Downloads blobs. Here because oci-client 0.18 does not resume downloads: its ranges are unverified, and it follows the
//! `urls` of a descriptor anywhere.

use std::pin::Pin;

use bytes::Bytes;
use futures::{Stream, stream};
use http::{
    HeaderMap, HeaderValue, Method, StatusCode,
    header::{CONTENT_RANGE, RANGE},
};

use super::Repository;
use crate::{
    model::Hasher,
    registry::{
        client::request::{Permit, Request, Target},
        error::Error,
        fault::Fault,
        http::{request::Payload, response::Response},
        manifest::Descriptor,
    },
};

/// The bytes of a blob. The last of them come only after size and digest were verified.
pub type BlobStream = Pin<Box<dyn Stream<Item = Result<Bytes, Error>> + Send + 'static>>;

/// After this many bytes a failure counts as the first one again.
const RESET_FAILURES_AFTER: u64 = 1024 * 1024;

impl Repository {
    /// The bytes of a blob; nothing is requested before the stream is polled. The caller must hold a permit, such as a
    /// [`TransferPermit`](crate::registry::TransferPermit). A broken download is resumed.
    pub fn blob(&self, descriptor: &Descriptor) -> BlobStream {
        let download = Download {
            hasher: Some(descriptor.digest.algorithm().hasher()),
            repository: self.clone(),
            descriptor: descriptor.clone(),
            response: None,
            received: 0,
            skip: 0,
            has_yielded: false,
            supports_ranges: true,
            failures: 0,
            received_at_failure: 0,
        };
        Box::pin(stream::try_unfold(download, |mut download| async {
            match download.next().await {
                Ok(Some(bytes)) => Ok(Some((bytes, download))),
                Ok(None) => Ok(None),
                Err(fault) => Err(download.repository.blob_error("reading", &download.descriptor.digest, fault)),
            }
        }))
    }
}

struct Download {
    repository: Repository,
    descriptor: Descriptor,
    response: Option<Response>,
    /// None once the whole blob was verified.
    hasher: Option<Hasher>,
    /// Bytes hashed so far.
    received: u64,
    /// Bytes at the start of this response that were hashed before.
    skip: u64,
    has_yielded: bool,
    /// False once the server has answered a range request wrongly.
    supports_ranges: bool,
    failures: u32,
    received_at_failure: u64,
}

impl Download {
    async fn next(&mut self) -> Result<Option<Bytes>, Fault> {
        loop {
            let fault = match self.chunk().await {
                Ok(chunk) => return Ok(chunk),
                Err(fault) => fault,
            };
            self.response = None;
            if matches!(fault, Fault::DigestMismatch { .. }) {
                if self.has_yielded {
                    return Err(fault);
                }
                self.hasher = Some(self.descriptor.digest.algorithm().hasher());
                self.received = 0;
            }
            if self.received.saturating_sub(self.received_at_failure) >= RESET_FAILURES_AFTER {
                self.failures = 0;
            }
            self.failures = self.failures.saturating_add(1);
            self.received_at_failure = self.received;
            let Some(pause) = self.repository.client.backoff().pause(self.failures, fault.retry()) else {
                return Err(fault);
            };
            self.repository.client.report_retry(&self.repository.host);
            let (digest, received) = (&self.descriptor.digest, self.received);
            tracing::debug!(%digest, received, ?pause, "download broke, resuming: {fault}");
            tokio::time::sleep(pause).await;
        }
    }

    /// The next new bytes.
    async fn chunk(&mut self) -> Result<Option<Bytes>, Fault> {
        loop {
            let Some(hasher) = &mut self.hasher else { return Ok(None) };
            let size = self.descriptor.size;
            if self.received == size {
                // Only for an empty blob; others are verified with their last chunk.
                return self.verify().map(|()| None);
            }
            let response = match &mut self.response {
                Some(response) => response,
                None => {
                    let response = self.open().await?;
                    self.response = Some(response);
                    continue;
                }
            };
            let Some(mut bytes) = response.chunk().await? else {
                return Err(Fault::InvalidResponse(format!(
                    "the download ended after {} of {size} bytes",
                    self.received
                )));
            };
            let length = bytes.len() as u64;
            if self.skip >= length {
                self.skip -= length;
                continue;
            }
            // Less than the length of a chunk, so it fits.
            drop(bytes.split_to(usize::try_from(self.skip).unwrap_or(usize::MAX)));
            self.skip = 0;
            let received = self.received + bytes.len() as u64;
            if received > size {
                return Err(Fault::Permanent(format!("the blob is longer than the {size} bytes of its descriptor")));
            }
            hasher.update(&bytes);
            self.received = received;
            if received == size {
                self.verify()?;
            }
            self.has_yielded = true;
            return Ok(Some(bytes));
        }
    }

    fn verify(&mut self) -> Result<(), Fault> {
        let Some(hasher) = self.hasher.take() else { return Ok(()) };
        let found = hasher.finish();
        let expected = self.descriptor.digest.clone();
        if found == expected { Ok(()) } else { Err(Fault::DigestMismatch { expected, found }) }
    }

    async fn open(&mut self) -> Result<Response, Fault> {
        let (size, start) = (self.descriptor.size, self.received);
        let is_ranged = start > 0 && self.supports_ranges;
        let mut headers = HeaderMap::new();
        if is_ranged {
            let range = HeaderValue::from_str(&format!("bytes={start}-"));
            headers.extend(range.ok().map(|range| (RANGE, range)));
        }
        let path = self.repository.blob_path(&self.descriptor.digest);
        let scopes = [self.repository.pull_scope()];
        let target = Target::Path(&path, None);
        let payload = Payload::Empty;
        let request = Request { method: Method::GET, target, headers, scopes: &scopes, permit: Permit::Held, payload };
        let response = self.repository.client.send(&self.repository.host, request).await?;
        let remaining = match response.status() {
            StatusCode::OK => {
                self.skip = start;
                size
            }
            StatusCode::PARTIAL_CONTENT if is_ranged => {
                self.skip = 0;
                let range = response.header(CONTENT_RANGE.as_str()).unwrap_or_default();
                if !begins_at(range, start) {
                    self.supports_ranges = false;
                    return Err(Fault::InvalidResponse(format!(
                        "the response to a request for bytes from {start} has the range {range:?}"
                    )));
                }
                size - start
            }
            StatusCode::RANGE_NOT_SATISFIABLE if is_ranged => {
                self.supports_ranges = false;
                return Err(Fault::InvalidResponse(format!("the registry has no bytes from {start}")));
            }
            _ => return Err(self.repository.fault(response).await),
        };
        match response.content_length() {
            Some(length) if length != remaining => {
                Err(Fault::InvalidResponse(format!("the response announces {length} bytes instead of {remaining}")))
            }
            _ => Ok(response),
        }
    }
}

/// Whether a `Content-Range` begins there; its end is checked by length and digest.
fn begins_at(content_range: &str, start: u64) -> bool {
    let begin = content_range.strip_prefix("bytes ").and_then(|range| range.split_once('-')).map(|(begin, _)| begin);
    begin.and_then(|begin| begin.trim().parse().ok()) == Some(start)
}

#[cfg(test)]
mod tests {
    use std::{
        sync::atomic::{AtomicU32, Ordering},
        time::Duration,
    };

    use super::*;
    use crate::{
        model::{Digest, Retry},
        registry::{
            MinTransferRate, Settings,
            testing::{RecordedRequest, Reply, Server, content, descriptor, read_all, settings},
        },
    };

    /// The response to a request with or without a range.
    fn range_reply(request: &RecordedRequest, content: &[u8]) -> Reply {
        let Some(start) = request.header("range") else { return Reply::new(200).body(content) };
        let start: usize = start.strip_prefix("bytes=").unwrap().strip_suffix('-').unwrap().parse().unwrap();
        let (last, length) = (content.len() - 1, content.len());
        Reply::new(206).header("Content-Range", format!("bytes {start}-{last}/{length}")).body(&content[start..])
    }

    #[tokio::test]
    async fn sends_no_request_before_the_stream_is_polled() {
        let server = Server::start(|_| Reply::new(200).body("abc")).await;
        let stream = server.repository().blob(&descriptor(b"abc"));
        assert!(server.request_lines().is_empty());
        assert_eq!(read_all(stream).await.unwrap(), b"abc");
        assert_eq!(server.request_lines(), [format!("GET /v2/team/app/blobs/{}", Digest::sha256(b"abc"))]);
    }

    #[tokio::test]
    async fn resumes_a_broken_download() {
        let whole = content(3_000_000);
        let expected = descriptor(&whole);
        let served = whole.clone();
        let count = AtomicU32::new(0);
        let server = Server::start(move |request| {
            let reply = range_reply(request, &served);
            match count.fetch_add(1, Ordering::SeqCst) {
                0 => reply.cut(1_000_000),
                1 => reply.cut(500_000),
                _ => reply,
            }
        })
        .await;
        assert!(read_all(server.repository().blob(&expected)).await.unwrap() == whole);
        let ranges: Vec<_> =
            server.requests().iter().map(|request| request.header("range").map(str::to_owned)).collect();
        assert_eq!(ranges, [None, Some("bytes=1000000-".to_owned()), Some("bytes=1500000-".to_owned())]);
    }

    #[tokio::test]
    async fn failures_do_not_add_up_while_bytes_come() {
        let whole = content(10 * 1024 * 1024);
        let expected = descriptor(&whole);
        let served = whole.clone();
        let server = Server::start(move |request| {
            let reply = range_reply(request, &served);
            reply.clone().cut(reply.length().min(1_200_000))
        })
        .await;
        assert!(read_all(server.repository().blob(&expected)).await.unwrap() == whole);
        assert!(server.requests().len() > 3);
    }

    #[tokio::test]
    async fn restarts_at_a_server_without_ranges() {
        for refuses in [
            |_: &[u8]| Reply::new(200),
            |_: &[u8]| Reply::new(416),
            |_: &[u8]| Reply::new(206).header("Content-Range", "bytes 3-199999/200000"),
        ] {
            let whole = content(200_000);
            let expected = descriptor(&whole);
            let served = whole.clone();
            let count = AtomicU32::new(0);
            let server =
                Server::start(move |request| match (count.fetch_add(1, Ordering::SeqCst), request.header("range")) {
                    (0, _) => Reply::new(200).body(&served).cut(70_000),
                    (_, Some(_)) => refuses(&served).body(&served),
                    (_, None) => Reply::new(200).body(&served),
                })
                .await;
            assert!(read_all(server.repository().blob(&expected)).await.unwrap() == whole);
        }
    }

    #[tokio::test]
    async fn resumes_a_stalled_download() {
        let whole = content(200_000);
        let expected = descriptor(&whole);
        let served = whole.clone();
        let count = AtomicU32::new(0);
        let server = Server::start(move |request| {
            let reply = range_reply(request, &served);
            if count.fetch_add(1, Ordering::SeqCst) == 0 { reply.stall(70_000) } else { reply }
        })
        .await;
        let impatient = Settings { request_timeout: Some(Duration::from_millis(50)), ..settings() };
        assert!(read_all(server.repository_with(impatient).blob(&expected)).await.unwrap() == whole);
    }

    #[tokio::test]
    async fn gives_up_on_a_download_below_the_minimum_rate() {
        let whole = content(50_000);
        let expected = descriptor(&whole);
        let server = Server::start(move |request| range_reply(request, &whole).drip(Duration::from_millis(20))).await;
        let min_rate = MinTransferRate { bytes_per_second: 4096, window: Duration::from_millis(300) };
        let settings = Settings { min_transfer_rate: Some(min_rate), ..settings() };
        let blob = read_all(server.repository_with(settings).blob(&expected));
        let (received, error) =
            tokio::time::timeout(Duration::from_secs(60), blob).await.expect("it goes on").unwrap_err();
        assert!(error.to_string().contains("too slowly"), "{error}");
        assert_eq!((error.retry(), server.requests().len()), (Retry::Soon, 3));
        assert!(received.len() < 1_000);
    }

    #[tokio::test]
    async fn does_not_blame_the_source_for_a_slow_target() {
        let whole = content(400_000);
        let expected = descriptor(&whole);
        let server = Server::start(move |request| range_reply(request, &whole)).await;
        let min_rate = MinTransferRate { bytes_per_second: 1 << 20, window: Duration::from_millis(50) };
        let mut blob =
            server.repository_with(Settings { min_transfer_rate: Some(min_rate), ..settings() }).blob(&expected);
        while let Some(bytes) = futures::TryStreamExt::try_next(&mut blob).await.unwrap() {
            assert!(!bytes.is_empty());
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        assert_eq!(server.requests().len(), 1);
    }

    #[tokio::test]
    async fn never_yields_all_bytes_of_wrong_content() {
        let whole = content(3_000_000);
        for (flipped, name) in [(0, "first"), (1_500_000, "middle"), (2_999_999, "last")] {
            let mut wrong = whole.clone();
            wrong[flipped] ^= 1;
            let server = Server::start(move |request| range_reply(request, &wrong)).await;
            let (received, error) = read_all(server.repository().blob(&descriptor(&whole))).await.unwrap_err();
            assert!(received.len() < whole.len(), "{name}");
            assert!(error.to_string().contains("has the digest"), "{name}: {error}");
            assert_eq!(error.retry(), Retry::Soon, "{name}");
        }
    }

    #[tokio::test]
    async fn retries_wrong_content_that_was_not_yielded() {
        let count = AtomicU32::new(0);
        let server = Server::start(move |_| {
            Reply::new(200).body(if count.fetch_add(1, Ordering::SeqCst) == 0 { "abx" } else { "abc" })
        })
        .await;
        assert_eq!(read_all(server.repository().blob(&descriptor(b"abc"))).await.unwrap(), b"abc");
    }

    #[tokio::test]
    async fn rejects_wrong_sizes() {
        let whole = content(300_000);
        let long = [&whole[..], b"x"].concat();
        for reply in [
            Reply::new(200).body(&long),
            Reply::new(200).body(&long).chunked(),
            Reply::new(200).body(&whole[1..]),
            Reply::new(200).body(&whole[1..]).chunked(),
            Reply::new(200).body("<html>200</html>"),
        ] {
            let server = Server::start(move |_| reply.clone()).await;
            let (received, error) = read_all(server.repository().blob(&descriptor(&whole))).await.unwrap_err();
            assert!(received.len() < whole.len(), "{error}");
        }
    }

    #[tokio::test]
    async fn rejects_a_wrong_content_length_before_reading() {
        for (announced, expected) in [(2, "announces 2 bytes"), (4_000_000_000_u64, "announces 4000000000 bytes")] {
            let server = Server::start(move |_| Reply::new(200).header("Content-Length", announced).stall(0)).await;
            let (_, error) = read_all(server.repository().blob(&descriptor(b"abc"))).await.unwrap_err();
            assert!(error.to_string().contains(expected), "{error}");
        }
    }

    #[tokio::test]
    async fn knows_an_empty_blob_without_a_request() {
        let server = Server::start(|_| Reply::new(500)).await;
        assert_eq!(read_all(server.repository().blob(&descriptor(b""))).await.unwrap(), b"");
        let wrong = Descriptor { size: 0, ..descriptor(b"abc") };
        assert!(read_all(server.repository().blob(&wrong)).await.is_err());
    }

    #[tokio::test]
    async fn a_missing_blob_is_not_retried() {
        let server = Server::start(|_| Reply::new(404)).await;
        let (_, error) = read_all(server.repository().blob(&descriptor(b"abc"))).await.unwrap_err();
        assert_eq!((error.retry(), server.requests().len()), (Retry::Later, 1));
    }

    #[test]
    fn parses_content_range() {
        for (text, begins) in
            [("bytes 5-9/10", true), ("bytes 5-9/*", true), ("bytes 4-9/10", false), ("5-9", false), ("", false)]
        {
            assert_eq!(begins_at(text, 5), begins, "{text}");
        }
    }
}
