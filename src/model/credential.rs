//! Credentials for registries.

use secrecy::{ExposeSecret as _, SecretString};

/// Credentials for one registry, or for all that match a pattern.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Credential {
    /// `host[:port]` in any case, or a shell glob: `*`, `?`, `[a-c]`, `[^a-c]`.
    pub registry: String,
    /// Further names or patterns of the same registry.
    pub aliases: Vec<String>,
    /// The login.
    pub login: Login,
}

/// A login.
#[derive(Clone, Debug)]
pub enum Login {
    /// Sent as Basic authentication, or exchanged at the registry's token service.
    Password {
        /// The user name.
        username: String,
        /// The password.
        password: SecretString,
    },
    /// Sent unchanged: `Authorization: Bearer`.
    Token(SecretString),
}

impl PartialEq for Login {
    fn eq(&self, other: &Self) -> bool {
        let parts = |login: &Self| match login {
            Self::Password { username, password } => (Some(username.clone()), password.clone()),
            Self::Token(token) => (None, token.clone()),
        };
        let ((username, secret), (other_username, other_secret)) = (parts(self), parts(other));
        username == other_username && secret.expose_secret() == other_secret.expose_secret()
    }
}

impl Eq for Login {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn logins_are_equal_if_every_part_is() {
        let password = |username: &str, password: &str| Login::Password {
            username: username.to_owned(),
            password: password.to_owned().into(),
        };
        assert_eq!(password("me", "pw"), password("me", "pw"));
        for other in [password("you", "pw"), password("me", "other"), Login::Token("pw".to_owned().into())] {
            assert_ne!(password("me", "pw"), other);
        }
        assert_ne!(Login::Token("a".to_owned().into()), Login::Token("b".to_owned().into()));
    }
}
