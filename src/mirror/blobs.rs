//! Which blobs are on their way to a target, and where they are known to be there.

use std::{
    collections::{HashMap, HashSet},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::{
    sync::OwnedMutexGuard,
    time::{Instant, timeout_at},
};

use super::flight::Flight;
use crate::model::Digest;

/// How many blobs are remembered before those that nobody is busy with are dropped: forgetting costs a request at most.
const REMEMBERED: usize = 16_384;

/// How long who waits for a blob waits for whoever brings it.
#[derive(Clone, Copy, Debug)]
struct Patience {
    /// In such a time it must have come nearer.
    standstill: Duration,
    /// By so many bytes. A slow way that is fast enough to be used at all brings more.
    least: u64,
    /// In all.
    longest: Duration,
    /// After so many who bring nothing, one after the other, everybody helps himself.
    tries: u32,
}

const PATIENCE: Patience = Patience {
    standstill: Duration::from_secs(60),
    least: 128 * 1024,
    longest: Duration::from_secs(30 * 60),
    tries: 3,
};

/// Lets one of several images that share a blob bring it, while the others wait and then mount it.
#[derive(Debug)]
pub struct Blobs {
    places: Mutex<HashMap<(String, Digest), Arc<Place>>>,
    /// Targets that mount nothing, whatever one waits for.
    unmountable: Mutex<HashSet<String>>,
    patience: Patience,
}

impl Default for Blobs {
    fn default() -> Self {
        Self { places: Mutex::default(), unmountable: Mutex::default(), patience: PATIENCE }
    }
}

/// Where a blob is known to be.
#[derive(Clone, Debug)]
pub struct Home {
    /// The repository.
    pub repository: String,
    /// The image that it was found or brought for.
    pub flight: Arc<Flight>,
}

/// One blob at one target.
#[derive(Debug, Default)]
struct Place {
    home: Arc<tokio::sync::Mutex<Option<Home>>>,
    /// Grows as the blob is brought.
    moved: AtomicU64,
    /// The image whose turn it is, and that is busy with its other blobs as yet.
    busy: Mutex<Option<Arc<Flight>>>,
}

/// Leave to bring a blob, and where it is known to be: to be set by whoever finds or brings it.
#[derive(Debug)]
pub struct Turn {
    /// Where it is known to be.
    pub home: OwnedMutexGuard<Option<Home>>,
    place: Arc<Place>,
}

impl Turn {
    fn begin(place: Arc<Place>, home: OwnedMutexGuard<Option<Home>>, flight: &Arc<Flight>) -> Self {
        *place.busy.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::clone(flight));
        Self { home, place }
    }

    /// From now on the blob itself is on its way. What is returned is to be told of each piece.
    pub fn sets_out(&self) -> impl Fn(u64) + Clone + Send + Sync + use<> {
        *self.place.busy.lock().unwrap_or_else(PoisonError::into_inner) = None;
        let place = Arc::clone(&self.place);
        move |bytes| {
            place.moved.fetch_add(bytes, Ordering::Relaxed);
        }
    }
}

impl Place {
    /// Changes as the blob comes nearer.
    fn moved(&self) -> u64 {
        let busy = self.busy.lock().unwrap_or_else(PoisonError::into_inner);
        let of_image = busy.as_ref().map_or(0, |flight| flight.moved());
        self.moved.load(Ordering::Relaxed).wrapping_add(of_image)
    }

    /// Waits for one's turn, while whoever has it gets on.
    async fn wait(&self, patience: Patience, deadline: Instant) -> Option<OwnedMutexGuard<Option<Home>>> {
        let turn = Arc::clone(&self.home).lock_owned();
        tokio::pin!(turn);
        let mut seen = self.moved();
        loop {
            let until = deadline.min(Instant::now() + patience.standstill);
            if let Ok(turn) = timeout_at(until, &mut turn).await {
                return Some(turn);
            }
            let moved = self.moved();
            if Instant::now() >= deadline || moved.abs_diff(seen) < patience.least {
                return None;
            }
            seen = moved;
        }
    }
}

impl Blobs {
    /// Waits until nobody else is bringing this blob to this target for another image than that of `flight`. Whoever
    /// has the turn and gets nowhere loses it: the blob is brought by the next one then, beside him.
    pub async fn turn(&self, target: &str, digest: &Digest, flight: &Arc<Flight>) -> Turn {
        let name = (target.to_owned(), digest.clone());
        let deadline = Instant::now() + self.patience.longest;
        for _ in 0..self.patience.tries {
            let place = self.place(&name);
            if let Some(home) = place.wait(self.patience, deadline).await {
                return Turn::begin(place, home, flight);
            }
            tracing::debug!(target, %digest, "whoever brings the blob gets nowhere, and is not waited for any more");
            let mut places = self.places();
            // Unless somebody has done so before: then it is his turn, and he is new to it.
            if places.get(&name).is_some_and(|now| Arc::ptr_eq(now, &place)) {
                places.insert(name.clone(), Arc::default());
            }
        }
        let place = Arc::new(Place::default());
        let home = Arc::clone(&place.home).lock_owned().await;
        Turn::begin(place, home, flight)
    }

