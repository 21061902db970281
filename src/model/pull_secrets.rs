//! Whose pull secrets open an image.

use std::collections::BTreeSet;

use futures::future::BoxFuture;

use super::{Login, Reference};

/// The namespaces whose pull secrets are used.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum PullSecretScope {
    /// None.
    #[default]
    Off,
    /// All.
    All,
    /// These.
    Namespaces(BTreeSet<String>),
}

impl PullSecretScope {
    /// Whether the pull secrets of this namespace are used.
    pub fn covers(&self, namespace: &str) -> bool {
        match self {
            Self::Off => false,
            Self::All => true,
            Self::Namespaces(names) => names.contains(namespace),
        }
    }

    /// Whether no namespace's are.
    pub fn is_off(&self) -> bool {
        match self {
            Self::Off => true,
            Self::All => false,
            Self::Namespaces(names) => names.is_empty(),
        }
    }
}

/// The pull secrets that a Pod or a Pod template names.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PullSecretRefs {
    /// The namespace of all of them.
    pub namespace: String,
    /// The ServiceAccount that a template names, if it names no secret itself: its secrets count. None for a Pod, which has
    /// got them already.
    pub service_account: Option<String>,
    /// The names of the secrets, in order.
    pub secrets: Vec<String>,
}

/// What the pull secrets of one Pod or template have for an image.
#[derive(Clone, Debug, Default)]
pub struct PullLogins {
    /// In the order in which they are tried.
    pub logins: Vec<PullLogin>,
    /// Why some could not be used, one line each.
    pub problems: Vec<String>,
    /// Whether a further attempt may find more, as after an outage of the API server.
    pub is_incomplete: bool,
}

/// A login from a pull secret.
#[derive(Clone, Debug)]
pub struct PullLogin {
    /// The secret's namespace.
    pub namespace: String,
    /// The secret's name.
    pub secret: String,
    /// The login.
    pub login: Login,
}

/// Finds the logins in pull secrets.
pub trait PullSecrets: Send + Sync {
    /// The logins for an image, read at this moment. Takes a bounded time.
    fn logins<'a>(&'a self, refs: &'a PullSecretRefs, image: &'a Reference) -> BoxFuture<'a, PullLogins>;
}
