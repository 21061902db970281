//! Reads blobs. Here because oci-client 0.18 does not take up what broke: its ranges are unverified, and it follows the
//! `urls` of a descriptor to wherever they lead.

use std::pin::Pin;

use bytes::Bytes;
use futures::{Stream, stream};
use http::{
    HeaderMap, HeaderValue, Method, StatusCode,
    header::{CONTENT_RANGE, RANGE},
};

use crate::model::Hasher;
use crate::registry::{
    Descriptor, Error, Repository,
    client::{Payload, Request, To},
    error::Fault,
    http::response::Response,
};

/// The bytes of a blob. The last of them come only after size and digest were found right.
pub type BlobStream = Pin<Box<dyn Stream<Item = Result<Bytes, Error>> + Send + 'static>>;

/// After so many bytes a connection that breaks is a new failure, not one more of the same.
const PROGRESS: u64 = 1024 * 1024;

/// Nothing is asked before the stream is.
pub(in crate::registry) fn stream(repository: Repository, descriptor: Descriptor) -> BlobStream {
    let download = Download {
        hasher: Some(descriptor.digest.algorithm().hasher()),
        repository,
        descriptor,
        response: None,
        taken: 0,
        skip: 0,
        yielded: false,
        ranges: true,
        failures: 0,
        taken_at_failure: 0,
    };
    Box::pin(stream::try_unfold(download, |mut download| async {
        match download.next().await {
            Ok(Some(bytes)) => Ok(Some((bytes, download))),
            Ok(None) => Ok(None),
            Err(fault) => Err(download.repository.blob_error("reading", &download.descriptor.digest, fault)),
        }
    }))
}

struct Download {
    repository: Repository,
    descriptor: Descriptor,
    response: Option<Response>,
    /// None once the whole was found right.
    hasher: Option<Hasher>,
    /// Bytes hashed so far.
    taken: u64,
    /// Bytes at the head of this answer that were hashed from an earlier one.
    skip: u64,
    yielded: bool,
    /// Whether the server is believed to serve ranges.
    ranges: bool,
    failures: u32,
    taken_at_failure: u64,
}

impl Download {
    async fn next(&mut self) -> Result<Option<Bytes>, Fault> {
        loop {
            let fault = match self.piece().await {
                Ok(piece) => return Ok(piece),
                Err(fault) => fault,
            };
            self.response = None;
            if matches!(fault, Fault::Digest { .. }) {
                if self.yielded {
                    return Err(fault);
                }
                self.hasher = Some(self.descriptor.digest.algorithm().hasher());
                self.taken = 0;
            }
            if self.taken.saturating_sub(self.taken_at_failure) >= PROGRESS {
                self.failures = 0;
            }
            self.failures = self.failures.saturating_add(1);
            self.taken_at_failure = self.taken;
            let Some(pause) = self.repository.wire.backoff().pause(self.failures, fault.retry()) else {
                return Err(fault);
            };
            tracing::debug!(digest = %self.descriptor.digest, taken = self.taken, ?pause, "reading on: {fault}");
            tokio::time::sleep(pause).await;
        }
    }

    /// The next bytes that are new.
    async fn piece(&mut self) -> Result<Option<Bytes>, Fault> {
        loop {
            let Some(hasher) = &mut self.hasher else { return Ok(None) };
            let size = self.descriptor.size;
            if self.taken == size {
                // Only an empty blob has nothing left to read here.
                return self.check().map(|()| None);
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
                return Err(Fault::Malformed(format!("it ended after {} of {size} bytes", self.taken)));
            };
            let length = bytes.len() as u64;
            if self.skip >= length {
                self.skip -= length;
                continue;
            }
            // Less than the length of a piece, so it fits.
            drop(bytes.split_to(usize::try_from(self.skip).unwrap_or(usize::MAX)));
            self.skip = 0;
            let taken = self.taken + bytes.len() as u64;
            if taken > size {
                return Err(Fault::Refused(format!("it is longer than the {size} bytes that its manifest says")));
            }
            hasher.update(&bytes);
            self.taken = taken;
            if taken == size {
                self.check()?;
            }
            self.yielded = true;
            return Ok(Some(bytes));
        }
    }

    /// Whether the whole is what it should be.
    fn check(&mut self) -> Result<(), Fault> {
        let Some(hasher) = self.hasher.take() else { return Ok(()) };
        let found = hasher.finish();
        let expected = self.descriptor.digest.clone();
        if found == expected { Ok(()) } else { Err(Fault::Digest { expected, found }) }
    }

