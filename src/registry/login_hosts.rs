//! Hosts that are accessed with a login from elsewhere than the configuration, such as a pull secret. Each owner has its
//! own: tokens are never shared between owners. Nothing is kept for longer than ten minutes after its last use.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError, Weak},
    time::{Duration, Instant},
};

use secrecy::ExposeSecret as _;
use sha2::{Digest as _, Sha256};

use super::host::Host;
use crate::model::Login;

/// How long tokens are kept after their last use: long enough for the images of one rollout.
const LIFETIME: Duration = Duration::from_secs(10 * 60);

/// How often what is too old is dropped.
const SWEEP_INTERVAL: Duration = Duration::from_secs(60);

/// When there are this many, the one that was not used for longest is dropped.
const MAX_HOSTS: usize = 512;

/// A hash of owner, registry and login; never the login itself.
type Key = [u8; 32];

#[derive(Default)]
pub(super) struct LoginHosts(Mutex<HashMap<Key, Entry>>);

struct Entry {
    host: Arc<Host>,
    last_use: Instant,
}

impl LoginHosts {
    /// The host for an owner's login at a registry, the same one while it is in use and for some minutes after.
    pub(super) fn get(
        self: &Arc<Self>,
        owner: &str,
        registry: &str,
        login: &Login,
        make: impl FnOnce() -> Host,
    ) -> Arc<Host> {
        let (key, now) = (key(owner, registry, login), Instant::now());
        let mut hosts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(entry) = hosts.get_mut(&key) {
            entry.last_use = now;
            return Arc::clone(&entry.host);
        }
        if hosts.len() >= MAX_HOSTS
            && let Some(oldest) = hosts.iter().min_by_key(|(_, entry)| entry.last_use).map(|(key, _)| *key)
        {
            hosts.remove(&oldest);
        }
        if hosts.is_empty() {
            sweep_regularly(Arc::downgrade(self));
        }
        let host = Arc::new(make());
        hosts.insert(key, Entry { host: Arc::clone(&host), last_use: now });
        host
    }

    pub(super) fn all(&self) -> Vec<Arc<Host>> {
        let hosts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        hosts.values().map(|entry| Arc::clone(&entry.host)).collect()
    }

    /// Drops what has not been used for [`LIFETIME`]. Returns whether something is left.
    fn sweep(&self, now: Instant) -> bool {
        let mut hosts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        hosts.retain(|_, entry| now.saturating_duration_since(entry.last_use) < LIFETIME);
        !hosts.is_empty()
    }
}

/// Until nothing is left.
fn sweep_regularly(hosts: Weak<LoginHosts>) {
    let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
    runtime.spawn(async move {
        loop {
            tokio::time::sleep(SWEEP_INTERVAL).await;
            if !hosts.upgrade().is_some_and(|hosts| hosts.sweep(Instant::now())) {
                return;
            }
        }
    });
}

fn key(owner: &str, registry: &str, login: &Login) -> Key {
    let (username, secret) = match login {
        Login::Password { username, password } => (Some(username.as_str()), password),
        Login::Token(token) => (None, token),
    };
    let mut hash = Sha256::new();
    let kind = if username.is_some() { "password" } else { "token" };
    for part in [owner, registry, kind, username.unwrap_or_default(), secret.expose_secret()] {
        hash.update(part.len().to_le_bytes());
        hash.update(part);
    }
    hash.finalize().into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::{Registries, testing::settings};

    fn login(username: &str, password: &str) -> Login {
        Login::Password { username: username.to_owned(), password: password.to_owned().into() }
    }

    fn host() -> Host {
        let registries = Registries::new(settings(), &[], 1).unwrap();
        registries.repository("r.example", "a").host.with_login("r.example", &login("u", "p"))
    }

    #[tokio::test]
    async fn owners_share_nothing_and_neither_do_logins_and_registries() {
        let hosts = Arc::new(LoginHosts::default());
        let get = |owner: &str, registry: &str, login: &Login| hosts.get(owner, registry, login, host);
        let first = get("a", "r.example", &login("u", "p"));
        assert!(Arc::ptr_eq(&first, &get("a", "r.example", &login("u", "p"))));
        for other in [
            get("b", "r.example", &login("u", "p")),
            get("a", "s.example", &login("u", "p")),
            get("a", "r.example", &login("v", "p")),
            get("a", "r.example", &login("u", "q")),
            get("a", "r.example", &Login::Token("p".to_owned().into())),
        ] {
            assert!(!Arc::ptr_eq(&first, &other));
        }
    }

    #[tokio::test]
    async fn what_is_not_used_for_ten_minutes_is_dropped() {
        let hosts = Arc::new(LoginHosts::default());
        hosts.get("a", "r.example", &login("u", "p"), host);
        assert!(hosts.sweep(Instant::now() + LIFETIME / 2));
        assert!(!hosts.sweep(Instant::now() + LIFETIME));
        assert!(hosts.all().is_empty());
    }

    #[tokio::test]
    async fn their_number_is_bounded() {
        let hosts = Arc::new(LoginHosts::default());
        for number in 0..MAX_HOSTS + 10 {
            hosts.get(&number.to_string(), "r.example", &login("u", "p"), host);
        }
        assert_eq!(hosts.all().len(), MAX_HOSTS);
    }
}
