//! HTTP/1.1 by hand: no server library sends malformed or interrupted responses.

use std::time::Duration;

use bytes::Bytes;
use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader},
    net::TcpStream,
    sync::watch,
};

pub type Connection = BufReader<TcpStream>;

/// Method, path, query and headers of a request.
#[derive(Clone, Debug)]
pub struct RequestHead {
    pub method: String,
    /// Without the query.
    pub path: String,
    /// Decoded.
    pub query: Vec<(String, String)>,
    /// Names in lower case.
    headers: Vec<(String, String)>,
}

/// A correct response.
#[derive(Clone, Debug, Default)]
pub struct Response {
    pub status: u16,
    pub headers: Vec<(&'static str, String)>,
    pub body: Bytes,
}

/// A response as it is sent.
pub struct RawResponse {
    pub bytes: Vec<u8>,
    pub speed: Speed,
    pub end: ConnectionEnd,
}

/// How fast a response is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Speed {
    /// At once.
    Whole,
    /// In pieces of so many bytes, with pauses.
    Pieces(usize),
    /// So many bytes at once, then one byte at a time.
    Trickle(usize),
}

/// What happens to the connection after a response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConnectionEnd {
    Keep,
    Close,
    Hang,
}

/// Largest piece in which a body is read, in bytes.
const PIECE: usize = 64 * 1024;
/// Between two pieces of a slow response.
const PAUSE: Duration = Duration::from_millis(5);
/// Between two bytes of a trickling response: less than a client's stall timeout.
const TRICKLE_PAUSE: Duration = Duration::from_millis(250);

impl RequestHead {
    /// The next request; none if the client has disconnected.
    pub async fn read(connection: &mut Connection) -> Option<Self> {
        // The first byte of a TLS handshake: this server supports plain HTTP only.
        if connection.fill_buf().await.ok()?.first()? == &0x16 {
            let _ = connection.write_all(b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n").await;
            return None;
        }
        let mut lines = Vec::new();
        loop {
            let mut line = String::new();
            if connection.read_line(&mut line).await.ok()? == 0 {
                return None;
            }
            match line.trim_end() {
                "" => break,
                text => lines.push(text.to_owned()),
            }
        }
        let mut first = lines.first()?.split(' ');
        let (method, target) = (first.next()?.to_owned(), first.next()?);
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let headers = lines[1..].iter().filter_map(|line| line.split_once(": "));
        Some(Self {
            method,
            path: path.to_owned(),
            query: url::form_urlencoded::parse(query.as_bytes()).into_owned().collect(),
            headers: headers.map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned())).collect(),
        })
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(other, _)| other == name).map(|(_, value)| value.as_str())
    }

    /// All values of a key in the query.
    pub fn query_values<'a>(&'a self, key: &'a str) -> impl Iterator<Item = &'a str> {
        self.query.iter().filter(move |(other, _)| other == key).map(|(_, value)| value.as_str())
    }

    fn length(&self) -> usize {
        assert_eq!(self.header("transfer-encoding"), None, "a body without a length: {self:?}");
        self.header("content-length").map_or(0, |length| length.parse().unwrap())
    }

    /// The body, counted as it arrives; none if the client disconnects.
    pub async fn body(&self, connection: &mut Connection, received: &watch::Sender<u64>) -> Option<Bytes> {
        let mut body = vec![0; self.length()];
        for piece in body.chunks_mut(PIECE) {
            connection.read_exact(piece).await.ok()?;
            received.send_modify(|received| *received += piece.len() as u64);
        }
        Some(body.into())
    }

    /// Reads the body byte by byte until the client gives up or has sent all of it.
    pub async fn read_slowly(&self, connection: &mut Connection) {
        for _ in 0..self.length() {
            tokio::time::sleep(TRICKLE_PAUSE).await;
            if connection.read_u8().await.is_err() {
                return;
            }
        }
    }

    /// Reads so many bytes of the body.
    pub async fn read_partial_body(&self, connection: &mut Connection, position: usize) {
        let mut some = vec![0; position_within(position, self.length())];
        // The connection is closed next anyway.
        let _ = connection.read_exact(&mut some).await;
    }
}

/// A valid position for that length, its end included.
pub fn position_within(position: usize, length: usize) -> usize {
    position % (length + 1)
}

impl Response {
    pub fn new(status: u16) -> Self {
        Self { status, ..Self::default() }
    }

    pub fn header(mut self, name: &'static str, value: impl ToString) -> Self {
        self.headers.push((name, value.to_string()));
        self
    }

    pub fn body(mut self, body: impl Into<Bytes>) -> Self {
        self.body = body.into();
        self
    }

    pub fn without(mut self, name: &str) -> Self {
        self.headers.retain(|(other, _)| *other != name);
        self
    }

    /// An error in the format of the distribution specification.
    pub fn error(status: u16, code: &str) -> Self {
        let body = serde_json::json!({ "errors": [{ "code": code, "message": "injected fault" }] });
        Self::new(status).header("Content-Type", "application/json").body(body.to_string())
    }

    /// Status line and headers.
    pub fn head(&self) -> Vec<u8> {
        let mut head = format!("HTTP/1.1 {} Scripted\r\n", self.status);
        for (name, value) in &self.headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        head.push_str("\r\n");
        head.into_bytes()
    }

    /// Without any fault. `without_body` omits the body, as for a HEAD.
    pub fn into_raw(self, without_body: bool) -> RawResponse {
        let length = self.body.len();
        let whole = self.header("Content-Length", length);
        let mut bytes = whole.head();
        if !without_body {
            bytes.extend_from_slice(&whole.body);
        }
        RawResponse { bytes, speed: Speed::Whole, end: ConnectionEnd::Keep }
    }
}

impl RawResponse {
    /// Sends it; returns whether the connection can be reused.
    pub async fn send(self, connection: &mut Connection) -> bool {
        let (at_once, piece, pause) = match self.speed {
            Speed::Whole => (self.bytes.len(), 1, PAUSE),
            Speed::Pieces(piece) => (0, piece.max(1), PAUSE),
            Speed::Trickle(at_once) => (at_once, 1, TRICKLE_PAUSE),
        };
        let (at_once, slowly) = self.bytes.split_at(at_once);
        if connection.write_all(at_once).await.is_err() {
            return false;
        }
        for piece in slowly.chunks(piece) {
            tokio::time::sleep(pause).await;
            if connection.write_all(piece).await.is_err() {
                return false;
            }
        }
        if self.end == ConnectionEnd::Hang {
            hang(connection).await;
        }
        self.end == ConnectionEnd::Keep
    }
}

/// Waits until the client gives up.
pub async fn hang(connection: &mut Connection) {
    // Discards what it still sends.
    while connection.read_u8().await.is_ok() {}
}
