//! Requests to targets at a steady pace: nobody waits for a verification in the background.

use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

use tokio::time::{Instant, sleep_until};

/// So many requests are made in the longest look at one image without a pace.
const REQUESTS_OF_THE_LONGEST_LOOK: u32 = 4_500;

/// Lets requests pass one after another.
#[derive(Debug)]
pub struct Pace {
    interval: Duration,
    /// When the next request may be sent.
    next: Mutex<Instant>,
}

impl Pace {
    /// At most so many requests in each minute, at least one.
    pub fn per_minute(requests: u32) -> Self {
        Self { interval: Duration::from_secs(60) / requests.max(1), next: Mutex::new(Instant::now()) }
    }

    /// Waits until the next request may be sent.
    pub(super) async fn wait(&self) {
        sleep_until(self.reserve(Instant::now())).await;
    }

    fn reserve(&self, now: Instant) -> Instant {
        let mut next = self.next.lock().unwrap_or_else(PoisonError::into_inner);
        let moment = (*next).max(now);
        *next = moment + self.interval;
        moment
    }

    /// How long the look at the largest image takes at this pace.
    pub(super) fn longest_look(&self) -> Duration {
        self.interval * REQUESTS_OF_THE_LONGEST_LOOK
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn requests_are_spread_and_none_are_saved_up() {
        let (pace, second) = (Pace::per_minute(60), Duration::from_secs(1));
        let later = Instant::now() + 100 * second;
        let moments = [(); 3].map(|()| pace.reserve(later) - later);
        assert_eq!(moments, [Duration::ZERO, second, 2 * second]);
    }
}
