//! Servers in the test process. They have their own runtime, so that tests that block don't stop them.

use std::{
    net::{self, Ipv4Addr, SocketAddr},
    sync::LazyLock,
};

use axum::Router;
use tokio::{net::TcpListener, runtime::Runtime, task::JoinHandle};

static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| Runtime::new().unwrap());

/// A server in this process; dropping it stops it.
pub struct BackgroundServer {
    address: SocketAddr,
    task: JoinHandle<()>,
}

impl BackgroundServer {
    /// Serves a router on a free port.
    pub fn start(router: Router) -> Self {
        Self::run(|listener| async { axum::serve(listener, router).await.unwrap() })
    }

    /// Runs `serve` on a free port.
    pub fn run<F>(serve: impl FnOnce(TcpListener) -> F + Send + 'static) -> Self
    where
        F: Future<Output = ()> + Send,
    {
        let listener = net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap();
        let task = RUNTIME.spawn(async move {
            serve(TcpListener::from_std(listener).unwrap()).await;
        });
        Self { address, task }
    }

    /// `127.0.0.1:port`
    pub fn host(&self) -> String {
        self.address.to_string()
    }

    pub fn port(&self) -> u16 {
        self.address.port()
    }
}

impl Drop for BackgroundServer {
    fn drop(&mut self) {
        self.task.abort();
    }
}
