//! A proxy for `HTTPS_PROXY` that serves hosts of the Internet in this process.

use std::{collections::HashMap, io, net::SocketAddr, sync::Arc};

use axum::{Router, serve::Listener};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    sync::{Mutex, mpsc},
};
use tokio_rustls::{
    TlsAcceptor,
    rustls::{ServerConfig, crypto::aws_lc_rs, pki_types::PrivateKeyDer},
    server::TlsStream,
};

use super::{background::BackgroundServer, certificates::Authority};

struct Tunnel {
    authority: Authority,
    exists: Box<dyn Fn(&str) -> bool + Send + Sync>,
    acceptors: Mutex<HashMap<String, TlsAcceptor>>,
}

/// Starts the proxy. Requests to hosts for which `exists` holds go to `router`, with a certificate for the host name signed
/// by `authority`; other hosts are unreachable.
pub fn start(
    authority: Authority,
    exists: impl Fn(&str) -> bool + Send + Sync + 'static,
    router: Router,
) -> BackgroundServer {
    let tunnel = Arc::new(Tunnel { authority, exists: Box::new(exists), acceptors: Mutex::default() });
    BackgroundServer::run(|listener| async move {
        let address = listener.local_addr().unwrap();
        let (sender, opened) = mpsc::channel(16);
        let opening = accept(listener, tunnel, sender);
        let (served, ()) = tokio::join!(axum::serve(TunnelListener { opened, address }, router).into_future(), opening);
        served.unwrap();
    })
}

async fn accept(listener: TcpListener, tunnel: Arc<Tunnel>, sender: mpsc::Sender<TlsStream<TcpStream>>) {
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        let (tunnel, sender) = (Arc::clone(&tunnel), sender.clone());
        tokio::spawn(async move {
            // This fails if the client disconnects or does not trust the certificate.
            if let Ok(stream) = tunnel.open(stream).await {
                let _ = sender.send(stream).await;
            }
        });
    }
}

impl Tunnel {
    async fn open(&self, mut stream: TcpStream) -> io::Result<TlsStream<TcpStream>> {
        let host = connect_to(&mut stream).await?;
        if !(self.exists)(&host) {
            stream.write_all(b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n").await?;
            return Err(io::ErrorKind::HostUnreachable.into());
        }
        stream.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n").await?;
        self.acceptor(&host).await.accept(stream).await
    }

    async fn acceptor(&self, host: &str) -> TlsAcceptor {
        let mut acceptors = self.acceptors.lock().await;
        let acceptor = acceptors.entry(host.to_owned()).or_insert_with(|| {
            let (certificate, key) = self.authority.sign(&[host]);
            let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
            let config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
                .with_safe_default_protocol_versions()
                .unwrap()
                .with_no_client_auth()
                .with_single_cert(vec![certificate.der().clone()], key);
            TlsAcceptor::from(Arc::new(config.unwrap()))
        });
        acceptor.clone()
    }
}

/// Reads the head of a CONNECT request and returns the host.
async fn connect_to(stream: &mut TcpStream) -> io::Result<String> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await?);
    }
    let head = String::from_utf8_lossy(&head);
    let authority = head.strip_prefix("CONNECT ").and_then(|rest| rest.split(' ').next());
    let host = authority.and_then(|authority| authority.strip_suffix(":443"));
    host.map(str::to_owned).ok_or_else(|| io::ErrorKind::InvalidData.into())
}

/// Accepts tunnels after their TLS handshake.
struct TunnelListener {
    opened: mpsc::Receiver<TlsStream<TcpStream>>,
    address: SocketAddr,
}

impl Listener for TunnelListener {
    type Io = TlsStream<TcpStream>;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        (self.opened.recv().await.unwrap(), self.address)
    }

    fn local_addr(&self) -> io::Result<Self::Addr> {
        Ok(self.address)
    }
}
