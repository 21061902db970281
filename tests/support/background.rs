//! Where the test process serves HTTP itself: a runtime of its own, which a test that blocks does not stop.

use std::{
    net::{self, Ipv4Addr, SocketAddr},
    sync::LazyLock,
};

use axum::Router;
use tokio::{net::TcpListener, runtime::Runtime, task::JoinHandle};

static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| Runtime::new().unwrap());

/// A server of this process, gone when this is dropped.
pub struct Serving {
    address: SocketAddr,
    task: JoinHandle<()>,
}

impl Serving {
    /// Serves on a port that the kernel chooses.
    pub fn start(router: Router) -> Self {
        Self::run(|listener| async { axum::serve(listener, router).await.unwrap() })
    }

    /// Lets `serve` serve on a port that the kernel chooses.
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

    /// The port.
    pub fn port(&self) -> u16 {
        self.address.port()
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        self.task.abort();
    }
}
