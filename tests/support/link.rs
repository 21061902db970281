//! A network connection between the program and a server, which tests can interrupt.

use std::net::Ipv4Addr;

use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpStream},
    sync::watch,
};

use super::background::BackgroundServer;

/// Forwards bytes to a port of this machine while it is connected.
pub struct Link {
    connected: watch::Sender<bool>,
    serving: BackgroundServer,
}

impl Link {
    /// A connected link.
    pub fn to(port: u16) -> Self {
        let (connected, state) = watch::channel(true);
        Self { connected, serving: BackgroundServer::run(move |listener| forward(listener, port, state)) }
    }

    /// The port to connect to.
    pub fn port(&self) -> u16 {
        self.serving.port()
    }

    /// Stops forwarding; connections stay open.
    pub fn cut(&self) {
        self.connected.send_replace(false);
    }

    /// Forwards new connections again; existing ones are closed.
    pub fn restore(&self) {
        self.connected.send_replace(true);
    }
}

async fn forward(listener: TcpListener, port: u16, connected: watch::Receiver<bool>) {
    loop {
        let Ok((mut near, _)) = listener.accept().await else { return };
        let mut connected = connected.clone();
        tokio::spawn(async move {
            if connected.wait_for(|connected| *connected).await.is_err() {
                return;
            }
            let Ok(mut far) = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await else { return };
            let disconnected = {
                let mut connected = connected.clone();
                async move { connected.wait_for(|connected| !*connected).await.is_ok() }
            };
            let cut = tokio::select! {
                _ = copy_bidirectional(&mut near, &mut far) => false,
                cut = disconnected => cut,
            };
            if cut {
                let _ = connected.wait_for(|connected| *connected).await;
            }
        });
    }
}
