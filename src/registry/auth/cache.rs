//! A cached value that expires: fetched once for all concurrent callers, and renewed in the background before it expires.
//! Kept by hand: it also pauses after failures and rejections, so that a failing service is not called over and over.

use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use futures::{
    FutureExt,
    future::{BoxFuture, Shared},
};

/// Longer lifetimes are cut to this: clocks can't represent every number.
const MAX_LIFETIME: Duration = Duration::from_secs(7 * 24 * 60 * 60);

/// Clocks differ, so a value that has expired on arrival is used this long.
const MIN_LIFETIME: Duration = Duration::from_secs(60);

/// The longest background renewal before expiry.
const MAX_RENEWAL: Duration = Duration::from_secs(60 * 60);

/// A value with an expiry.
pub(in crate::registry) struct Expiring<T> {
    pub value: T,
    /// When it was requested.
    pub requested_at: Instant,
    renew_at: Instant,
    expires_at: Instant,
}

impl<T> Expiring<T> {
    /// Renewed in the background in the last tenth of its lifetime, which counts from `requested_at`.
    pub fn renewed_early(value: T, requested_at: Instant, lifetime: Duration) -> Self {
        let lifetime = lifetime.clamp(MIN_LIFETIME, MAX_LIFETIME);
        let expires_at = requested_at + lifetime;
        Self { value, requested_at, renew_at: expires_at - (lifetime / 10).min(MAX_RENEWAL), expires_at }
    }

    /// Fetched again after it has expired.
    pub fn until(value: T, requested_at: Instant, expires_at: Instant) -> Self {
        Self { value, requested_at, renew_at: expires_at, expires_at }
    }
}

/// The error of a fetch, shared by all who wait for it.
pub(in crate::registry) trait FetchError: Clone + fmt::Display + Send + Sync + 'static {
    /// The fetching task panicked or was cancelled.
    fn aborted(reason: String) -> Self;
}

/// When a value is not fetched.
#[derive(Clone, Copy)]
pub(in crate::registry) struct FetchLimits {
    /// After a failure, which is returned meanwhile.
    pub failure_cooldown: Duration,
    /// After an invalidation, the next one within this time is ignored.
    pub invalidation_cooldown: Duration,
}

impl FetchLimits {
    pub const NONE: Self = Self { failure_cooldown: Duration::ZERO, invalidation_cooldown: Duration::ZERO };
}

type Fetched<T, E> = Result<Arc<Expiring<T>>, Failed<E>>;
type Fetch<T, E> = Shared<BoxFuture<'static, Fetched<T, E>>>;

#[derive(Clone)]
struct Failed<E> {
    error: E,
    until: Instant,
}

/// A cache of one value.
pub(in crate::registry) struct RefreshingCache<T, E> {
    limits: FetchLimits,
    state: Mutex<State<T, E>>,
}

struct State<T, E> {
    current: Option<Arc<Expiring<T>>>,
    fetch: Option<Fetch<T, E>>,
    invalidated_at: Option<Instant>,
}

impl<T: Send + Sync + 'static, E: FetchError> RefreshingCache<T, E> {
    pub fn new(limits: FetchLimits) -> Self {
        Self { limits, state: Mutex::new(State { current: None, fetch: None, invalidated_at: None }) }
    }

    /// The cached value, or the result of `fetch`, which all callers share. A renewal that fails does no harm before
    /// the old value expires.
    pub async fn get<F>(&self, fetch: impl FnOnce() -> F) -> Result<Arc<Expiring<T>>, E>
    where
        F: Future<Output = Result<Expiring<T>, E>> + Send + 'static,
    {
        self.get_at(Instant::now(), fetch).await
    }

    async fn get_at<F>(&self, now: Instant, fetch: impl FnOnce() -> F) -> Result<Arc<Expiring<T>>, E>
    where
        F: Future<Output = Result<Expiring<T>, E>> + Send + 'static,
    {
        let fetch = {
            let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
            let current = state.latest().filter(|current| now < current.expires_at);
            if let Some(current) = &current
                && now < current.renew_at
            {
                return Ok(Arc::clone(current));
            }
            let in_flight = state.fetch.clone().filter(|fetch| match fetch.peek() {
                Some(Err(failed)) => now < failed.until,
                _ => true,
            });
            let is_new = in_flight.is_none();
            let fetch = in_flight.unwrap_or_else(|| shared(now, self.limits.failure_cooldown, fetch()));
            state.fetch = Some(fetch.clone());
            match current {
                // The old value is valid, so nobody waits for the renewal.
                Some(current) => {
                    if is_new {
                        tokio::spawn(renew(fetch));
                    }
                    return Ok(current);
                }
                None => fetch,
            }
        };
        fetch.await.map_err(|failed| failed.error)
    }

    /// Drops a value that was rejected. Whether another one may be fetched now: if one after the other is rejected,
    /// something else is wrong, and no more are requested for a while.
    pub fn invalidate(&self, now: Instant, rejected: &Arc<Expiring<T>>) -> bool {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if !state.latest().is_some_and(|latest| Arc::ptr_eq(&latest, rejected)) {
            return true;
        }
        if state.invalidated_at.is_some_and(|at| now < at + self.limits.invalidation_cooldown) {
            return false;
        }
        state.invalidated_at = Some(now);
        state.current = None;
        state.fetch = None;
        true
    }

    /// When the value expires; None while there is none.
    pub fn expires_at(&self) -> Option<Instant> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.latest().map(|latest| latest.expires_at)
    }

    /// Whether a value is being fetched.
    pub fn is_fetching(&self) -> bool {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.fetch.as_ref().is_some_and(|fetch| fetch.peek().is_none())
    }
}

