//! As whom a registry is accessed.

use std::fmt;

/// As whom a registry is accessed; without secrets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Account {
    /// Nobody: no credentials are configured.
    Anonymous,
    /// A user name with a password.
    User(String),
    /// A token, which hides its owner.
    Token,
    /// An identity of AWS.
    Aws,
    /// An identity of AWS, if there is one.
    AwsOrAnonymous,
}

impl fmt::Display for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Anonymous => f.write_str("anonymous"),
            Self::User(name) => write!(f, "user {name}"),
            Self::Token => f.write_str("the configured token"),
            Self::Aws => f.write_str("the AWS identity"),
            Self::AwsOrAnonymous => f.write_str("the AWS identity, or anonymous without one"),
        }
    }
}
