//! A proxy between a client and a registry that counts bytes and adds latency.

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
/// Buffered pieces per direction of a connection: twice what 1 GB/s sends within 25 ms.
const MAX_BUFFERED: usize = 800;

/// The proxy; it ends when dropped.
pub struct Link {
    address: String,
    bytes: Arc<AtomicU64>,
    task: JoinHandle<()>,
}

impl Link {
    /// A proxy to `upstream` (`host:port`) with `delay` in each direction. A new connection takes a round trip. The bandwidth
    /// is not limited.
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
                forward(from_client, to_server, open, delay, &counter);
                forward(from_server, to_client, open, delay, &counter);
            }
        });
        Self { address, bytes, task }
    }

    /// `127.0.0.1:port`
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Bytes in both directions since the last call.
    pub fn take_bytes(&self) -> u64 {
        self.bytes.swap(0, Ordering::Relaxed)
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn forward(mut from: OwnedReadHalf, to: OwnedWriteHalf, open: Instant, delay: Duration, counter: &Arc<AtomicU64>) {
    let (sender, receiver) = mpsc::channel(MAX_BUFFERED);
    tokio::spawn(send_delayed(receiver, to));
    let counter = counter.clone();
    tokio::spawn(async move {
        let mut buffer = BytesMut::new();
        loop {
            buffer.reserve(PIECE);
            // A broken connection counts as closed.
            let length = from.read_buf(&mut buffer).await.unwrap_or(0);
            let at = Instant::now().max(open) + delay;
            counter.fetch_add(length as u64, Ordering::Relaxed);
            if length == 0 || sender.send((at, buffer.split().freeze())).await.is_err() {
                return;
            }
        }
    });
}

async fn send_delayed(mut pieces: mpsc::Receiver<(Instant, Bytes)>, mut to: OwnedWriteHalf) {
    while let Some((at, piece)) = pieces.recv().await {
        sleep_until(at).await;
        if to.write_all(&piece).await.is_err() {
            return;
        }
    }
    let _ = to.shutdown().await;
}
