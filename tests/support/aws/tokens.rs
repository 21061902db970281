//! The authorization tokens that were handed out, and how long they hold.

use std::{
    collections::HashMap,
    sync::Mutex,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

/// How a token stands with a registry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It lets its bearer in.
    Live,
    /// It did once.
    Expired,
    /// It is for another registry, or nobody made it.
    Foreign,
}

struct Token {
    registry: String,
    expires: SystemTime,
}

/// All tokens of one stand-in.
pub struct Tokens {
    issued: Mutex<HashMap<String, Token>>,
    life: Mutex<Duration>,
}

impl Tokens {
    /// None yet. Each will hold for 12 hours, as ECR's do.
    pub fn new() -> Self {
        Self { issued: Mutex::default(), life: Mutex::new(Duration::from_secs(12 * 3600)) }
    }

    /// A new one for a registry, and the second of Unix time at which it ends.
    pub fn issue(&self, registry: &str) -> (String, u64) {
        let token = format!("auth-token-{:016x}{:016x}", fastrand::u64(..), fastrand::u64(..));
        let expires = SystemTime::now() + *self.life.lock().unwrap();
        self.issued.lock().unwrap().insert(token.clone(), Token { registry: registry.to_owned(), expires });
        (token, expires.duration_since(UNIX_EPOCH).unwrap().as_secs())
    }

    /// What `token` is worth at a registry.
    pub fn standing(&self, token: &str, registry: &str) -> Standing {
        match self.issued.lock().unwrap().get(token) {
            Some(token) if token.registry != registry => Standing::Foreign,
            Some(token) if token.expires <= SystemTime::now() => Standing::Expired,
            Some(_) => Standing::Live,
            None => Standing::Foreign,
        }
    }

    /// Lets those that will be issued hold this long.
    pub fn set_life(&self, life: Duration) {
        *self.life.lock().unwrap() = life;
    }

    /// Lets all that were issued end now, whatever was said of them.
    pub fn expire(&self) {
        self.issued.lock().unwrap().values_mut().for_each(|token| token.expires = UNIX_EPOCH);
    }

    /// All that were ever issued.
    pub fn all(&self) -> Vec<String> {
        self.issued.lock().unwrap().keys().cloned().collect()
    }
}
