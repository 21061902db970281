//! A line between a client and a registry: it counts bytes, and can be long.

use std::{
    net::Ipv4Addr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::mpsc,
    task::JoinHandle,
    time::{Instant, sleep_until},
};

const PIECE: usize = 64 * 1024;
/// Pieces on their way in one direction of a connection: what 1 GB/s sends within 25 ms, twice over.
const UNDER_WAY: usize = 800;

/// Gone when dropped.
pub struct Link {
    address: String,
    bytes: Arc<AtomicU64>,
    task: JoinHandle<()>,
}

impl Link {
    /// Leads to `upstream` (`host:port`), and takes `delay` in each direction. A connection is open a round trip after it
    /// was asked for. How much goes through is not limited.
    pub async fn to(upstream: &str, delay: Duration) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let bytes = Arc::new(AtomicU64::new(0));
        let (upstream, counter) = (upstream.to_owned(), bytes.clone());
        let task = tokio::spawn(async move {
            loop {
                let (client, _) = listener.accept().await.unwrap();
                let open = Instant::now() + 2 * delay;
                let server = TcpStream::connect(&upstream).await.unwrap();
                for stream in [&client, &server] {
                    stream.set_nodelay(true).unwrap();
                }
                let (from_client, to_client) = client.into_split();
                let (from_server, to_server) = server.into_split();
                carry(from_client, to_server, open, delay, &counter);
                carry(from_server, to_client, open, delay, &counter);
            }
        });
        Self { address, bytes, task }
    }

    /// `127.0.0.1:port`
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Bytes that went through in either direction since the last call.
    pub fn take_bytes(&self) -> u64 {
        self.bytes.swap(0, Ordering::Relaxed)
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn carry(mut from: OwnedReadHalf, to: OwnedWriteHalf, open: Instant, delay: Duration, counter: &Arc<AtomicU64>) {
    let (sender, receiver) = mpsc::channel(UNDER_WAY);
    tokio::spawn(deliver(receiver, to));
    let counter = counter.clone();
    tokio::spawn(async move {
        let mut buffer = BytesMut::new();
        loop {
            buffer.reserve(PIECE);
            // A connection that breaks has ended as well.
            let length = from.read_buf(&mut buffer).await.unwrap_or(0);
            let at = Instant::now().max(open) + delay;
            counter.fetch_add(length as u64, Ordering::Relaxed);
            if length == 0 || sender.send((at, buffer.split().freeze())).await.is_err() {
                return;
            }
        }
    });
}

async fn deliver(mut pieces: mpsc::Receiver<(Instant, Bytes)>, mut to: OwnedWriteHalf) {
    while let Some((at, piece)) = pieces.recv().await {
        sleep_until(at).await;
        if to.write_all(&piece).await.is_err() {
            return;
        }
    }
    let _ = to.shutdown().await;
}
