//! A host that accepts connections and never responds.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use tokio::io::AsyncReadExt as _;

use super::background::BackgroundServer;

pub struct SilentHost {
    connections: Arc<AtomicUsize>,
    serving: BackgroundServer,
}

impl SilentHost {
    /// On a free port.
    pub fn start() -> Self {
        let connections = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&connections);
        let serving = BackgroundServer::run(|listener| async move {
            loop {
                let Ok((mut stream, _)) = listener.accept().await else { continue };
                counted.fetch_add(1, Ordering::SeqCst);
                // Waits until the client gives up.
                tokio::spawn(async move { while stream.read_u8().await.is_ok() {} });
            }
        });
        Self { connections, serving }
    }

    /// `127.0.0.1:port`
    pub fn host(&self) -> String {
        self.serving.host()
    }

    /// How many connections were opened so far.
    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }
}
