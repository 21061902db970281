//! As whom a registry is accessed.

use std::{fmt, path::Path, sync::Arc};

/// As whom a registry is accessed; without secrets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Account {
    /// Nobody: no credentials are configured.
    Anonymous,
    /// A user name with a password.
    User(String),
    /// A token, which hides its owner.
    Token,
    /// A login of `docker login` or `podman login`.
    Stored {
        /// None: a token, which hides its owner.
        user: Option<String>,
        /// The file that has it.
        file: Arc<Path>,
    },
    /// A login of a credential helper of Docker.
    Helper {
        /// None: a token, or the helper has not been asked yet.
        user: Option<String>,
        /// The helper's name.
        program: String,
    },
    /// An identity in Google Cloud.
    Google,
    /// An identity in Azure.
    Azure,
    /// A login that has not been asked for yet, and may not exist.
    IfThere(Box<Self>),
    /// Nobody, since the login can't be had: why.
    Without(String),
    /// An identity of AWS.
    Aws,
}

impl Account {
    /// Whether nobody is logged in.
    pub fn is_anonymous(&self) -> bool {
        matches!(self, Self::Anonymous | Self::Without(_))
    }
}

impl fmt::Display for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Anonymous => f.write_str("anonymous"),
            Self::User(name) => write!(f, "user {name}"),
            Self::Token => f.write_str("the configured token"),
            Self::Aws => f.write_str("the AWS identity"),
            Self::Stored { user: Some(user), file } => write!(f, "user {user} (of {})", file.display()),
            Self::Stored { user: None, file } => write!(f, "the token of {}", file.display()),
            Self::Helper { user: Some(user), program } => write!(f, "user {user} (of {program})"),
            Self::Helper { user: None, program } => write!(f, "the login of {program}"),
            Self::Google => f.write_str("the Google identity"),
            Self::Azure => f.write_str("the Azure identity"),
            Self::IfThere(account) => write!(f, "{account}, or anonymous without one"),
            Self::Without(reason) => write!(f, "anonymous ({reason})"),
        }
    }
}