impl<T, E: Clone> State<T, E> {
    /// The value, including that of a fetch that has just ended.
    fn latest(&mut self) -> Option<Arc<Expiring<T>>> {
        if let Some(Ok(fetched)) = self.fetch.as_ref().and_then(Shared::peek) {
            self.current = Some(Arc::clone(fetched));
            self.fetch = None;
        }
        self.current.clone()
    }
}

async fn renew<T, E: FetchError>(fetch: Fetch<T, E>) {
    if let Err(failed) = fetch.await {
        tracing::warn!(error = %failed.error, "credentials not renewed; the current ones are used until they expire");
    }
}

fn shared<T: Send + Sync + 'static, E: FetchError>(
    now: Instant,
    failure_cooldown: Duration,
    fetch: impl Future<Output = Result<Expiring<T>, E>> + Send + 'static,
) -> Fetch<T, E> {
    let begun = Instant::now();
    let fetched = fetch.map(move |fetched| match fetched {
        Ok(value) => Ok(Arc::new(value)),
        // Counts from the end: the attempts of one call may last longer than the cooldown.
        Err(error) => Err(Failed { error, until: now + begun.elapsed() + failure_cooldown }),
    });
    // In a task of its own, so that it continues when those who wait for it are cancelled.
    let detached = async move {
        tokio::spawn(fetched).await.unwrap_or_else(|aborted| {
            Err(Failed { error: E::aborted(aborted.to_string()), until: Instant::now() + failure_cooldown })
        })
    };
    detached.boxed().shared()
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);

    const COOLDOWN: Duration = Duration::from_secs(5);
    const INVALIDATION_COOLDOWN: Duration = Duration::from_secs(2);

    impl FetchError for String {
        fn aborted(reason: String) -> Self {
            reason
        }
    }

    fn cache<T: Send + Sync + 'static>() -> RefreshingCache<T, String> {
        let limits = FetchLimits { failure_cooldown: COOLDOWN, invalidation_cooldown: INVALIDATION_COOLDOWN };
        RefreshingCache::new(limits)
    }

    /// Counts its fetches and returns their number, or fails if told to.
    #[derive(Clone, Default)]
    struct Source {
        fetches: Arc<AtomicU32>,
        fails: Arc<AtomicBool>,
    }

    impl Source {
        async fn fetch(self, begun: Instant) -> Result<Expiring<u32>, String> {
            let number = self.fetches.fetch_add(1, Ordering::SeqCst) + 1;
            tokio::task::yield_now().await;
            match self.fails.load(Ordering::SeqCst) {
                true => Err("no".to_owned()),
                false => Ok(Expiring::renewed_early(number, begun, 12 * HOUR)),
            }
        }

        fn fetches(&self) -> u32 {
            self.fetches.load(Ordering::SeqCst)
        }
    }

    async fn get(cache: &RefreshingCache<u32, String>, source: &Source, now: Instant) -> Result<u32, String> {
        cache.get_at(now, || source.clone().fetch(now)).await.map(|expiring| expiring.value)
    }

    #[tokio::test]
    async fn concurrent_callers_share_one_fetch() {
        let (cache, source, now) = (cache(), Source::default(), Instant::now());
        let all = futures::future::join_all((0..20).map(|_| get(&cache, &source, now))).await;
        assert!(all.into_iter().all(|value| value.unwrap() == 1));
        assert_eq!((get(&cache, &source, now).await.unwrap(), source.fetches()), (1, 1));
    }

    #[tokio::test]
    async fn uses_a_value_that_was_fetched_just_now() {
        let (cache, source, now) = (cache(), Source::default(), Instant::now());
        let first = get(&cache, &source, now);
        tokio::pin!(first);
        assert!(futures::poll!(&mut first).is_pending());
        let fetch = cache.state.lock().unwrap().fetch.clone().unwrap();
        assert!(fetch.await.is_ok());
        assert_eq!((get(&cache, &source, now).await.unwrap(), source.fetches()), (1, 1));
        assert_eq!(first.await.unwrap(), 1);
    }

    /// Lets spawned tasks finish.
    async fn settle() {
        for _ in 0..10 {
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test]
    async fn renews_in_the_background_before_expiry() {
        let (cache, source, now) = (cache(), Source::default(), Instant::now());
        for (hours, number, then) in [(0, 1, 1), (10, 1, 1), (11, 1, 2), (21, 2, 2), (22, 2, 3)] {
            let now = now + hours * HOUR;
            assert_eq!(get(&cache, &source, now).await.unwrap(), number, "after {hours} hours");
            settle().await;
            assert_eq!(get(&cache, &source, now).await.unwrap(), then, "after {hours} hours");
        }
        assert_eq!(source.fetches(), 3);
    }

    #[tokio::test]
    async fn a_hanging_renewal_blocks_no_caller() {
        let (cache, source, now) = (cache(), Source::default(), Instant::now());
        get(&cache, &source, now).await.unwrap();
        for _ in 0..3 {
            let renewed = cache.get_at(now + 11 * HOUR, std::future::pending).await.unwrap();
            assert_eq!(renewed.value, 1);
        }
    }

    #[tokio::test]
    async fn a_failure_is_shared_and_retried_after_the_cooldown() {
        let (cache, source, now) = (cache(), Source::default(), Instant::now());
        source.fails.store(true, Ordering::SeqCst);
        for _ in 0..5 {
            assert_eq!(get(&cache, &source, now).await.unwrap_err(), "no");
        }
        assert_eq!(source.fetches(), 1);
        source.fails.store(false, Ordering::SeqCst);
        assert_eq!(get(&cache, &source, now + 2 * COOLDOWN).await.unwrap(), 2);
    }

    #[tokio::test]
    async fn a_failed_renewal_keeps_the_old_value_until_it_expires() {
        let (cache, source, now) = (cache(), Source::default(), Instant::now());
        get(&cache, &source, now).await.unwrap();
        source.fails.store(true, Ordering::SeqCst);
        let late = now + 11 * HOUR;
        for _ in 0..3 {
            assert_eq!(get(&cache, &source, late).await.unwrap(), 1);
            settle().await;
        }
        assert_eq!(source.fetches(), 2);
        assert!(get(&cache, &source, now + 12 * HOUR).await.is_err());
    }

    #[tokio::test]
    async fn fetches_a_rejected_value_again_once() {
        let (cache, source, now) = (cache(), Source::default(), Instant::now());
        let rejected = cache.get(|| source.clone().fetch(now)).await.unwrap();
        for _ in 0..3 {
            assert!(cache.invalidate(now, &rejected));
            assert_eq!(get(&cache, &source, now).await.unwrap(), 2);
        }
        assert_eq!(source.fetches(), 2);
    }

    #[tokio::test]
    async fn repeated_rejections_cause_no_fetch_storm() {
        let (cache, source, now) = (cache(), Source::default(), Instant::now());
        for _ in 0..100 {
            let rejected = cache.get_at(now, || source.clone().fetch(now)).await.unwrap();
            cache.invalidate(now, &rejected);
        }
        assert_eq!(source.fetches(), 2);
        let rejected = cache.get_at(now, || source.clone().fetch(now)).await.unwrap();
        assert!(cache.invalidate(now + INVALIDATION_COOLDOWN, &rejected));
    }

    #[tokio::test]
    async fn uses_a_value_that_expired_on_arrival_for_a_minute() {
        let (cache, now) = (cache(), Instant::now());
        for (seconds, expected) in [(0, 0), (50, 0), (60, 60)] {
            let now = now + Duration::from_secs(seconds);
            let fetch = || async move { Ok(Expiring::renewed_early(seconds, now, Duration::ZERO)) };
            assert_eq!(cache.get_at(now, fetch).await.unwrap().value, expected);
        }
    }
}
