//! Writes blobs. Here because oci-client 0.18 sends them in pieces of at most 4 MiB or without looking at their end,
//! leaves the session of a refused mount behind, and asks for no right to mount.

use std::{
    io,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use futures::{Stream, StreamExt, future, stream::Peekable};
use http::{HeaderMap, HeaderValue, Method, StatusCode, header::CONTENT_TYPE};

use crate::model::{Digest, Retry};
use crate::registry::{
    BlobStream, Descriptor, Error, Repository, UploadError,
    client::{Onward, Payload, Request, To, Wire},
    error::Fault,
    host::Host,
    http::response::Response,
    http::stall::Patience,
    repository::{check_announced, query},
};

/// So long it may take to tell a registry that nothing more comes. Nobody waits for it but the registry's disk.
const LONGEST_FAREWELL: Duration = Duration::from_secs(10);

/// See [`Repository::mount`]. The session of a refused mount is kept for the upload that follows.
pub(in crate::registry) async fn mount(to: &Repository, digest: &Digest, from: &str) -> Result<bool, Fault> {
    let scopes = [to.push_scope(), format!("repository:{from}:pull")];
    let query = query(&[("mount", &digest.to_string()), ("from", from)]);
    let asked = || async {
        let response = start(to, Some(&query), &scopes, false).await?;
        match response.status() {
            StatusCode::CREATED => check_announced(&response, digest).map(|()| true),
            StatusCode::ACCEPTED => {
                if let Ok(session) = to.wire.location(&response) {
                    for (repository, unused) in to.host.keep_session(&to.name, digest, session) {
                        drop(Session::in_repository(to, &repository, unused));
                    }
                }
                Ok(false)
            }
            status if status.is_success() => {
                Err(Fault::Malformed(format!("it answered {status} where a blob was to be mounted")))
            }
            // A mount saves work, no more: an upload tells whether something is wrong.
            status if status.is_client_error() && status != StatusCode::TOO_MANY_REQUESTS => {
                tracing::debug!(repository = %to, %digest, from, status = status.as_u16(), "mount refused");
                Ok(false)
            }
            _ => Err(to.refusal(response).await),
        }
    };
    to.wire.backoff().run(asked).await
}

/// See [`Repository::upload`].
pub(in crate::registry) async fn upload(
    to: &Repository,
    descriptor: &Descriptor,
    body: BlobStream,
    progress: impl Fn(u64) + Send + Sync + 'static,
) -> Result<(), UploadError> {
    let mut body = body.peekable();
    let digest = &descriptor.digest;
    let target = |fault| UploadError::Target(to.blob_error("writing", digest, fault));
    if descriptor.size == 0 {
        // An empty body is never asked for, so what its source has to say is heard before.
        while let Some(piece) = body.next().await {
            let piece = piece.map_err(UploadError::Source)?;
            if !piece.is_empty() {
                return Err(UploadError::Source(wrong_size(to, descriptor, piece.len() as u64)));
            }
        }
    }
    let session = async {
        match to.host.take_session(&to.name, digest) {
            Some(kept) => Ok(Session::in_repository(to, &to.name, kept)),
            None => open_session(to).await,
        }
    };
    // Both sides are reached within one round trip.
    let source = async {
        Pin::new(&mut body).peek().await;
        Ok(())
    };
    let (mut session, ()) = future::try_join(session, source).await.map_err(target)?;
    if let Some(Err(error)) = Pin::new(&mut body).next_if(Result::is_err).await {
        return Err(UploadError::Source(error));
    }
    let mut last = session.at.clone();
    last.url.query_pairs_mut().append_pair("digest", &digest.to_string());

    let patience = Arc::new(Patience::new(to.wire.least_rate()));
    let broke = Arc::new(Mutex::new(None));
    let outgoing = Outgoing {
        source: body,
        sent: 0,
        repository: to.clone(),
        descriptor: descriptor.clone(),
        patience: Arc::clone(&patience),
        progress,
        broke: Arc::clone(&broke),
    };
    let payload = match descriptor.size {
        0 => Payload::Empty,
        length => Payload::Stream { body: reqwest::Body::wrap_stream(outgoing), length, patience },
    };
    let headers = HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"))]);
    let scopes = [to.push_scope()];
    let request =
        Request { method: Method::PUT, to: To::Onward(last), headers, scopes: &scopes, has_room: true, payload };
    let answer = to.wire.send(&to.host, request).await;
    if let Some(error) = broke.lock().unwrap_or_else(PoisonError::into_inner).take() {
        return Err(UploadError::Source(error));
    }
    let response = answer.map_err(target)?;
    // What it has stored is no session any more, and who asks for less is asked for nothing else.
    session.is_open = match response.status() {
        StatusCode::UNAUTHORIZED
        | StatusCode::FORBIDDEN
        | StatusCode::NOT_FOUND
        | StatusCode::TOO_MANY_REQUESTS
        | StatusCode::SERVICE_UNAVAILABLE => false,
        status => !status.is_success(),
    };
    match response.status() {
        StatusCode::OK if response.is_page() => {
            Err(target(Fault::Malformed("a web page came where a blob was to be stored".to_owned())))
        }
        StatusCode::OK | StatusCode::CREATED | StatusCode::NO_CONTENT => {
            check_announced(&response, digest).map_err(target)
        }
        status if status.is_success() => {
            let fault = Fault::Malformed(format!("it answered {status} to a whole blob, so it has not stored it"));
            Err(target(fault))
        }
        // The session, opened a moment ago, is forgotten; whoever sends the blob again opens another.
        StatusCode::NOT_FOUND => Err(target(to.refusal(response).await.with_retry(Retry::Soon))),
        _ => Err(target(to.refusal(response).await)),
    }
}

/// An upload that has begun. Whoever drops it unfinished, be it that the upload failed or that nobody wants it any more,
/// has it taken back: what was sent would lie at the registry for days.
struct Session {
    repository: Repository,
    at: Onward,
    is_open: bool,
}

impl Session {
    /// One of the repository `name` of the same registry as `to`.
    fn in_repository(to: &Repository, name: &str, at: Onward) -> Self {
        Self { repository: Repository::at(Arc::clone(&to.wire), Arc::clone(&to.host), name), at, is_open: true }
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        if !self.is_open {
            return;
        }
        let (repository, at) = (self.repository.clone(), self.at.clone());
        self.repository.wire.clear(async move {
            let scopes = [repository.push_scope()];
            let (to, headers) = (To::Onward(at), HeaderMap::new());
            let request = Request {
                method: Method::DELETE,
                to,
                headers,
                scopes: &scopes,
                has_room: false,
                payload: Payload::Empty,
            };
            let farewell = repository.wire.send(&repository.host, request);
            let status =
                tokio::time::timeout(LONGEST_FAREWELL, farewell).await.map(|answer| answer.map(|it| it.status()));
            tracing::debug!(%repository, ?status, "took an unfinished upload back");
        });
    }
}

/// Takes back all sessions of a host that were kept for uploads.
pub(in crate::registry) fn clear(wire: &Arc<Wire>, host: &Arc<Host>) {
    for (name, at) in host.drop_sessions() {
        let repository = Repository::at(Arc::clone(wire), Arc::clone(host), &name);
        drop(Session { repository, at, is_open: true });
    }
}

async fn open_session(to: &Repository) -> Result<Session, Fault> {
    let response = start(to, None, &[to.push_scope()], true).await?;
    match response.status() {
        StatusCode::ACCEPTED => Ok(Session::in_repository(to, &to.name, to.wire.location(&response)?)),
        status if status.is_success() => {
            Err(Fault::Malformed(format!("it answered {status} where an upload was to begin")))
        }
        _ => Err(to.refusal(response).await),
    }
}

async fn start(to: &Repository, query: Option<&str>, scopes: &[String], has_room: bool) -> Result<Response, Fault> {
    let path = format!("/v2/{}/blobs/uploads/", to.name);
    let to_path = To::Path(&path, query);
    let request = Request {
        method: Method::POST,
        to: to_path,
        headers: HeaderMap::new(),
        scopes,
        has_room,
        payload: Payload::Empty,
    };
    to.wire.send(&to.host, request).await
}

fn wrong_size(to: &Repository, descriptor: &Descriptor, found: u64) -> Error {
    let fault = Fault::Malformed(format!("{found} bytes came where its manifest says {}", descriptor.size));
    to.blob_error("reading for", &descriptor.digest, fault)
}

/// A body that counts, and remembers why it ended early.
struct Outgoing<P> {
    source: Peekable<BlobStream>,
    sent: u64,
    repository: Repository,
    descriptor: Descriptor,
    patience: Arc<Patience>,
    progress: P,
    broke: Arc<Mutex<Option<Error>>>,
}

impl<P> Outgoing<P> {
    fn end(&self, error: Error) -> io::Error {
        *self.broke.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
        io::Error::other("the blob's source broke")
    }
}

// Nothing in it is pinned but the source, which is pinned in its box.
impl<P> Unpin for Outgoing<P> {}

impl<P: Fn(u64)> Stream for Outgoing<P> {
    type Item = io::Result<Bytes>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<io::Result<Bytes>>> {
        self.patience.source_is_asked();
        let piece = match self.source.poll_next_unpin(context) {
            Poll::Pending => return Poll::Pending,
            Poll::Ready(piece) => piece,
        };
        let length = piece.as_ref().and_then(|piece| piece.as_ref().ok()).map_or(0, Bytes::len);
        self.patience.receiver_is_handed(length as u64);
        let size = self.descriptor.size;
        Poll::Ready(match piece {
            Some(Ok(bytes)) => {
                let length = bytes.len() as u64;
                self.sent += length;
                if self.sent > size {
                    Some(Err(self.end(wrong_size(&self.repository, &self.descriptor, self.sent))))
                } else {
                    (self.progress)(length);
                    Some(Ok(bytes))
                }
            }
            Some(Err(error)) => Some(Err(self.end(error))),
            None if self.sent < size => Some(Err(self.end(wrong_size(&self.repository, &self.descriptor, self.sent)))),
            None => None,
        })
    }
}

#[cfg(test)]
mod tests {
    use std::{
        sync::atomic::{AtomicBool, AtomicU64, Ordering},
        time::Duration,
    };

    use super::*;
    use crate::model::Retry;
    use crate::registry::settings::Settings;
    use crate::registry::testing::{Asked, Reply, Server, content, descriptor, once, settings};

    fn target(error: UploadError) -> Error {
        match error {
            UploadError::Target(error) => error,
            UploadError::Source(error) => panic!("source: {error}"),
        }
    }

    fn source(error: UploadError) -> Error {
        match error {
            UploadError::Source(error) => error,
            UploadError::Target(error) => panic!("target: {error}"),
        }
    }

    /// Begins uploads at that location, and takes what is put.
    fn taking(location: &'static str) -> impl Fn(&Asked) -> Reply + Send + Sync {
        move |asked| match asked.method.as_str() {
            "POST" => Reply::new(202).header("Location", location),
            _ => Reply::new(201),
        }
    }

    #[tokio::test]
    async fn a_blob_goes_in_one_request_to_where_the_registry_says() {
        let whole = content(3_000_000);
        let expected = descriptor(&whole);
        let digest = expected.digest.to_string().replace(':', "%3A");
        for (location, put) in [
            ("/v2/team/app/blobs/uploads/7", format!("PUT /v2/team/app/blobs/uploads/7?digest={digest}")),
            ("/up?_state=a%3Db&x", format!("PUT /up?_state=a%3Db&x&digest={digest}")),
            ("8", format!("PUT /v2/team/app/blobs/uploads/8?digest={digest}")),
        ] {
            let server = Server::start(taking(location)).await;
            let sent = Arc::new(AtomicU64::new(0));
            let count = Arc::clone(&sent);
            let progress = move |bytes| {
                count.fetch_add(bytes, Ordering::SeqCst);
            };
            server.repository().upload(&expected, once(&whole), progress).await.unwrap();
            assert_eq!(server.lines(), ["POST /v2/team/app/blobs/uploads/".to_owned(), put]);
            let asked = &server.asked()[1];
            assert_eq!(asked.header("content-length"), Some("3000000"));
            assert!(asked.body == whole);
            assert_eq!(sent.load(Ordering::SeqCst), 3_000_000);
        }
    }

    #[tokio::test]
    async fn a_copy_can_run_as_a_task() {
        let source = Server::start(|_| Reply::new(200).body("abc")).await;
        let server = Server::start(taking("/up")).await;
        let (from, to) = (source.repository(), server.repository());
        let copied = tokio::spawn(async move {
            let blob = descriptor(b"abc");
            to.upload(&blob, from.blob(&blob), |_| ()).await
        });
        copied.await.unwrap().unwrap();
        assert_eq!(server.asked()[1].body, b"abc");
    }

    #[tokio::test]
    async fn a_turn_that_is_long_in_coming_is_no_stall() {
        let server = Server::start(|asked| match asked.method.as_str() {
            "HEAD" => Reply::new(429).header("Retry-After", 1),
            "POST" => Reply::new(202).header("Location", "/up").after(Duration::from_millis(200)),
            _ => Reply::new(201),
        })
        .await;
        let mut settings = settings();
        settings.backoff.attempts = 1;
        settings.request_timeout = Some(Duration::from_millis(500));
        let repository = server.repository_with(settings);
        let blob = descriptor(b"abc");
        let (throttled, sent) =
            tokio::join!(repository.has_blob(&blob.digest), repository.upload(&blob, once(b"abc"), |_| ()));
        throttled.unwrap_err();
        sent.unwrap();
    }

    #[tokio::test]
    async fn the_source_is_asked_before_the_upload_has_begun() {
        let asked = Arc::new(AtomicBool::new(false));
        let source = Arc::clone(&asked);
        let server = Server::start(move |request| match request.method.as_str() {
            "POST" if !asked.load(Ordering::SeqCst) => Reply::new(400),
            "POST" => Reply::new(202).header("Location", "/up"),
            _ => Reply::new(201),
        })
        .await;
        let body: BlobStream = Box::pin(futures::stream::once(async move {
            source.store(true, Ordering::SeqCst);
            Ok("abc".into())
        }));
        server.repository().upload(&descriptor(b"abc"), body, |_| ()).await.unwrap();
        assert_eq!(server.asked()[1].body, b"abc");
    }

    #[tokio::test]
    async fn an_empty_blob_is_sent() {
        let server = Server::start(taking("/up")).await;
        server.repository().upload(&descriptor(b""), once(b""), |_| ()).await.unwrap();
        assert_eq!(server.asked()[1].header("content-length"), Some("0"));
    }

    #[tokio::test]
    async fn a_source_that_breaks_is_told_from_a_target_that_does() {
        let expected = descriptor(b"abcdef");
        let server = Server::start(taking("/up")).await;
        let repository = server.repository();
        for body in [once(b"abc"), once(b"abcdefg")] {
            let error = source(repository.upload(&expected, body, |_| ()).await.unwrap_err());
            assert!(error.to_string().contains("where its manifest says 6"), "{error}");
        }
        let broken = Error::new("reading".to_owned(), Fault::Malformed("broken".to_owned()));
        let body: BlobStream = Box::pin(futures::stream::iter([Ok("abc".into()), Err(broken)]));
        source(repository.upload(&expected, body, |_| ()).await.unwrap_err());
        assert!(server.lines().iter().all(|line| !line.starts_with("PUT")), "{:?}", server.lines());

        let server = Server::start(|asked| match asked.method.as_str() {
            "POST" => Reply::new(202).header("Location", "/up"),
            _ => Reply::new(507).body("no room"),
        })
        .await;
        let error = target(server.repository().upload(&expected, once(b"abcdef"), |_| ()).await.unwrap_err());
        assert!(error.to_string().contains("no room"), "{error}");
    }

    #[tokio::test]
    async fn an_empty_blob_with_a_broken_source_is_not_sent() {
        let server = Server::start(taking("/up")).await;
        let broken = Error::new("reading".to_owned(), Fault::Malformed("broken".to_owned()));
        let body: BlobStream = Box::pin(futures::stream::iter([Err(broken)]));
        source(server.repository().upload(&descriptor(b""), body, |_| ()).await.unwrap_err());
        source(server.repository().upload(&descriptor(b""), once(b"a"), |_| ()).await.unwrap_err());
        assert!(server.lines().is_empty());
    }

    #[tokio::test]
    async fn a_registry_that_has_not_stored_the_blob_is_not_believed() {
        let other = Digest::sha256(b"other");
        for reply in [Reply::new(202), Reply::new(201).header("Docker-Content-Digest", other)] {
            let server = Server::start(move |asked| match asked.method.as_str() {
                "POST" => Reply::new(202).header("Location", "/up"),
                _ => reply.clone(),
            })
            .await;
            target(server.repository().upload(&descriptor(b"abc"), once(b"abc"), |_| ()).await.unwrap_err());
        }
    }

    #[tokio::test]
    async fn a_registry_that_takes_nothing_is_given_up_and_a_slow_source_is_not() {
        let impatient = Settings { request_timeout: Some(Duration::from_millis(100)), ..settings() };
        let server = Server::start(|asked| match asked.method.as_str() {
            "POST" => Reply::new(202).header("Location", "/up"),
            _ => Reply::new(201).after(Duration::from_secs(3600)),
        })
        .await;
        let repository = server.repository_with(impatient.clone());
        let slow = || -> BlobStream {
            Box::pin(futures::stream::unfold(0, |piece| async move {
                tokio::time::sleep(Duration::from_millis(150)).await;
                (piece < 3).then(|| (Ok(Bytes::from_static(b"a")), piece + 1))
            }))
        };
        for body in [once(b"aaa"), slow()] {
            let error = target(repository.upload(&descriptor(b"aaa"), body, |_| ()).await.unwrap_err());
            assert!(error.to_string().contains("nothing could be sent"), "{error}");
        }

        let server = Server::start(taking("/up")).await;
        server.repository_with(impatient).upload(&descriptor(b"aaa"), slow(), |_| ()).await.unwrap();
    }

    #[tokio::test]
    async fn an_upload_that_cannot_begin_may_be_tried_again() {
        let server = Server::start(|_| Reply::new(503)).await;
        let error = target(server.repository().upload(&descriptor(b"a"), once(b"a"), |_| ()).await.unwrap_err());
        assert_eq!((error.retry(), server.asked().len()), (Retry::Soon, 1));
    }

    #[tokio::test]
    async fn a_mount_that_is_granted_needs_no_upload() {
        let server = Server::start(|_| Reply::new(201)).await;
        let digest = Digest::sha256(b"abc");
        assert!(server.repository().mount(&digest, "base/os").await.unwrap());
        let digest = digest.to_string().replace(':', "%3A");
        assert_eq!(server.lines(), [format!("POST /v2/team/app/blobs/uploads/?mount={digest}&from=base%2Fos")]);
    }

    #[tokio::test]
    async fn the_session_of_a_refused_mount_is_used_once() {
        let server = Server::start(taking("/up")).await;
        let repository = server.repository();
        assert!(!repository.mount(&descriptor(b"abc").digest, "base").await.unwrap());
        for _ in 0..2 {
            repository.upload(&descriptor(b"abc"), once(b"abc"), |_| ()).await.unwrap();
        }
        let methods: Vec<_> = server.asked().into_iter().map(|asked| asked.method).collect();
        assert_eq!(methods, ["POST", "PUT", "POST", "PUT"]);
    }

    #[tokio::test]
    async fn the_session_of_a_refused_mount_that_nobody_needs_is_taken_back() {
        let server = Server::start(|asked| match asked.method.as_str() {
            "POST" => Reply::new(202).header("Location", format!("/up/{}", asked.target.len())),
            _ => Reply::new(204),
        })
        .await;
        let registries = crate::registry::Registries::new(settings(), &[], 64).unwrap();
        let repository = registries.repository(&server.address.to_string(), "team/app");
        for from in ["a", "base"] {
            assert!(!repository.mount(&descriptor(b"abc").digest, from).await.unwrap());
        }
        registries.clear();
        registries.cleared().await;
        let mut taken_back: Vec<_> = server.lines().into_iter().filter(|line| line.starts_with("DELETE")).collect();
        taken_back.sort();
        taken_back.dedup();
        assert_eq!(taken_back.len(), 2, "{:?}", server.lines());
    }

    #[tokio::test]
    async fn a_mount_that_we_may_not_is_no_error_but_a_down_registry_is() {
        let server = Server::start(|_| Reply::new(403)).await;
        assert!(!server.repository().mount(&Digest::sha256(b"abc"), "base").await.unwrap());
        let other = Digest::sha256(b"other");
        for reply in [Reply::new(503), Reply::new(429), Reply::new(201).header("Docker-Content-Digest", other)] {
            let server = Server::start(move |_| reply.clone()).await;
            assert!(server.repository().mount(&Digest::sha256(b"abc"), "base").await.is_err());
        }
    }

    #[tokio::test]
    async fn an_upload_that_nobody_wants_any_more_is_taken_back() {
        let server = Server::start(|asked| match asked.method.as_str() {
            "POST" => Reply::new(202).header("Location", "/up?state=1"),
            "DELETE" => Reply::new(204),
            _ => Reply::new(201).after(Duration::from_secs(3600)),
        })
        .await;
        let repository = server.repository();
        let blob = descriptor(b"abc");
        let upload = repository.upload(&blob, once(b"abc"), |_| ());
        tokio::time::timeout(Duration::from_millis(500), upload).await.unwrap_err();
        for _ in 0..100 {
            if server.lines().iter().any(|line| line == "DELETE /up?state=1") {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("the session stays at the registry: {:?}", server.lines());
    }

    /// A registry that takes so many bytes in each hundredth of a second.
    async fn slow_registry(piece: usize) -> std::net::SocketAddr {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                tokio::spawn(async move {
                    let (mut read, mut wanted) = (Vec::new(), None);
                    let mut piece = vec![0; piece];
                    loop {
                        let Ok(length @ 1..) = stream.read(&mut piece).await else { return };
                        read.extend_from_slice(&piece[..length]);
                        if read[0] == 0x16 {
                            return;
                        }
                        let text = String::from_utf8_lossy(&read[..read.len().min(2_000)]).to_ascii_lowercase();
                        if let Some(head) = text.find("\r\n\r\n").filter(|_| wanted.is_none()) {
                            let length = text.split("content-length: ").nth(1).and_then(|rest| rest.split('\r').next());
                            wanted = Some(head + 4 + length.map_or(0, |length| length.parse::<usize>().unwrap()));
                        }
                        if wanted.is_some_and(|wanted| read.len() >= wanted) {
                            let answer = match text.starts_with("post") {
                                true => "HTTP/1.1 202 Accepted\r\nLocation: /up\r\nContent-Length: 0\r\n\r\n",
                                false => "HTTP/1.1 201 Created\r\nContent-Length: 0\r\n\r\n",
                            };
                            stream.write_all(answer.as_bytes()).await.unwrap();
                            (read, wanted) = (Vec::new(), None);
                        }
                        tokio::time::sleep(Duration::from_millis(10)).await;
                    }
                });
            }
        });
        address
    }

    #[tokio::test]
    async fn a_registry_that_takes_too_slowly_is_given_up_and_one_that_is_fast_enough_is_not() {
        // So long that no buffer on the way holds it.
        let whole = content(32 << 20);
        let expected = descriptor(&whole);
        let pieces = |whole: &[u8]| -> BlobStream {
            let pieces: Vec<_> = whole.chunks(64 << 10).map(|piece| Ok(Bytes::copy_from_slice(piece))).collect();
            Box::pin(futures::stream::iter(pieces))
        };
        let upload = async |piece, kib: u64| {
            let address = slow_registry(piece).await;
            let least = crate::registry::LeastRate { bytes_per_second: kib * 1024, window: Duration::from_millis(300) };
            let settings = Settings { least_rate: Some(least), ..settings() };
            let registries = crate::registry::Registries::new(settings, &[], 64).unwrap();
            let repository = registries.repository(&address.to_string(), "team/app");
            let upload = repository.upload(&expected, pieces(&whole), |_| ());
            tokio::time::timeout(Duration::from_secs(100), upload).await.expect("it goes on and on")
        };
        // Less than a MiB a second.
        let error = target(upload(8 << 10, 16 << 10).await.unwrap_err());
        assert!(error.to_string().contains("takes too slowly"), "{error}");
        assert_eq!(error.retry(), Retry::Soon);
        upload(256 << 10, 16).await.unwrap();
    }
}
