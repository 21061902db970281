//! Uploads to scripted registries.

use std::{
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    time::Duration,
};

use super::*;
use crate::{
    model::{Digest, Retry},
    registry::{
        MinTransferRate, Registries, Settings,
        testing::{RecordedRequest, Reply, Server, content, descriptor, settings, single_chunk},
    },
};

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

/// Starts uploads at that location, and accepts what is put there.
fn accepting_uploads(location: &'static str) -> impl Fn(&RecordedRequest) -> Reply + Send + Sync {
    move |request| match request.method.as_str() {
        "POST" => Reply::new(202).header("Location", location),
        _ => Reply::new(201),
    }
}

#[tokio::test]
async fn uploads_with_one_request_to_the_location() {
    let whole = content(3_000_000);
    let expected = descriptor(&whole);
    let digest = expected.digest.to_string().replace(':', "%3A");
    for (location, put) in [
        ("/v2/team/app/blobs/uploads/7", format!("PUT /v2/team/app/blobs/uploads/7?digest={digest}")),
        ("/up?_state=a%3Db&x", format!("PUT /up?_state=a%3Db&x&digest={digest}")),
        ("8", format!("PUT /v2/team/app/blobs/uploads/8?digest={digest}")),
    ] {
        let server = Server::start(accepting_uploads(location)).await;
        let sent = Arc::new(AtomicU64::new(0));
        let count = Arc::clone(&sent);
        let progress = move |bytes| {
            count.fetch_add(bytes, Ordering::SeqCst);
        };
        server.repository().upload(&expected, single_chunk(&whole), progress).await.unwrap();
        assert_eq!(server.request_lines(), ["POST /v2/team/app/blobs/uploads/".to_owned(), put]);
        let request = &server.requests()[1];
        assert_eq!(request.header("content-length"), Some("3000000"));
        assert!(request.body == whole);
        assert_eq!(sent.load(Ordering::SeqCst), 3_000_000);
    }
}

#[tokio::test]
async fn an_upload_can_run_as_a_task() {
    let source = Server::start(|_| Reply::new(200).body("abc")).await;
    let server = Server::start(accepting_uploads("/up")).await;
    let (from, to) = (source.repository(), server.repository());
    let copied = tokio::spawn(async move {
        let blob = descriptor(b"abc");
        to.upload(&blob, from.blob(&blob), |_| ()).await
    });
    copied.await.unwrap().unwrap();
    assert_eq!(server.requests()[1].body, b"abc");
}

