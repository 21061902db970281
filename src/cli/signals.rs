//! How the process is asked to end.

use tokio::signal::unix::{SignalKind, signal};

/// Waits for SIGTERM or SIGINT; answers its name. Where signals can't be had it waits for ever: then only the default
/// action ends the process.
pub async fn ended() -> &'static str {
    let (Ok(mut terminate), Ok(mut interrupt)) = (signal(SignalKind::terminate()), signal(SignalKind::interrupt()))
    else {
        return std::future::pending().await;
    };
    tokio::select! {
        _ = terminate.recv() => "SIGTERM",
        _ = interrupt.recv() => "SIGINT",
    }
}
