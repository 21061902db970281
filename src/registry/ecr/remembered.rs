//! What is fetched once for all who need it, renewed before it ends, and not asked for in a storm where that fails.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use futures::{
    FutureExt,
    future::{BoxFuture, Shared},
};

use super::AwsError;
use crate::model::Retry;

/// After a failure nobody asks again for so long; whoever needs it meanwhile is told of that failure.
const COOLDOWN: Duration = Duration::from_secs(5);

/// So long after one was refused the next that is refused is kept all the same.
const FORGETTING: Duration = Duration::from_secs(2);

/// What is believed of a longer life: clocks can't hold any number.
const LONGEST_LIFE: Duration = Duration::from_secs(7 * 24 * 60 * 60);

/// Where clocks differ, something that has ended on arrival is still believed for so long.
const SHORTEST_LIFE: Duration = Duration::from_secs(60);

/// The last part of a life, in which it is renewed: a tenth, at most an hour.
const LONGEST_RENEWAL: Duration = Duration::from_secs(60 * 60);

/// Something with an end.
pub(in crate::registry) struct Lived<T> {
    /// The thing itself.
    pub value: T,
    renewed: Instant,
    ends: Instant,
}

impl<T> Lived<T> {
    /// `life` counts from `begun`, when it was asked for.
    pub fn new(value: T, begun: Instant, life: Duration) -> Self {
        let life = life.clamp(SHORTEST_LIFE, LONGEST_LIFE);
        let ends = begun + life;
        Self { value, renewed: ends - (life / 10).min(LONGEST_RENEWAL), ends }
    }
}

type Fetched<T> = Result<Arc<Lived<T>>, Failed>;
type Fetch<T> = Shared<BoxFuture<'static, Fetched<T>>>;

#[derive(Clone)]
struct Failed {
    error: AwsError,
    until: Instant,
}

/// One such thing.
pub(super) struct Remembered<T> {
    state: Mutex<State<T>>,
}

struct State<T> {
    current: Option<Arc<Lived<T>>>,
    fetch: Option<Fetch<T>>,
    forgotten: Option<Instant>,
}

impl<T> Default for Remembered<T> {
    fn default() -> Self {
        Self { state: Mutex::new(State { current: None, fetch: None, forgotten: None }) }
    }
}

impl<T: Send + Sync + 'static> Remembered<T> {
    /// What is there, or what comes of `fetch`, for which everybody waits together. A renewal that fails harms nobody
    /// while the old one lives.
    pub async fn get<F>(&self, fetch: impl FnOnce() -> F) -> Result<Arc<Lived<T>>, AwsError>
    where
        F: Future<Output = Result<Lived<T>, AwsError>> + Send + 'static,
    {
        self.get_at(Instant::now(), fetch).await
    }

    async fn get_at<F>(&self, now: Instant, fetch: impl FnOnce() -> F) -> Result<Arc<Lived<T>>, AwsError>
    where
        F: Future<Output = Result<Lived<T>, AwsError>> + Send + 'static,
    {
        let fetch = {
            let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(Ok(fetched)) = state.fetch.as_ref().and_then(Shared::peek) {
                state.current = Some(Arc::clone(fetched));
                state.fetch = None;
            }
            let current = state.current.clone().filter(|current| now < current.ends);
            if let Some(current) = &current
                && now < current.renewed
            {
                return Ok(Arc::clone(current));
            }
            let under_way = state.fetch.clone().filter(|fetch| match fetch.peek() {
                Some(Err(failed)) => now < failed.until,
                _ => true,
            });
            let begins = under_way.is_none();
            let fetch = under_way.unwrap_or_else(|| shared(now, fetch()));
            state.fetch = Some(fetch.clone());
            match current {
                // While the old one lives nobody waits.
                Some(current) => {
                    if begins {
                        tokio::spawn(told(fetch));
                    }
                    return Ok(current);
                }
                None => fetch,
            }
        };
        fetch.await.map_err(|failed| failed.error)
    }

    /// Drops what was not accepted. Whether another one can be had now: where one after the other is refused, something
    /// else is wrong, and nobody is asked for more of them for a while.
    pub fn forget(&self, now: Instant, refused: &Arc<Lived<T>>) -> bool {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let is_current = state.current.as_ref().is_some_and(|current| Arc::ptr_eq(current, refused));
        let is_fetched = state.fetch.as_ref().and_then(Shared::peek).is_some_and(|fetch| is_of(fetch, refused));
        if !is_current && !is_fetched {
            return true;
        }
        if state.forgotten.is_some_and(|forgotten| now < forgotten + FORGETTING) {
            return false;
        }
        state.forgotten = Some(now);
        state.current = None;
        state.fetch = None;
        true
    }
}

