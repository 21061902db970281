//! Tokens for private registries.

use std::{
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use aws_smithy_types::DateTime;
use base64::{Engine, prelude::BASE64_STANDARD};
use http::HeaderValue;

use super::{
    call::{AwsError, Call},
    session::AwsSession,
};
use crate::{
    model::{EcrRegistry, Retry},
    registry::auth::{
        cache::{Expiring, FetchError, FetchLimits, RefreshingCache},
        header::sensitive,
    },
};

/// After a failure AWS is not called for this long; callers get the failure meanwhile. After a rejected token, the next
/// rejected one is kept this long.
pub(super) const FETCH_LIMITS: FetchLimits =
    FetchLimits { failure_cooldown: Duration::from_secs(5), invalidation_cooldown: Duration::from_secs(2) };

/// A token, as the value of `Authorization`; marked as sensitive.
pub(in crate::registry) type EcrToken = Expiring<HeaderValue>;

/// The token of one private registry.
pub(in crate::registry) struct EcrLogin {
    token: RefreshingCache<HeaderValue, AwsError>,
}

impl Default for EcrLogin {
    fn default() -> Self {
        Self { token: RefreshingCache::new(FETCH_LIMITS) }
    }
}

impl FetchError for AwsError {
    fn aborted(reason: String) -> Self {
        Self::new("calling AWS".to_owned(), reason, Retry::Soon)
    }
}

impl EcrLogin {
    /// A token for `registry`, which must be the one of this login.
    pub async fn token(&self, aws: &AwsSession, registry: &EcrRegistry) -> Result<Arc<EcrToken>, AwsError> {
        self.token.get(|| fetch(aws.clone(), registry.clone())).await
    }

    /// Drops a token that was rejected. Whether another one may be fetched now.
    pub fn invalidate(&self, rejected: &Arc<EcrToken>) -> bool {
        self.token.invalidate(Instant::now(), rejected)
    }
}

/// The time until then; zero if that is past, or unknown.
pub(super) fn time_until(expiry: Option<DateTime>) -> Duration {
    let expiry = expiry.and_then(|expiry| SystemTime::try_from(expiry).ok());
    expiry.and_then(|expiry| expiry.duration_since(SystemTime::now()).ok()).unwrap_or_default()
}

async fn fetch(aws: AwsSession, registry: EcrRegistry) -> Result<EcrToken, AwsError> {
    let requested_at = Instant::now();
    let operation = format!("requesting a token for the registry {registry}");
    let request = aws.ecr(&registry).await.get_authorization_token();
    #[expect(deprecated, reason = "without it AWS uses the account of the caller")]
    let request = request.registry_ids(&registry.account);
    let response = match request.send().await {
        Ok(response) => response,
        Err(error) => {
            let action = "ecr:GetAuthorizationToken";
            return Err(Call { operation, action, region: &registry.region, role: aws.role() }.into_error(error));
        }
    };
    let data = response.authorization_data.unwrap_or_default().into_iter().next();
    let expiry = data.as_ref().and_then(|data| data.expires_at);
    let token = data.and_then(|data| data.authorization_token).unwrap_or_default();
    let is_login = BASE64_STANDARD.decode(&token).is_ok_and(|login| login.contains(&b':'));
    if !is_login {
        let problem = "the response contains no token".to_owned();
        return Err(AwsError::new(operation, problem, Retry::Soon));
    }
    let header = sensitive(&format!("Basic {token}"))
        .map_err(|fault| AwsError::new(operation, fault.to_string(), Retry::Later))?;
    Ok(Expiring::renewed_early(header, requested_at, time_until(expiry)))
}
