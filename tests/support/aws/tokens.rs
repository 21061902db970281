//! Issued authorization tokens and their lifetime.

use std::{
    collections::HashMap,
    sync::Mutex,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

/// The status of a token at a registry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenStatus {
    Valid,
    Expired,
    /// For another registry, or never issued.
    Invalid,
}

struct Token {
    registry: String,
    expires: SystemTime,
}

/// All tokens of one simulated AWS.
pub struct Tokens {
    issued: Mutex<HashMap<String, Token>>,
    lifetime: Mutex<Duration>,
}

impl Tokens {
    /// Tokens are valid for 12 hours, like those of ECR.
    pub fn new() -> Self {
        Self { issued: Mutex::default(), lifetime: Mutex::new(Duration::from_secs(12 * 3600)) }
    }

    /// Issues a token for a registry; returns it with its expiry in Unix seconds.
    pub fn issue(&self, registry: &str) -> (String, u64) {
        let token = format!("auth-token-{:016x}{:016x}", fastrand::u64(..), fastrand::u64(..));
        let expires = SystemTime::now() + *self.lifetime.lock().unwrap();
        self.issued.lock().unwrap().insert(token.clone(), Token { registry: registry.to_owned(), expires });
        (token, expires.duration_since(UNIX_EPOCH).unwrap().as_secs())
    }

    /// The status of `token` at a registry.
    pub fn status(&self, token: &str, registry: &str) -> TokenStatus {
        match self.issued.lock().unwrap().get(token) {
            Some(token) if token.registry != registry => TokenStatus::Invalid,
            Some(token) if token.expires <= SystemTime::now() => TokenStatus::Expired,
            Some(_) => TokenStatus::Valid,
            None => TokenStatus::Invalid,
        }
    }

    /// Sets the lifetime of new tokens.
    pub fn set_lifetime(&self, lifetime: Duration) {
        *self.lifetime.lock().unwrap() = lifetime;
    }

    /// Expires all issued tokens.
    pub fn expire(&self) {
        self.issued.lock().unwrap().values_mut().for_each(|token| token.expires = UNIX_EPOCH);
    }

    /// All tokens that were ever issued.
    pub fn all(&self) -> Vec<String> {
        self.issued.lock().unwrap().keys().cloned().collect()
    }
}
