//! A scripted registry on loopback that records its requests.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex, atomic::AtomicUsize, atomic::Ordering},
    time::Duration,
};

use bytes::Bytes;
use futures::TryStreamExt;
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::{TcpListener, TcpStream},
};

use super::{
    Aws, Backoff, BlobStream, CloudEnvironment, CloudIdentities, Descriptor, Registries, Repository, Settings,
};
use crate::model::{Credential, Digest, DockerLogins, Login};

/// A request that the server received.
#[derive(Clone, Debug)]
pub(crate) struct RecordedRequest {
    pub method: String,
    /// Path and query.
    pub target: String,
    /// Names in lower case.
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl RecordedRequest {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// `METHOD target`.
    pub(crate) fn line(&self) -> String {
        format!("{} {}", self.method, self.target)
    }
}

/// A scripted response.
#[derive(Clone, Debug, Default)]
pub(crate) struct Reply {
    status: u16,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
    cut: Option<usize>,
    stall: bool,
    chunked: bool,
    delay: Duration,
    drip: Option<Duration>,
}

impl Reply {
    pub(crate) fn new(status: u16) -> Self {
        Self { status, ..Self::default() }
    }

    pub(crate) fn header(mut self, name: &str, value: impl ToString) -> Self {
        self.headers.push((name.to_owned(), value.to_string()));
        self
    }

    pub(crate) fn body(mut self, body: impl AsRef<[u8]>) -> Self {
        self.body = body.as_ref().to_vec();
        self
    }

    pub(crate) fn length(&self) -> usize {
        self.body.len()
    }

    /// Closes the connection after this many bytes of the body.
    pub(crate) fn cut(mut self, after: usize) -> Self {
        self.cut = Some(after);
        self
    }

    /// Sends nothing after this many bytes of the body, but keeps the connection open.
    pub(crate) fn stall(mut self, after: usize) -> Self {
        self.stall = true;
        self.cut(after)
    }

    /// Without `Content-Length`.
    pub(crate) fn chunked(mut self) -> Self {
        self.chunked = true;
        self
    }

    /// Sends the body byte by byte, with pauses.
    pub(crate) fn drip(mut self, pause: Duration) -> Self {
        self.drip = Some(pause);
        self
    }

    /// Delays the response.
    pub(crate) fn after(mut self, delay: Duration) -> Self {
        self.delay = delay;
        self
    }
}

type Script = dyn Fn(&RecordedRequest) -> Reply + Send + Sync;

/// The server; it stops with the test's runtime.
pub(crate) struct Server {
    pub address: SocketAddr,
    requests: Arc<Mutex<Vec<RecordedRequest>>>,
    handshakes: Arc<AtomicUsize>,
    concurrent: Arc<Mutex<Concurrent>>,
}

/// The number of requests in progress: now, and at most.
#[derive(Default)]
struct Concurrent {
    now: usize,
    max: usize,
}

impl Server {
    pub(crate) async fn start(script: impl Fn(&RecordedRequest) -> Reply + Send + Sync + 'static) -> Self {
        Self::start_at("127.0.0.1:0", script).await
    }

    /// At another address.
    pub(crate) async fn start_at(
        address: &str,
        script: impl Fn(&RecordedRequest) -> Reply + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind(address).await.unwrap();
        let address = listener.local_addr().unwrap();
        let requests = Arc::new(Mutex::new(Vec::new()));
        let handshakes = Arc::new(AtomicUsize::new(0));
        let script: Arc<Script> = Arc::new(script);
        let concurrent = Arc::new(Mutex::new(Concurrent::default()));
        let (log, tls, count) = (Arc::clone(&requests), Arc::clone(&handshakes), Arc::clone(&concurrent));
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(
                    stream,
                    Arc::clone(&script),
                    Arc::clone(&log),
                    Arc::clone(&tls),
                    Arc::clone(&count),
                ));
            }
        });
        Self { address, requests, handshakes, concurrent }
    }

    /// All requests so far.
    pub(crate) fn requests(&self) -> Vec<RecordedRequest> {
        self.requests.lock().unwrap().clone()
    }

    /// `METHOD target` of each.
    pub(crate) fn request_lines(&self) -> Vec<String> {
        self.requests().iter().map(RecordedRequest::line).collect()
    }

    /// The number of TLS handshakes that clients tried.
    pub(crate) fn handshakes(&self) -> usize {
        self.handshakes.load(Ordering::SeqCst)
    }

    /// The maximum number of concurrent requests. A request counts until its response begins, so that no client can know
    /// of the response earlier.
    pub(crate) fn max_concurrent(&self) -> usize {
        self.concurrent.lock().unwrap().max
    }

    pub(crate) fn reset_max_concurrent(&self) {
        self.concurrent.lock().unwrap().max = 0;
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// The repository `team/app`, with three attempts and short pauses.
    pub(crate) fn repository(&self) -> Repository {
        self.repository_with(settings())
    }

    pub(crate) fn repository_with(&self, settings: Settings) -> Repository {
        Registries::new(settings, &[], 64).unwrap().repository(&self.address.to_string(), "team/app")
    }
}

pub(crate) fn settings() -> Settings {
    Settings {
        request_timeout: Some(Duration::from_secs(20)),
        min_transfer_rate: None,
        private_redirects: Vec::new(),
        credentials: Vec::new(),
        docker_logins: DockerLogins::default(),
        aws: Aws::new(None),
        clouds: CloudIdentities::new(CloudEnvironment::default()),
        observer: Arc::new(()),
        insecure: Vec::new(),
        backoff: Backoff { attempts: 3, cap: Duration::from_millis(1) },
    }
}

