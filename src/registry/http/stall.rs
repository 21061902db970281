//! How long a body may stand still while it is sent, and how slowly it may be taken.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{sync::Notify, time::Instant};

use crate::registry::{
    error::Fault,
    http::transfer_rate::{LeastRate, Meter, TooSlow},
};

/// Whose turn it is in an upload: the receiver's, who takes the next piece or answers, or the source's.
pub(in crate::registry) struct Patience {
    state: Mutex<State>,
    /// The receiver was found to be too slow.
    noticed: Notify,
}

struct State {
    /// Since when it is the receiver's turn; none while it is the source's.
    receiver_since: Option<Instant>,
    /// What the receiver has yet to take; none before the first piece.
    handed: Option<u64>,
    meter: Meter,
    too_slow: Option<TooSlow>,
}

impl Patience {
    /// The receiver has yet to take the first piece.
    pub(in crate::registry) fn new(least: Option<LeastRate>) -> Self {
        let meter = Meter::new(least);
        let state = State { receiver_since: Some(Instant::now()), handed: None, meter, too_slow: None };
        Self { state: Mutex::new(state), noticed: Notify::new() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The request is sent: what was waited for before was not the receiver.
    pub(in crate::registry) fn begins(&self) {
        self.state().receiver_since = Some(Instant::now());
    }

    /// The receiver has taken what it was handed, and wants more. Until that comes it is the source's turn, who has a
    /// clock of its own.
    pub(in crate::registry) fn source_is_asked(&self) {
        let mut state = self.state();
        let since = state.receiver_since.take();
        // Until the first piece a connection is made, which is not slow in this sense.
        if let (Some(since), Some(bytes)) = (since, state.handed.take())
            && let Err(too_slow) = state.meter.add(bytes, since.elapsed())
        {
            state.too_slow = Some(too_slow);
            drop(state);
            self.noticed.notify_one();
        }
    }

    /// A piece of so many bytes was handed over.
    pub(in crate::registry) fn receiver_is_handed(&self, bytes: u64) {
        let mut state = self.state();
        state.receiver_since = Some(Instant::now());
        state.handed = Some(bytes);
    }

    /// Returns once the receiver has done nothing for `timeout`, or too little.
    pub(in crate::registry) async fn ends(&self, timeout: Option<Duration>) -> Fault {
        loop {
            let since = {
                let state = self.state();
                if let Some(too_slow) = state.too_slow {
                    return Fault::TakesTooSlowly(too_slow);
                }
                state.receiver_since
            };
            let Some(timeout) = timeout else {
                self.noticed.notified().await;
                continue;
            };
            let now = Instant::now();
            let end = since.unwrap_or(now) + timeout;
            if end <= now {
                return Fault::Stall(timeout);
            }
            tokio::select! {
                () = self.noticed.notified() => {}
                () = tokio::time::sleep_until(end) => {}
            }
        }
    }
}
