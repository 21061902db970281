//! What the transport has to be told.

use std::time::Duration;

use secrecy::SecretString;

/// How registries are reached.
#[derive(Clone, Debug)]
pub struct Settings {
    /// How long to wait for the head of an answer, and for a transfer in which no byte moves; none: no bound but the
    /// 30 s that a TCP connection may take.
    pub request_timeout: Option<Duration>,
    /// Who we are; the exact name beats a glob, and among equals the later entry wins.
    pub credentials: Vec<Credential>,
    /// Registries (`host[:port]`) whose certificates are not checked, and that may be spoken to over plain HTTP.
    pub insecure: Vec<String>,
    /// How often a request that can pass on another try is sent, the first time included; 0 counts as 1.
    pub attempts: u32,
    /// The longest pause between two attempts, unless the registry asks for another.
    pub backoff_cap: Duration,
}

/// Credentials for a registry.
#[derive(Clone, Debug)]
pub struct Credential {
    /// `host[:port]` in any case; `*` and `?` as in a shell.
    pub registry: String,
    /// Further names of the same registry, written alike.
    pub aliases: Vec<String>,
    /// What to present.
    pub login: Login,
}

/// What is presented to a registry.
#[derive(Clone, Debug)]
pub enum Login {
    /// Sent as Basic, or exchanged at the token service that the registry names.
    Password {
        /// The user.
        username: String,
        /// The password.
        password: SecretString,
    },
    /// Sent as it is: `Authorization: Bearer`.
    Token(SecretString),
}
