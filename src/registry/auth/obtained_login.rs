//! A login that is obtained when a registry asks for one, and kept for a while: from a credential helper, or with the
//! identity of a cloud.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use crate::{
    model::Login,
    registry::auth::cache::{Expiring, FetchError, FetchLimits, RefreshingCache},
};

/// How long to do without a login before looking for one again.
const ABSENT_PERIOD: Duration = Duration::from_secs(3 * 60);

/// After a failure nothing is asked for this long, nor after a second rejected login.
const FETCH_LIMITS: FetchLimits =
    FetchLimits { failure_cooldown: Duration::from_secs(60), invalidation_cooldown: Duration::from_secs(60) };

/// None: there is no login.
pub(in crate::registry) type Obtained = Expiring<Option<Arc<Login>>>;

/// A login could not be obtained. `Display` is one line: what was tried and where, what is wrong, and what to do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{operation}: {problem}; {remedy}")]
pub(in crate::registry) struct LoginError {
    pub operation: String,
    pub problem: String,
    pub remedy: String,
}

impl FetchError for LoginError {
    fn aborted(reason: String) -> Self {
        let (operation, remedy) = ("obtaining a login".to_owned(), "report this as a bug".to_owned());
        Self { operation, problem: format!("aborted: {reason}"), remedy }
    }
}

/// A login with the time for which it is valid.
pub(in crate::registry) struct NewLogin {
    pub login: Login,
    pub lifetime: Duration,
}

/// The login of one source. Concurrent callers share one request for it.
pub(in crate::registry) struct ObtainedLogin {
    cache: RefreshingCache<Option<Arc<Login>>, LoginError>,
}

impl Default for ObtainedLogin {
    fn default() -> Self {
        Self { cache: RefreshingCache::new(FETCH_LIMITS) }
    }
}

impl ObtainedLogin {
    /// The kept login, or what `obtain` returns; Ok(None): there is none. `whose` and `registry` are for the log.
    pub(in crate::registry) async fn get<F>(
        &self,
        whose: &str,
        registry: &str,
        obtain: impl FnOnce() -> F,
    ) -> Result<Arc<Obtained>, LoginError>
    where
        F: Future<Output = Result<Option<NewLogin>, LoginError>> + Send + 'static,
    {
        let is_renewal = self.cache.expires_at().is_some_and(|expiry| Instant::now() < expiry);
        let fetch = || {
            let (obtaining, whose, registry) = (obtain(), whose.to_owned(), registry.to_owned());
            async move {
                let requested_at = Instant::now();
                match obtaining.await {
                    Ok(Some(NewLogin { login, lifetime })) => {
                        Ok(Expiring::renewed_early(Some(Arc::new(login)), requested_at, lifetime))
                    }
                    // What was there a moment ago is back in a moment: the login that is still valid is kept.
                    Ok(None) if is_renewal => Err(LoginError {
                        operation: format!("renewing the login of {whose}"),
                        problem: "it is no longer there".to_owned(),
                        remedy: "check this Pod's or this machine's identity".to_owned(),
                    }),
                    Ok(None) => {
                        tracing::debug!(registry, "{whose}: there is no login");
                        Ok(Expiring::until(None, requested_at, requested_at + ABSENT_PERIOD))
                    }
                    Err(error) => {
                        if !is_renewal {
                            tracing::warn!(registry, %error, "{whose} can't be used: the registry is asked without it");
                        }
                        Err(error)
                    }
                }
            }
        };
        self.cache.get(fetch).await
    }

    /// Drops a login that was rejected. Whether another one may be obtained now.
    pub(in crate::registry) fn invalidate(&self, rejected: &Arc<Obtained>) -> bool {
        self.cache.invalidate(Instant::now(), rejected)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    fn login(password: &str) -> NewLogin {
        let login = Login::Password { username: "me".to_owned(), password: password.to_owned().into() };
        NewLogin { login, lifetime: Duration::from_secs(3600) }
    }

    fn failure() -> LoginError {
        LoginError { operation: "asking".to_owned(), problem: "no".to_owned(), remedy: "ask again".to_owned() }
    }

    #[tokio::test]
    async fn absence_and_failure_are_remembered_and_a_login_is_kept() {
        type Answer = fn() -> Result<Option<NewLogin>, LoginError>;
        let answers: [Answer; 3] = [|| Ok(None), || Err(failure()), || Ok(Some(login("pw")))];
        for answer in answers {
            let (obtained, count) = (ObtainedLogin::default(), AtomicU32::new(0));
            let get = || {
                obtained.get("the helper", "r.example", || {
                    count.fetch_add(1, Ordering::SeqCst);
                    async move { answer() }
                })
            };
            let (first, second) = (get().await, get().await);
            assert_eq!(first.map(|obtained| obtained.value.clone()), second.map(|obtained| obtained.value.clone()));
            assert_eq!(count.load(Ordering::SeqCst), 1);
        }
    }

    #[tokio::test]
    async fn a_rejected_login_is_obtained_again_once() {
        let obtained = ObtainedLogin::default();
        let mut rejected = obtained.get("", "", || async { Ok(Some(login("1"))) }).await.unwrap();
        for (password, may_renew) in [("2", true), ("3", false)] {
            assert_eq!(obtained.invalidate(&rejected), may_renew);
            rejected = obtained.get("", "", || async move { Ok(Some(login(password))) }).await.unwrap();
        }
        assert_eq!(rejected.value.as_deref(), Some(&login("2").login));
    }
}