/// The same, with a login for every host.
pub(crate) fn with_login(login: Login) -> Settings {
    let credential = Credential { registry: "*".to_owned(), aliases: Vec::new(), login };
    Settings { credentials: vec![credential], ..settings() }
}

pub(crate) fn password() -> Login {
    Login::Password { username: "user".to_owned(), password: "pass".to_owned().into() }
}

pub(crate) fn descriptor(content: &[u8]) -> Descriptor {
    Descriptor {
        media_type: "application/octet-stream".to_owned(),
        digest: Digest::sha256(content),
        size: content.len() as u64,
        foreign: false,
    }
}

/// Pseudo-random bytes.
pub(crate) fn content(length: usize) -> Vec<u8> {
    let mut random = fastrand::Rng::with_seed(7);
    std::iter::repeat_with(|| random.u8(..)).take(length).collect()
}

pub(crate) fn single_chunk(content: &[u8]) -> BlobStream {
    let content = Bytes::copy_from_slice(content);
    Box::pin(futures::stream::once(async { Ok(content) }))
}

pub(crate) async fn read_all(stream: BlobStream) -> Result<Vec<u8>, (Vec<u8>, super::Error)> {
    let mut bytes = Vec::new();
    let mut stream = stream;
    loop {
        match stream.try_next().await {
            Ok(Some(chunk)) => bytes.extend_from_slice(&chunk),
            Ok(None) => return Ok(bytes),
            Err(error) => return Err((bytes, error)),
        }
    }
}

async fn serve(
    stream: TcpStream,
    script: Arc<Script>,
    log: Arc<Mutex<Vec<RecordedRequest>>>,
    tls: Arc<AtomicUsize>,
    concurrent: Arc<Mutex<Concurrent>>,
) {
    let mut stream = BufReader::new(stream);
    loop {
        match stream.fill_buf().await {
            // A TLS handshake, to which a plain HTTP server responds with 400.
            Ok([0x16, ..]) => {
                tls.fetch_add(1, Ordering::SeqCst);
                let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n").await;
                return;
            }
            Ok([]) | Err(_) => return,
            Ok(_) => {}
        }
        let Some(request) = receive(&mut stream).await else { return };
        log.lock().unwrap().push(request.clone());
        {
            let mut concurrent = concurrent.lock().unwrap();
            concurrent.now += 1;
            concurrent.max = concurrent.max.max(concurrent.now);
        }
        let reply = script(&request);
        tokio::time::sleep(reply.delay).await;
        concurrent.lock().unwrap().now -= 1;
        if !respond(&mut stream, &request, &reply).await {
            return;
        }
    }
}

async fn receive(stream: &mut BufReader<TcpStream>) -> Option<RecordedRequest> {
    let mut lines = Vec::new();
    loop {
        let mut line = String::new();
        if stream.read_line(&mut line).await.ok()? == 0 {
            return None;
        }
        match line.trim_end() {
            "" => break,
            text => lines.push(text.to_owned()),
        }
    }
    let mut first = lines.first()?.split(' ');
    let (method, target) = (first.next()?.to_owned(), first.next()?.to_owned());
    let headers: Vec<(String, String)> = lines[1..]
        .iter()
        .filter_map(|line| line.split_once(": "))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
        .collect();
    let mut request = RecordedRequest { method, target, headers, body: Vec::new() };
    assert_eq!(request.header("transfer-encoding"), None, "a body without a length: {request:?}");
    let length = request.header("content-length").map_or(0, |length| length.parse().unwrap());
    request.body.resize(length, 0);
    stream.read_exact(&mut request.body).await.ok()?;
    Some(request)
}

/// Whether the connection stays open.
async fn respond(stream: &mut BufReader<TcpStream>, request: &RecordedRequest, reply: &Reply) -> bool {
    let mut head = format!("HTTP/1.1 {} Scripted\r\n", reply.status);
    for (name, value) in &reply.headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    let has_length = reply.headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("content-length"));
    if reply.chunked {
        head.push_str("Transfer-Encoding: chunked\r\n");
    } else if reply.status != 204 && !has_length {
        head.push_str(&format!("Content-Length: {}\r\n", reply.body.len()));
    }
    head.push_str("\r\n");
    let mut bytes = head.into_bytes();
    if reply.drip.is_some() {
        if stream.write_all(&bytes).await.is_err() {
            return false;
        }
        bytes.clear();
    }
    if request.method != "HEAD" {
        let sent = &reply.body[..reply.cut.unwrap_or(reply.body.len())];
        if reply.chunked && !sent.is_empty() {
            bytes.extend_from_slice(format!("{:x}\r\n", sent.len()).as_bytes());
            bytes.extend_from_slice(sent);
            bytes.extend_from_slice(b"\r\n");
        } else {
            bytes.extend_from_slice(sent);
        }
        if reply.chunked && reply.cut.is_none() {
            bytes.extend_from_slice(b"0\r\n\r\n");
        }
    }
    if let Some(pause) = reply.drip {
        for byte in bytes {
            if stream.write_all(&[byte]).await.is_err() {
                return false;
            }
            tokio::time::sleep(pause).await;
        }
    } else if stream.write_all(&bytes).await.is_err() {
        return false;
    }
    if reply.stall {
        std::future::pending::<()>().await;
    }
    reply.cut.is_none()
}