#[tokio::test]
async fn waiting_for_the_rate_limit_is_no_stall() {
    let server = Server::start(|request| match request.method.as_str() {
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
        tokio::join!(repository.has_blob(&blob.digest), repository.upload(&blob, single_chunk(b"abc"), |_| ()));
    throttled.unwrap_err();
    sent.unwrap();
}

#[tokio::test]
async fn requests_the_source_while_the_session_is_opened() {
    let requested = Arc::new(AtomicBool::new(false));
    let source = Arc::clone(&requested);
    let server = Server::start(move |request| match request.method.as_str() {
        "POST" if !requested.load(Ordering::SeqCst) => Reply::new(400),
        "POST" => Reply::new(202).header("Location", "/up"),
        _ => Reply::new(201),
    })
    .await;
    let body: BlobStream = Box::pin(futures::stream::once(async move {
        source.store(true, Ordering::SeqCst);
        Ok("abc".into())
    }));
    server.repository().upload(&descriptor(b"abc"), body, |_| ()).await.unwrap();
    assert_eq!(server.requests()[1].body, b"abc");
}

#[tokio::test]
async fn uploads_an_empty_blob() {
    let server = Server::start(accepting_uploads("/up")).await;
    server.repository().upload(&descriptor(b""), single_chunk(b""), |_| ()).await.unwrap();
    assert_eq!(server.requests()[1].header("content-length"), Some("0"));
}

#[tokio::test]
async fn distinguishes_failures_of_source_and_target() {
    let expected = descriptor(b"abcdef");
    let server = Server::start(accepting_uploads("/up")).await;
    let repository = server.repository();
    for body in [single_chunk(b"abc"), single_chunk(b"abcdefg")] {
        let error = source(repository.upload(&expected, body, |_| ()).await.unwrap_err());
        assert!(error.to_string().contains("but its descriptor says 6"), "{error}");
    }
    let broken = Error::new("reading".to_owned(), Fault::InvalidResponse("broken".to_owned()));
    let body: BlobStream = Box::pin(futures::stream::iter([Ok("abc".into()), Err(broken)]));
    source(repository.upload(&expected, body, |_| ()).await.unwrap_err());
    assert!(server.request_lines().iter().all(|line| !line.starts_with("PUT")), "{:?}", server.request_lines());

    let server = Server::start(|request| match request.method.as_str() {
        "POST" => Reply::new(202).header("Location", "/up"),
        _ => Reply::new(507).body("no room"),
    })
    .await;
    let error = target(server.repository().upload(&expected, single_chunk(b"abcdef"), |_| ()).await.unwrap_err());
    assert!(error.to_string().contains("no room"), "{error}");
}

#[tokio::test]
async fn uploads_no_empty_blob_of_a_failing_source() {
    let server = Server::start(accepting_uploads("/up")).await;
    let broken = Error::new("reading".to_owned(), Fault::InvalidResponse("broken".to_owned()));
    let body: BlobStream = Box::pin(futures::stream::iter([Err(broken)]));
    source(server.repository().upload(&descriptor(b""), body, |_| ()).await.unwrap_err());
    source(server.repository().upload(&descriptor(b""), single_chunk(b"a"), |_| ()).await.unwrap_err());
    assert!(server.request_lines().is_empty());
}

#[tokio::test]
async fn rejects_an_unexpected_response_to_an_upload() {
    let other = Digest::sha256(b"other");
    for reply in [Reply::new(202), Reply::new(201).header("Docker-Content-Digest", other)] {
        let server = Server::start(move |request| match request.method.as_str() {
            "POST" => Reply::new(202).header("Location", "/up"),
            _ => reply.clone(),
        })
        .await;
        target(server.repository().upload(&descriptor(b"abc"), single_chunk(b"abc"), |_| ()).await.unwrap_err());
    }
}

#[tokio::test]
async fn times_out_on_a_stalled_target_but_not_on_a_slow_source() {
    let impatient = Settings { request_timeout: Some(Duration::from_millis(100)), ..settings() };
    let server = Server::start(|request| match request.method.as_str() {
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
    for body in [single_chunk(b"aaa"), slow()] {
        let error = target(repository.upload(&descriptor(b"aaa"), body, |_| ()).await.unwrap_err());
        assert!(error.to_string().contains("nothing could be sent"), "{error}");
    }

    let server = Server::start(accepting_uploads("/up")).await;
    server.repository_with(impatient).upload(&descriptor(b"aaa"), slow(), |_| ()).await.unwrap();
}

#[tokio::test]
async fn an_upload_that_cannot_start_is_retryable() {
    let server = Server::start(|_| Reply::new(503)).await;
    let error = target(server.repository().upload(&descriptor(b"a"), single_chunk(b"a"), |_| ()).await.unwrap_err());
    assert_eq!((error.retry(), server.requests().len()), (Retry::Soon, 1));
}

#[tokio::test]
async fn cancels_the_session_of_a_dropped_upload() {
    let server = Server::start(|request| match request.method.as_str() {
        "POST" => Reply::new(202).header("Location", "/up?state=1"),
        "DELETE" => Reply::new(204),
        _ => Reply::new(201).after(Duration::from_secs(3600)),
    })
    .await;
    let repository = server.repository();
    let blob = descriptor(b"abc");
    let upload = repository.upload(&blob, single_chunk(b"abc"), |_| ());
    tokio::time::timeout(Duration::from_millis(500), upload).await.unwrap_err();
    for _ in 0..100 {
        if server.request_lines().iter().any(|line| line == "DELETE /up?state=1") {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("the session was not cancelled: {:?}", server.request_lines());
}

/// A registry that accepts `piece` bytes every 10 ms.
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
async fn rejects_targets_below_the_minimum_rate() {
    // More than all buffers on the way hold.
    let whole = content(32 << 20);
    let expected = descriptor(&whole);
    let pieces = |whole: &[u8]| -> BlobStream {
        let pieces: Vec<_> = whole.chunks(64 << 10).map(|piece| Ok(Bytes::copy_from_slice(piece))).collect();
        Box::pin(futures::stream::iter(pieces))
    };
    let upload = async |piece, kib: u64| {
        let address = slow_registry(piece).await;
        let min_rate = MinTransferRate { bytes_per_second: kib * 1024, window: Duration::from_millis(300) };
        let settings = Settings { min_transfer_rate: Some(min_rate), ..settings() };
        let registries = Registries::new(settings, &[], 64).unwrap();
        let repository = registries.repository(&address.to_string(), "team/app");
        let upload = repository.upload(&expected, pieces(&whole), |_| ());
        tokio::time::timeout(Duration::from_secs(100), upload).await.expect("it does not end")
    };
    // Less than 1 MiB/s.
    let error = target(upload(8 << 10, 16 << 10).await.unwrap_err());
    assert!(error.to_string().contains("accepts too slowly"), "{error}");
    assert_eq!(error.retry(), Retry::Soon);
    upload(256 << 10, 16).await.unwrap();
}
