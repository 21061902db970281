//! Stalls during an upload: the receiver accepts nothing for too long, or accepts too slowly.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{sync::Notify, time::Instant};

use crate::registry::{
    fault::Fault,
    http::transfer_rate::{MinTransferRate, RateMeter, TooSlow},
};

/// Measures how long an upload waits for its receiver. The time spent waiting for the source does not count: the
/// source's download has its own timeout. HTTP clients' timeouts count both.
pub(in crate::registry) struct StallTimer {
    state: Mutex<State>,
    too_slow: Notify,
}

struct State {
    /// None while the source is waited for.
    waiting_for_receiver_since: Option<Instant>,
    /// Bytes given to the connection and not accepted yet; None before the first chunk.
    in_flight: Option<u64>,
    meter: RateMeter,
    too_slow: Option<TooSlow>,
}

impl StallTimer {
    pub(in crate::registry) fn new(min_rate: Option<MinTransferRate>) -> Arc<Self> {
        let state = State {
            waiting_for_receiver_since: Some(Instant::now()),
            in_flight: None,
            meter: RateMeter::new(min_rate),
            too_slow: None,
        };
        Arc::new(Self { state: Mutex::new(state), too_slow: Notify::new() })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The request is sent now: the time before (waiting for a permit or a token) does not count.
    pub(in crate::registry) fn start(&self) {
        self.state().waiting_for_receiver_since = Some(Instant::now());
    }

    /// The receiver has accepted the last chunk and wants the next one.
    pub(in crate::registry) fn chunk_requested(&self) {
        let mut state = self.state();
        let since = state.waiting_for_receiver_since.take();
        // The wait before the first chunk includes connecting, which is no transfer.
        if let (Some(since), Some(bytes)) = (since, state.in_flight.take())
            && let Err(too_slow) = state.meter.add(bytes, since.elapsed())
        {
            state.too_slow = Some(too_slow);
            drop(state);
            self.too_slow.notify_one();
        }
    }

    /// A chunk of this size was given to the connection.
    pub(in crate::registry) fn chunk_sent(&self, bytes: u64) {
        let mut state = self.state();
        state.waiting_for_receiver_since = Some(Instant::now());
        state.in_flight = Some(bytes);
    }

    /// Returns when the receiver has accepted nothing for `timeout`, or too little.
    pub(in crate::registry) async fn expired(&self, timeout: Option<Duration>) -> Fault {
        loop {
            let since = {
                let state = self.state();
                if let Some(too_slow) = state.too_slow {
                    return Fault::SlowUpload(too_slow);
                }
                state.waiting_for_receiver_since
            };
            let Some(timeout) = timeout else {
                self.too_slow.notified().await;
                continue;
            };
            let now = Instant::now();
            let end = since.unwrap_or(now) + timeout;
            if end <= now {
                return Fault::Stalled(timeout);
            }
            tokio::select! {
                () = self.too_slow.notified() => {}
                () = tokio::time::sleep_until(end) => {}
            }
        }
    }
}
