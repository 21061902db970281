//! Images on their way to a target. Some registries mount a blob only once a manifest refers to it (Amazon ECR does), so
//! it can pay to wait for the image that has brought it.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio_util::sync::CancellationToken;

/// Whoever has waited so long for another image brings the blob itself.
const LONGEST_OUTWAIT: Duration = Duration::from_secs(60);

/// One image on its way; shared by all who know of it. Its end is told when [`Departure`] is dropped.
#[derive(Debug, Default)]
pub struct Flight {
    ended: CancellationToken,
    landed: AtomicBool,
    /// Bytes of its blobs that were sent.
    moved: AtomicU64,
    /// It was waited for in vain.
    is_late: AtomicBool,
    ties: Mutex<Ties>,
}

/// Who waits for whom. A flight that waits is not waited for, and the other way round, so there are no rings.
#[derive(Debug, Default)]
struct Ties {
    waits: usize,
    is_waited_for: usize,
}

/// The image's own end of its flight.
#[derive(Debug, Default)]
pub struct Departure {
    flight: Arc<Flight>,
}

impl Departure {
    /// What others see of it.
    pub fn flight(&self) -> &Arc<Flight> {
        &self.flight
    }

    /// Its manifest is at the target.
    pub fn land(&self) {
        self.flight.landed.store(true, Ordering::Release);
    }
}

impl Drop for Departure {
    fn drop(&mut self) {
        self.flight.ended.cancel();
    }
}

impl Flight {
    /// Whether it is not on its way any more.
    pub fn has_ended(&self) -> bool {
        self.ended.is_cancelled()
    }

    /// So much more of it was sent.
    pub fn moves(&self, bytes: u64) {
        self.moved.fetch_add(bytes, Ordering::Relaxed);
    }

    /// How much of it was sent so far.
    pub fn moved(&self) -> u64 {
        self.moved.load(Ordering::Relaxed)
    }

    /// Waits until another one has ended, a minute at most, and says whether it landed. At once false where waiting is
    /// not wise: the other waits itself, or somebody waits for this one, or has waited for the other in vain.
    pub async fn outwait(&self, other: &Self) -> bool {
        self.outwait_for(other, LONGEST_OUTWAIT).await
    }

    async fn outwait_for(&self, other: &Self, longest: Duration) -> bool {
        if !other.has_ended() {
            // Who has many blobs to mount would wait for each of them.
            if other.is_late.load(Ordering::Relaxed) {
                return false;
            }
            let Some(_wait) = Wait::begin(self, other) else { return false };
            let ended = tokio::time::timeout(longest, other.ended.cancelled()).await;
            if ended.is_err() {
                other.is_late.store(true, Ordering::Relaxed);
                return false;
            }
        }
        other.landed.load(Ordering::Acquire)
    }
}

struct Wait<'a> {
    waiting: &'a Flight,
    other: &'a Flight,
}

impl<'a> Wait<'a> {
    fn begin(waiting: &'a Flight, other: &'a Flight) -> Option<Self> {
        if std::ptr::eq(waiting, other) {
            return None;
        }
        // Each is changed under its own lock, so a tie is announced first and taken back where the other end says no.
        {
            let mut ties = waiting.ties.lock().unwrap_or_else(PoisonError::into_inner);
            if ties.is_waited_for > 0 {
                return None;
            }
            ties.waits += 1;
        }
        {
            let mut ties = other.ties.lock().unwrap_or_else(PoisonError::into_inner);
            if ties.waits == 0 {
                ties.is_waited_for += 1;
                return Some(Self { waiting, other });
            }
        }
        waiting.ties.lock().unwrap_or_else(PoisonError::into_inner).waits -= 1;
        None
    }
}

impl Drop for Wait<'_> {
    fn drop(&mut self) {
        self.waiting.ties.lock().unwrap_or_else(PoisonError::into_inner).waits -= 1;
        self.other.ties.lock().unwrap_or_else(PoisonError::into_inner).is_waited_for -= 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_end_of_a_flight_is_awaited() {
        for lands in [true, false] {
            let (first, second) = (Departure::default(), Departure::default());
            let first_flight = Arc::clone(first.flight());
            let wait = second.flight().outwait(&first_flight);
            tokio::pin!(wait);
            assert!(futures::poll!(&mut wait).is_pending());
            if lands {
                first.land();
            }
            drop(first);
            assert_eq!(wait.await, lands);
            assert_eq!(second.flight().outwait(&first_flight).await, lands, "it has ended before");
        }
    }

    #[tokio::test]
    async fn who_was_waited_for_in_vain_is_not_waited_for_again() {
        let [stuck, first, second] = [(); 3].map(|()| Departure::default());
        assert!(!first.flight().outwait_for(stuck.flight(), Duration::from_millis(10)).await);
        let flight = Arc::clone(stuck.flight());
        {
            let wait = second.flight().outwait(&flight);
            tokio::pin!(wait);
            assert_eq!(futures::poll!(&mut wait), std::task::Poll::Ready(false));
        }
        stuck.land();
        drop(stuck);
        assert!(second.flight().outwait(&flight).await, "it has landed all the same");
    }

    #[tokio::test]
    async fn flights_never_wait_for_each_other() {
        let [first, second, third] = [(); 3].map(|()| Departure::default());
        let first_flight = Arc::clone(first.flight());
        let wait = second.flight().outwait(&first_flight);
        tokio::pin!(wait);
        assert!(futures::poll!(&mut wait).is_pending());
        assert!(!first.flight().outwait(second.flight()).await, "it is waited for");
        assert!(!first.flight().outwait(third.flight()).await, "it is waited for");
        assert!(!third.flight().outwait(second.flight()).await, "the other waits");
        assert!(!third.flight().outwait(third.flight()).await, "nobody waits for itself");
        drop(first);
        wait.await;
        let wait = third.flight().outwait(second.flight());
        tokio::pin!(wait);
        assert!(futures::poll!(&mut wait).is_pending(), "what was tied is loose again");
    }
}