    async fn open(&mut self) -> Result<Response, Fault> {
        let (size, start) = (self.descriptor.size, self.taken);
        let ranged = start > 0 && self.ranges;
        let mut headers = HeaderMap::new();
        if ranged {
            let range = HeaderValue::from_str(&format!("bytes={start}-"));
            headers.extend(range.ok().map(|range| (RANGE, range)));
        }
        let path = self.repository.blob_path(&self.descriptor.digest);
        let scopes = [self.repository.pull_scope()];
        let to = To::Path(&path, None);
        let request =
            Request { method: Method::GET, to, headers, scopes: &scopes, has_room: true, payload: Payload::Empty };
        let response = self.repository.wire.send(&self.repository.host, request).await?;
        let rest = match response.status() {
            StatusCode::OK => {
                self.skip = start;
                size
            }
            StatusCode::PARTIAL_CONTENT if ranged => {
                self.skip = 0;
                let given = response.header(CONTENT_RANGE.as_str()).unwrap_or_default();
                if !begins_at(given, start) {
                    self.ranges = false;
                    return Err(Fault::Malformed(format!("asked for bytes from {start} on, it sent {given:?}")));
                }
                size - start
            }
            StatusCode::RANGE_NOT_SATISFIABLE if ranged => {
                self.ranges = false;
                return Err(Fault::Malformed(format!("it has no bytes from {start} on")));
            }
            _ => return Err(self.repository.refusal(response).await),
        };
        match response.length() {
            Some(length) if length != rest => {
                Err(Fault::Malformed(format!("it announces {length} bytes where its manifest says {rest}")))
            }
            _ => Ok(response),
        }
    }
}

