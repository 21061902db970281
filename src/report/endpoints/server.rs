//! Serves HTTP until shutdown.

use std::{io, time::Duration};

use axum::Router;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

/// How long active requests may continue after shutdown has begun.
const GRACE_PERIOD: Duration = Duration::from_secs(5);

/// Serves until `shutdown`, and then active requests for [`GRACE_PERIOD`] at most.
pub(super) async fn serve(listener: TcpListener, router: Router, shutdown: CancellationToken) -> io::Result<()> {
    serve_within(GRACE_PERIOD, listener, router, shutdown).await
}

async fn serve_within(
    grace_period: Duration,
    listener: TcpListener,
    router: Router,
    shutdown: CancellationToken,
) -> io::Result<()> {
    let server = axum::serve(listener, router).with_graceful_shutdown(shutdown.clone().cancelled_owned());
    let grace_period_over = async {
        shutdown.cancelled().await;
        tokio::time::sleep(grace_period).await;
    };
    tokio::select! {
        result = server.into_future() => result,
        () = grace_period_over => {
            tracing::warn!("aborting HTTP requests that did not end within {grace_period:?}");
            Ok(())
        }
    }
}

#[cfg(test)]
mod tests {
    use axum::routing::get;
    use tokio::{io::AsyncWriteExt, net::TcpStream};

    use super::*;

    #[tokio::test]
    async fn a_hanging_request_does_not_block_shutdown() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (entered, mut waiting) = tokio::sync::mpsc::channel::<()>(1);
        let router = Router::new().route(
            "/",
            get(move || async move {
                entered.send(()).await.unwrap();
                std::future::pending::<()>().await;
            }),
        );
        let shutdown = CancellationToken::new();
        let server = tokio::spawn(serve_within(Duration::from_millis(10), listener, router, shutdown.clone()));
        let mut client = TcpStream::connect(address).await.unwrap();
        client.write_all(b"GET / HTTP/1.1\r\nHost: test\r\n\r\n").await.unwrap();
        waiting.recv().await.unwrap();
        shutdown.cancel();
        server.await.unwrap().unwrap();
    }
}
