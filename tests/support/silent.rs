//! A host that accepts connections and never says anything.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use tokio::io::AsyncReadExt as _;

use super::background::Serving;

/// The host.
pub struct Silent {
    connections: Arc<AtomicUsize>,
    serving: Serving,
}

impl Silent {
    /// On a port that the kernel chooses.
    pub fn start() -> Self {
        let connections = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&connections);
        let serving = Serving::run(|listener| async move {
            loop {
                let Ok((mut stream, _)) = listener.accept().await else { continue };
                counted.fetch_add(1, Ordering::SeqCst);
                // Until the client gives up.
                tokio::spawn(async move { while stream.read_u8().await.is_ok() {} });
            }
        });
        Self { connections, serving }
    }

    /// `127.0.0.1:port`
    pub fn host(&self) -> String {
        self.serving.host()
    }

    /// How many were made so far.
    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }
}
