//! What is known of the bearer of a token.

/// What the API server says of the bearer of a token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TokenVerdict {
    /// The bearer may.
    Allowed,
    /// It is no valid token.
    Invalid,
    /// This user may not.
    Denied {
        /// Such as `system:serviceaccount:ops:alice`.
        user: String,
    },
    /// The API server can't be asked, for this reason. For the log: it may name addresses.
    Unknown(String),
}
