//! HTTP/1.1 as it is on the wire: a server that has to get it wrong can't leave it to one that gets it right.

use std::time::Duration;

use bytes::Bytes;
use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader},
    net::TcpStream,
    sync::watch,
};

/// A connection.
pub type Connection = BufReader<TcpStream>;

/// The head of a request.
#[derive(Clone, Debug)]
pub struct Head {
    pub method: String,
    /// Without the query.
    pub path: String,
    /// Decoded.
    pub query: Vec<(String, String)>,
    /// Names in lower case.
    headers: Vec<(String, String)>,
}

/// An answer as it should be.
#[derive(Clone, Debug, Default)]
pub struct Answer {
    pub status: u16,
    pub headers: Vec<(&'static str, String)>,
    pub body: Bytes,
}

/// An answer as it is sent.
pub struct Delivery {
    pub bytes: Vec<u8>,
    pub speed: Speed,
    pub end: End,
}

/// How an answer comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Speed {
    /// At once.
    Whole,
    /// In pieces of so many bytes, with pauses.
    Pieces(usize),
    /// So many bytes at once, and from there on one by one, far apart.
    Drip(usize),
}

/// What becomes of the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    Keep,
    Close,
    Hang,
}

/// A body is read in pieces of at most so many bytes.
const PIECE: usize = 64 * 1024;
/// Between two pieces of a slow answer.
const PAUSE: Duration = Duration::from_millis(5);
/// Between two bytes that drip: less than a client waits before it says that nothing comes.
const DRIP: Duration = Duration::from_millis(250);

impl Head {
    /// The next request; none where the client has gone, or has broken off.
    pub async fn read(connection: &mut Connection) -> Option<Self> {
        // A TLS handshake; a plain server understands nothing of it.
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
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// All values of a key in the query.
    pub fn queried<'a>(&'a self, key: &'a str) -> impl Iterator<Item = &'a str> {
        self.query.iter().filter(move |(known, _)| known == key).map(|(_, value)| value.as_str())
    }

    fn length(&self) -> usize {
        assert_eq!(self.header("transfer-encoding"), None, "a body without a length: {self:?}");
        self.header("content-length").map_or(0, |length| length.parse().unwrap())
    }

    /// Its body, counted as it comes; none where it breaks off.
    pub async fn body(&self, connection: &mut Connection, received: &watch::Sender<u64>) -> Option<Bytes> {
        let mut body = vec![0; self.length()];
        for piece in body.chunks_mut(PIECE) {
            connection.read_exact(piece).await.ok()?;
            received.send_modify(|received| *received += piece.len() as u64);
        }
        Some(body.into())
    }

    /// Takes its body byte by byte until the client gives up, or has sent all of it.
    pub async fn sip(&self, connection: &mut Connection) {
        for _ in 0..self.length() {
            tokio::time::sleep(DRIP).await;
            if connection.read_u8().await.is_err() {
                return;
            }
        }
    }

    /// Reads so many bytes of its body.
    pub async fn some_body(&self, connection: &mut Connection, place: usize) {
        let mut some = vec![0; within(place, self.length())];
        // A client that has broken off has done what is about to be done to it.
        let _ = connection.read_exact(&mut some).await;
    }
}

/// A place in something of that length, its end included.
pub fn within(place: usize, length: usize) -> usize {
    place % (length + 1)
}

impl Answer {
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

    /// Without the header of that name.
    pub fn without(mut self, name: &str) -> Self {
        self.headers.retain(|(known, _)| *known != name);
        self
    }

    /// An error as the distribution specification has it.
    pub fn error(status: u16, code: &str) -> Self {
        let body = serde_json::json!({ "errors": [{ "code": code, "message": "as the script says" }] });
        Self::new(status).header("Content-Type", "application/json").body(body.to_string())
    }

    /// The lines before the body.
    pub fn head(&self) -> Vec<u8> {
        let mut head = format!("HTTP/1.1 {} Scripted\r\n", self.status);
        for (name, value) in &self.headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        head.push_str("\r\n");
        head.into_bytes()
    }

    /// Whole and right. `bare` leaves the body out, as for a HEAD.
    pub fn delivery(self, bare: bool) -> Delivery {
        let length = self.body.len();
        let whole = self.header("Content-Length", length);
        let mut bytes = whole.head();
        if !bare {
            bytes.extend_from_slice(&whole.body);
        }
        Delivery { bytes, speed: Speed::Whole, end: End::Keep }
    }
}

impl Delivery {
    /// Sends it. Whether the connection can go on.
    pub async fn send(self, connection: &mut Connection) -> bool {
        let (at_once, piece, pause) = match self.speed {
            Speed::Whole => (self.bytes.len(), 1, PAUSE),
            Speed::Pieces(piece) => (0, piece.max(1), PAUSE),
            Speed::Drip(at_once) => (at_once, 1, DRIP),
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
        if self.end == End::Hang {
            hang(connection).await;
        }
        self.end == End::Keep
    }
}

/// Until the client gives up.
pub async fn hang(connection: &mut Connection) {
    // What it still sends is of no interest.
    while connection.read_u8().await.is_ok() {}
}