/// Whether a `Content-Range` begins there; the end is seen by length and digest.
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
    use crate::registry::settings::Settings;
    use crate::registry::testing::{Asked, Reply, Server, content, descriptor, read, settings};
    use crate::{
        model::{Digest, Retry},
        registry::LeastRate,
    };

    /// The rest as a range asks for it.
    fn ranged(asked: &Asked, content: &[u8]) -> Reply {
        let Some(start) = asked.header("range") else { return Reply::new(200).body(content) };
        let start: usize = start.strip_prefix("bytes=").unwrap().strip_suffix('-').unwrap().parse().unwrap();
        let (last, length) = (content.len() - 1, content.len());
        Reply::new(206).header("Content-Range", format!("bytes {start}-{last}/{length}")).body(&content[start..])
    }

    #[tokio::test]
    async fn nothing_is_asked_before_the_first_bytes_are() {
        let server = Server::start(|_| Reply::new(200).body("abc")).await;
        let stream = server.repository().blob(&descriptor(b"abc"));
        assert!(server.lines().is_empty());
        assert_eq!(read(stream).await.unwrap(), b"abc");
        assert_eq!(server.lines(), [format!("GET /v2/team/app/blobs/{}", Digest::sha256(b"abc"))]);
    }

    #[tokio::test]
    async fn a_broken_download_goes_on_where_it_broke() {
        let whole = content(3_000_000);
        let expected = descriptor(&whole);
        let served = whole.clone();
        let count = AtomicU32::new(0);
        let server = Server::start(move |asked| {
            let reply = ranged(asked, &served);
            match count.fetch_add(1, Ordering::SeqCst) {
                0 => reply.cut(1_000_000),
                1 => reply.cut(500_000),
                _ => reply,
            }
        })
        .await;
        assert!(read(server.repository().blob(&expected)).await.unwrap() == whole);
        let ranges: Vec<_> = server.asked().iter().map(|asked| asked.header("range").map(str::to_owned)).collect();
        assert_eq!(ranges, [None, Some("bytes=1000000-".to_owned()), Some("bytes=1500000-".to_owned())]);
    }

    #[tokio::test]
    async fn breaks_do_not_add_up_while_bytes_come() {
        let whole = content(10 * 1024 * 1024);
        let expected = descriptor(&whole);
        let served = whole.clone();
        let server = Server::start(move |asked| {
            let reply = ranged(asked, &served);
            reply.clone().cut(reply.length().min(1_200_000))
        })
        .await;
        assert!(read(server.repository().blob(&expected)).await.unwrap() == whole);
        assert!(server.asked().len() > 3);
    }

    #[tokio::test]
    async fn a_server_without_ranges_is_read_from_the_start() {
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
                Server::start(move |asked| match (count.fetch_add(1, Ordering::SeqCst), asked.header("range")) {
                    (0, _) => Reply::new(200).body(&served).cut(70_000),
                    (_, Some(_)) => refuses(&served).body(&served),
                    (_, None) => Reply::new(200).body(&served),
                })
                .await;
            assert!(read(server.repository().blob(&expected)).await.unwrap() == whole);
        }
    }

    #[tokio::test]
    async fn a_stalled_download_goes_on() {
        let whole = content(200_000);
        let expected = descriptor(&whole);
        let served = whole.clone();
        let count = AtomicU32::new(0);
        let server = Server::start(move |asked| {
            let reply = ranged(asked, &served);
            if count.fetch_add(1, Ordering::SeqCst) == 0 { reply.stall(70_000) } else { reply }
        })
        .await;
        let impatient = Settings { request_timeout: Some(Duration::from_millis(50)), ..settings() };
        assert!(read(server.repository_with(impatient).blob(&expected)).await.unwrap() == whole);
    }

    #[tokio::test]
    async fn a_download_that_drips_is_given_up() {
        let whole = content(50_000);
        let expected = descriptor(&whole);
        let server = Server::start(move |asked| ranged(asked, &whole).drip(Duration::from_millis(20))).await;
        let least = LeastRate { bytes_per_second: 4096, window: Duration::from_millis(300) };
        let settings = Settings { least_rate: Some(least), ..settings() };
        let blob = read(server.repository_with(settings).blob(&expected));
        let (came, error) =
            tokio::time::timeout(Duration::from_secs(60), blob).await.expect("it drips on").unwrap_err();
        assert!(error.to_string().contains("too slowly"), "{error}");
        assert_eq!((error.retry(), server.asked().len()), (Retry::Soon, 3));
        assert!(came.len() < 1_000);
    }

    #[tokio::test]
    async fn a_source_is_not_slow_because_the_target_is() {
        let whole = content(400_000);
        let expected = descriptor(&whole);
        let server = Server::start(move |asked| ranged(asked, &whole)).await;
        let least = LeastRate { bytes_per_second: 1 << 20, window: Duration::from_millis(50) };
        let mut blob = server.repository_with(Settings { least_rate: Some(least), ..settings() }).blob(&expected);
        while let Some(bytes) = futures::TryStreamExt::try_next(&mut blob).await.unwrap() {
            assert!(!bytes.is_empty());
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        assert_eq!(server.asked().len(), 1);
    }

    #[tokio::test]
    async fn wrong_bytes_are_never_handed_over_whole() {
        let whole = content(3_000_000);
        for (flipped, name) in [(0, "first"), (1_500_000, "middle"), (2_999_999, "last")] {
            let mut wrong = whole.clone();
            wrong[flipped] ^= 1;
            let server = Server::start(move |asked| ranged(asked, &wrong)).await;
            let (came, error) = read(server.repository().blob(&descriptor(&whole))).await.unwrap_err();
            assert!(came.len() < whole.len(), "{name}");
            assert!(error.to_string().contains("has the digest"), "{name}: {error}");
            assert_eq!(error.retry(), Retry::Soon, "{name}");
        }
    }

    #[tokio::test]
    async fn wrong_bytes_that_nobody_saw_are_asked_for_again() {
        let count = AtomicU32::new(0);
        let server = Server::start(move |_| {
            Reply::new(200).body(if count.fetch_add(1, Ordering::SeqCst) == 0 { "abx" } else { "abc" })
        })
        .await;
        assert_eq!(read(server.repository().blob(&descriptor(b"abc"))).await.unwrap(), b"abc");
    }

    #[tokio::test]
    async fn too_long_and_too_short_are_errors() {
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
            let (came, error) = read(server.repository().blob(&descriptor(&whole))).await.unwrap_err();
            assert!(came.len() < whole.len(), "{error}");
        }
    }

    #[tokio::test]
    async fn a_wrong_length_is_seen_before_anything_is_read() {
        for (announced, told) in [(2, "announces 2 bytes"), (4_000_000_000_u64, "announces 4000000000 bytes")] {
            let server = Server::start(move |_| Reply::new(200).header("Content-Length", announced).stall(0)).await;
            let (_, error) = read(server.repository().blob(&descriptor(b"abc"))).await.unwrap_err();
            assert!(error.to_string().contains(told), "{error}");
        }
    }

    #[tokio::test]
    async fn an_empty_blob_is_known_without_asking() {
        let server = Server::start(|_| Reply::new(500)).await;
        assert_eq!(read(server.repository().blob(&descriptor(b""))).await.unwrap(), b"");
        let wrong = Descriptor { size: 0, ..descriptor(b"abc") };
        assert!(read(server.repository().blob(&wrong)).await.is_err());
    }

    #[tokio::test]
    async fn a_missing_blob_is_an_error_at_once() {
        let server = Server::start(|_| Reply::new(404)).await;
        let (_, error) = read(server.repository().blob(&descriptor(b"abc"))).await.unwrap_err();
        assert_eq!((error.retry(), server.asked().len()), (Retry::Later, 1));
    }

    #[test]
    fn a_content_range_is_read() {
        for (text, begins) in
            [("bytes 5-9/10", true), ("bytes 5-9/*", true), ("bytes 4-9/10", false), ("5-9", false), ("", false)]
        {
            assert_eq!(begins_at(text, 5), begins, "{text}");
        }
    }
}