/// Sees a renewal to its end.
async fn told<T>(fetch: Fetch<T>) {
    if let Err(failed) = fetch.await {
        tracing::warn!(error = %failed.error, "not renewed; what is there is used until it ends");
    }
}

fn is_of<T>(fetched: &Fetched<T>, value: &Arc<Lived<T>>) -> bool {
    matches!(fetched, Ok(fetched) if Arc::ptr_eq(fetched, value))
}

fn shared<T: Send + Sync + 'static>(
    now: Instant,
    fetch: impl Future<Output = Result<Lived<T>, AwsError>> + Send + 'static,
) -> Fetch<T> {
    let begun = Instant::now();
    let fetched = fetch.map(move |fetched| match fetched {
        Ok(lived) => Ok(Arc::new(lived)),
        // From its end: the tries of one call may last longer than the cooldown.
        Err(error) => Err(Failed { error, until: now + begun.elapsed() + COOLDOWN }),
    });
    // It goes on whoever of those who wait for it goes away.
    let detached = async move {
        tokio::spawn(fetched).await.unwrap_or_else(|broken| {
            let error = AwsError::new("asking AWS".to_owned(), broken.to_string(), Retry::Soon);
            Err(Failed { error, until: Instant::now() + COOLDOWN })
        })
    };
    detached.boxed().shared()
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);

    /// Counts how often it was asked, and answers with that number, or fails where it is told to.
    #[derive(Clone, Default)]
    struct Source {
        asked: Arc<AtomicU32>,
        fails: Arc<AtomicBool>,
    }

    impl Source {
        async fn fetch(self, begun: Instant) -> Result<Lived<u32>, AwsError> {
            let number = self.asked.fetch_add(1, Ordering::SeqCst) + 1;
            tokio::task::yield_now().await;
            match self.fails.load(Ordering::SeqCst) {
                true => Err(AwsError::new("asking".into(), "no".into(), Retry::Soon)),
                false => Ok(Lived::new(number, begun, 12 * HOUR)),
            }
        }

        fn asked(&self) -> u32 {
            self.asked.load(Ordering::SeqCst)
        }
    }

    async fn get(remembered: &Remembered<u32>, source: &Source, now: Instant) -> Result<u32, AwsError> {
        remembered.get_at(now, || source.clone().fetch(now)).await.map(|lived| lived.value)
    }

    #[tokio::test]
    async fn all_who_wait_wait_for_one() {
        let (remembered, source, now) = (Remembered::default(), Source::default(), Instant::now());
        let all = futures::future::join_all((0..20).map(|_| get(&remembered, &source, now))).await;
        assert!(all.into_iter().all(|value| value.unwrap() == 1));
        assert_eq!((get(&remembered, &source, now).await.unwrap(), source.asked()), (1, 1));
    }

    #[tokio::test]
    async fn what_has_just_come_is_not_asked_for_again() {
        let (remembered, source, now) = (Remembered::default(), Source::default(), Instant::now());
        let first = get(&remembered, &source, now);
        tokio::pin!(first);
        assert!(futures::poll!(&mut first).is_pending());
        let fetch = remembered.state.lock().unwrap().fetch.clone().unwrap();
        assert!(fetch.await.is_ok());
        assert_eq!((get(&remembered, &source, now).await.unwrap(), source.asked()), (1, 1));
        assert_eq!(first.await.unwrap(), 1);
    }

    /// Lets what was spawned come to its end.
    async fn settle() {
        for _ in 0..10 {
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test]
    async fn it_is_renewed_before_it_ends_and_nobody_waits_for_that() {
        let (remembered, source, now) = (Remembered::default(), Source::default(), Instant::now());
        for (hours, number, then) in [(0, 1, 1), (10, 1, 1), (11, 1, 2), (21, 2, 2), (22, 2, 3)] {
            let now = now + hours * HOUR;
            assert_eq!(get(&remembered, &source, now).await.unwrap(), number, "after {hours} hours");
            settle().await;
            assert_eq!(get(&remembered, &source, now).await.unwrap(), then, "after {hours} hours");
        }
        assert_eq!(source.asked(), 3);
    }

    #[tokio::test]
    async fn a_renewal_that_hangs_stops_nobody() {
        let (remembered, source, now) = (Remembered::default(), Source::default(), Instant::now());
        get(&remembered, &source, now).await.unwrap();
        for _ in 0..3 {
            let renewed = remembered.get_at(now + 11 * HOUR, std::future::pending).await.unwrap();
            assert_eq!(renewed.value, 1);
        }
    }

    #[tokio::test]
    async fn a_failure_is_told_to_all_and_not_repeated_at_once() {
        let (remembered, source, now) = (Remembered::default(), Source::default(), Instant::now());
        source.fails.store(true, Ordering::SeqCst);
        for _ in 0..5 {
            assert_eq!(get(&remembered, &source, now).await.unwrap_err().to_string(), "asking: no");
        }
        assert_eq!(source.asked(), 1);
        source.fails.store(false, Ordering::SeqCst);
        assert_eq!(get(&remembered, &source, now + 2 * COOLDOWN).await.unwrap(), 2);
    }

    #[tokio::test]
    async fn a_failed_renewal_leaves_the_old_one_until_it_ends() {
        let (remembered, source, now) = (Remembered::default(), Source::default(), Instant::now());
        get(&remembered, &source, now).await.unwrap();
        source.fails.store(true, Ordering::SeqCst);
        let late = now + 11 * HOUR;
        for _ in 0..3 {
            assert_eq!(get(&remembered, &source, late).await.unwrap(), 1);
            settle().await;
        }
        assert_eq!(source.asked(), 2);
        assert!(get(&remembered, &source, now + 12 * HOUR).await.is_err());
    }

    #[tokio::test]
    async fn what_was_refused_is_renewed_once() {
        let (remembered, source, now) = (Remembered::default(), Source::default(), Instant::now());
        let refused = remembered.get(|| source.clone().fetch(now)).await.unwrap();
        for _ in 0..3 {
            assert!(remembered.forget(now, &refused));
            assert_eq!(get(&remembered, &source, now).await.unwrap(), 2);
        }
        assert_eq!(source.asked(), 2);
    }

    #[tokio::test]
    async fn refusals_of_all_are_no_storm() {
        let (remembered, source, now) = (Remembered::default(), Source::default(), Instant::now());
        for _ in 0..100 {
            let refused = remembered.get_at(now, || source.clone().fetch(now)).await.unwrap();
            remembered.forget(now, &refused);
        }
        assert_eq!(source.asked(), 2);
        let refused = remembered.get_at(now, || source.clone().fetch(now)).await.unwrap();
        assert!(remembered.forget(now + FORGETTING, &refused));
    }

    #[tokio::test]
    async fn what_ended_on_arrival_is_believed_for_a_minute() {
        let (remembered, now) = (Remembered::default(), Instant::now());
        for (seconds, expected) in [(0, 0), (50, 0), (60, 60)] {
            let now = now + Duration::from_secs(seconds);
            let fetch = || async move { Ok(Lived::new(seconds, now, Duration::ZERO)) };
            assert_eq!(remembered.get_at(now, fetch).await.unwrap().value, expected);
        }
    }
}
