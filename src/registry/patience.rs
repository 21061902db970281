//! How long a body may stand still while it is sent.

use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

/// Whose turn it is in an upload: the receiver's, who takes the next piece or answers, or the source's.
pub(super) struct Patience {
    /// Since when it is the receiver's turn; none while it is the source's.
    receiver_since: Mutex<Option<Instant>>,
}

impl Patience {
    /// The receiver has yet to take the first piece.
    pub(super) fn new() -> Self {
        Self { receiver_since: Mutex::new(Some(Instant::now())) }
    }

    /// The source has been asked for a piece, and has none yet. It has a clock of its own.
    pub(super) fn source_is_asked(&self) {
        *self.receiver_since.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// A piece was handed over.
    pub(super) fn receiver_is_handed(&self) {
        *self.receiver_since.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
    }

    /// Returns once the receiver has done nothing for `timeout`.
    pub(super) async fn ends(&self, timeout: Duration) {
        loop {
            let since = *self.receiver_since.lock().unwrap_or_else(PoisonError::into_inner);
            let now = Instant::now();
            let end = since.unwrap_or(now) + timeout;
            if end <= now {
                return;
            }
            tokio::time::sleep_until(end).await;
        }
    }
}
