//! Serving HTTP until told to stop.

use std::{io, time::Duration};

use axum::Router;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

/// How long requests that are under way may go on after the end was announced.
const GRACE: Duration = Duration::from_secs(5);

/// Serves until `shutdown`, and then what is under way, for [`GRACE`] at most.
pub(super) async fn serve(listener: TcpListener, router: Router, shutdown: CancellationToken) -> io::Result<()> {
    serve_within(GRACE, listener, router, shutdown).await
}

async fn serve_within(
    grace: Duration,
    listener: TcpListener,
    router: Router,
    shutdown: CancellationToken,
) -> io::Result<()> {
    let server = axum::serve(listener, router).with_graceful_shutdown(shutdown.clone().cancelled_owned());
    let out_of_grace = async {
        shutdown.cancelled().await;
        tokio::time::sleep(grace).await;
    };
    tokio::select! {
        result = server.into_future() => result,
        () = out_of_grace => {
            tracing::warn!("HTTP requests were cut off: they had not ended in {grace:?}");
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
    async fn a_request_that_never_ends_does_not_hold_up_the_end() {
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
