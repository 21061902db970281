//! An AWS identity, with the tokens and API rates of its registries.

use std::{sync::Arc, time::Duration};

use super::{
    api_rates::EcrApiRates,
    call::AwsError,
    public::PublicLogin,
    session::{AwsSession, CallerIdentity},
    token::EcrLogin,
};
use crate::{model::EcrRegistry, registry::shared_cache::SharedCache};

/// When this many registries are known, unused ones are removed: image references can name any number.
const MAX_REGISTRIES: usize = 1024;

/// Access to AWS as one identity. Nothing is loaded or requested before it is needed. A clone is cheap and shares
/// credentials and tokens.
#[derive(Clone)]
pub struct Aws {
    session: AwsSession,
    shared: Arc<Shared>,
}

/// What all identities share.
struct Shared {
    logins: SharedCache<LoginKey, EcrLogin>,
    /// By account and region.
    api_rates: SharedCache<(String, String), EcrApiRates>,
    public: Arc<PublicLogin>,
}

/// A registry, and the role that is assumed for it.
type LoginKey = (EcrRegistry, Option<String>);

impl Aws {
    /// The identity of AWS's default credential chain: environment, profile, IRSA, EKS Pod Identity, instance metadata.
    /// `timeout` bounds each attempt of a call.
    pub fn new(timeout: Option<Duration>) -> Self {
        let shared = Shared {
            logins: SharedCache::new(MAX_REGISTRIES),
            api_rates: SharedCache::new(MAX_REGISTRIES),
            public: Arc::default(),
        };
        Self { session: AwsSession::new(timeout), shared: Arc::new(shared) }
    }

    /// The identity of a role that this identity assumes. One session per role, however often it is requested.
    #[must_use]
    pub fn with_role(&self, arn: &str) -> Self {
        Self { session: self.session.with_role(arn), shared: Arc::clone(&self.shared) }
    }

    /// The identity that a region reports.
    ///
    /// # Errors
    /// When there are no credentials, the role can't be assumed, or AWS can't be reached.
    pub async fn caller_identity(&self, region: &str) -> Result<CallerIdentity, AwsError> {
        self.session.caller_identity(region).await
    }

    /// The role that is assumed, if any.
    pub fn role(&self) -> Option<&str> {
        self.session.role()
    }

    pub(in crate::registry) fn session(&self) -> &AwsSession {
        &self.session
    }

    /// The login of a registry; the same one for the same registry and role.
    pub(in crate::registry) fn login(&self, registry: &EcrRegistry) -> Arc<EcrLogin> {
        self.shared.logins.get(&(registry.clone(), self.role().map(str::to_owned)), EcrLogin::default)
    }

    pub(in crate::registry) fn public_login(&self) -> Arc<PublicLogin> {
        Arc::clone(&self.shared.public)
    }

    /// The API rates of an account and region, shared by all identities.
    pub(in crate::registry) fn api_rates(&self, registry: &EcrRegistry) -> Arc<EcrApiRates> {
        self.shared.api_rates.get(&(registry.account.clone(), registry.region.clone()), EcrApiRates::default)
    }
}
