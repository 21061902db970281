//! Who we are at a registry.

use secrecy::SecretString;

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