    fn place(&self, name: &(String, Digest)) -> Arc<Place> {
        let mut places = self.places();
        if places.len() >= REMEMBERED {
            places.retain(|_, place| Arc::strong_count(place) > 1);
        }
        Arc::clone(places.entry(name.clone()).or_default())
    }

    fn places(&self) -> std::sync::MutexGuard<'_, HashMap<(String, Digest), Arc<Place>>> {
        self.places.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether it pays to wait for something that this target could mount.
    pub fn may_mount_later(&self, target: &str) -> bool {
        !self.unmountable.lock().unwrap_or_else(PoisonError::into_inner).contains(target)
    }

    /// A target refused to mount even what a manifest of its own refers to.
    pub fn never_mounts(&self, target: &str) {
        self.unmountable.lock().unwrap_or_else(PoisonError::into_inner).insert(target.to_owned());
    }
}

#[cfg(test)]
mod tests {
    use futures::future::join_all;

    use super::*;

    fn impatient() -> Blobs {
        let patience =
            Patience { standstill: Duration::from_millis(200), least: 100, longest: Duration::from_secs(60), tries: 3 };
        Blobs { patience, ..Blobs::default() }
    }

    /// Far more than anything here takes.
    async fn soon<T>(what: impl Future<Output = T>) -> T {
        tokio::time::timeout(Duration::from_secs(30), what).await.expect("it waits without a deadline")
    }

    #[tokio::test]
    async fn one_brings_a_blob_and_the_next_learns_where_it_is() {
        let (blobs, flight) = (Blobs::default(), Arc::default());
        let digest = Digest::sha256(b"layer");
        let mut first = blobs.turn("default", &digest, &flight).await;
        assert!(first.home.is_none());
        let second = blobs.turn("default", &digest, &flight);
        tokio::pin!(second);
        assert!(futures::poll!(&mut second).is_pending(), "the blob is on its way");
        *first.home = Some(Home { repository: "library/base".into(), flight: Arc::default() });
        drop(first);
        assert_eq!(second.await.home.as_ref().map(|home| home.repository.as_str()), Some("library/base"));
        assert!(blobs.turn("other", &digest, &flight).await.home.is_none(), "targets do not share blobs");
    }

    #[tokio::test]
    async fn who_gets_nowhere_is_not_waited_for() {
        let (blobs, digest) = (impatient(), Digest::sha256(b"layer"));
        let stuck = blobs.turn("default", &digest, &Arc::default()).await;
        let second = soon(blobs.turn("default", &digest, &Arc::default())).await;
        assert!(second.home.is_none());
        // Who comes now waits for the second.
        let flight = Arc::default();
        let third = soon(blobs.turn("default", &digest, &flight));
        tokio::pin!(third);
        assert!(futures::poll!(&mut third).is_pending());
        drop(second);
        third.await;
        drop(stuck);
    }

    #[tokio::test]
    async fn nobody_waits_for_ever_even_where_all_get_stuck() {
        let (blobs, digest) = (impatient(), Digest::sha256(b"layer"));
        let flight = Arc::default();
        let turns = soon(join_all((0..8).map(|_| blobs.turn("default", &digest, &flight)))).await;
        assert_eq!(turns.len(), 8, "all of them at once, none ever given back");
    }

    #[tokio::test]
    async fn who_gets_on_is_waited_for() {
        let (blobs, digest) = (impatient(), Digest::sha256(b"layer"));
        // First with the image's other blobs, then with this one.
        let flight: Arc<Flight> = Arc::default();
        let mut first = blobs.turn("default", &digest, &flight).await;
        let waiting = Arc::default();
        let second = soon(blobs.turn("default", &digest, &waiting));
        let brought = async {
            for _ in 0..40 {
                tokio::time::sleep(Duration::from_millis(25)).await;
                flight.moves(50);
            }
            let moves = first.sets_out();
            for _ in 0..40 {
                tokio::time::sleep(Duration::from_millis(25)).await;
                moves(50);
            }
            *first.home = Some(Home { repository: "library/base".into(), flight: flight.clone() });
            drop(first);
        };
        let (second, ()) = tokio::join!(second, brought);
        assert!(second.home.is_some(), "it was worth the wait");
    }

    #[tokio::test]
    async fn a_turn_that_is_dropped_is_the_next_ones() {
        let (blobs, digest) = (Blobs::default(), Digest::sha256(b"layer"));
        let flight = Arc::default();
        let first = blobs.turn("default", &digest, &flight).await;
        {
            let waiting = blobs.turn("default", &digest, &flight);
            tokio::pin!(waiting);
            assert!(futures::poll!(&mut waiting).is_pending());
        }
        drop(first);
        soon(blobs.turn("default", &digest, &flight)).await;
    }
}
