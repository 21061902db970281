//! When requests are retried.

use std::time::Duration;

use crate::{
    model::{Retry, doubled},
    registry::fault::Fault,
};

/// The first pause; it doubles with each further failure.
const FIRST_PAUSE: Duration = Duration::from_millis(200);

/// A longer `Retry-After` is returned to the caller, which can do other work meanwhile.
const MAX_RETRY_AFTER: Duration = Duration::from_secs(30);

/// Exponential backoff with jitter.
///
/// Kept by hand: the pause depends on the fault (`Retry-After`, permanent or not), and callers with state of their own
/// (downloads) need the pause without the loop.
#[derive(Clone, Copy, Debug)]
pub struct Backoff {
    /// Total number of attempts; 0 counts as 1.
    pub attempts: u32,
    /// The longest pause between attempts, unless the registry requests a longer one (`Retry-After`).
    pub cap: Duration,
}

impl Backoff {
    /// The result of the first attempt that succeeds, or of the last one.
    pub(in crate::registry) async fn retry<T, F>(&self, mut attempt: impl FnMut() -> F) -> Result<T, Fault>
    where
        F: Future<Output = Result<T, Fault>>,
    {
        let mut failures = 0;
        loop {
            let fault = match attempt().await {
                Ok(value) => return Ok(value),
                Err(fault) => fault,
            };
            failures += 1;
            let Some(pause) = self.pause(failures, fault.retry()) else { return Err(fault) };
            tracing::debug!(failures, ?pause, "request failed, retrying: {fault}");
            tokio::time::sleep(pause).await;
        }
    }

    /// The pause after this many consecutive failures; None: give up.
    pub fn pause(&self, failures: u32, retry: Retry) -> Option<Duration> {
        if failures >= self.attempts {
            return None;
        }
        match retry {
            Retry::Later => None,
            Retry::After(wait) => (wait <= MAX_RETRY_AFTER).then_some(wait),
            Retry::Soon => {
                let pause = doubled(FIRST_PAUSE, failures.saturating_sub(1), self.cap);
                // Jitter, so that requests that failed together are not retried together.
                Some(pause.mul_f64(0.5 + fastrand::f64() / 2.0))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_the_cap_and_end() {
        let backoff = Backoff { attempts: 40, cap: Duration::from_secs(1) };
        for (failures, most) in [(1, 200), (2, 400), (3, 800), (4, 1000), (39, 1000)] {
            let pause = backoff.pause(failures, Retry::Soon).unwrap();
            let most = Duration::from_millis(most);
            assert!(most / 2 <= pause && pause <= most, "{failures}: {pause:?}");
        }
        assert_eq!(backoff.pause(40, Retry::Soon), None);
        assert_eq!(backoff.pause(1, Retry::Later), None);
        assert_eq!(backoff.pause(1, Retry::After(MAX_RETRY_AFTER)), Some(MAX_RETRY_AFTER));
        assert_eq!(backoff.pause(1, Retry::After(MAX_RETRY_AFTER * 2)), None);
    }
}
