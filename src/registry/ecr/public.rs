//! Tokens for `public.ecr.aws`: with AWS credentials, if there are any, since those allow more pulls; else anonymous.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use base64::{Engine as _, prelude::BASE64_STANDARD};

use super::{
    call::{AwsError, Call, has_no_credentials},
    session::AwsSession,
    token::{FETCH_LIMITS, time_until},
};
use crate::{
    model::Login,
    registry::auth::cache::{Expiring, RefreshingCache},
};

/// The public registry's host.
pub(in crate::registry) const PUBLIC_HOST: &str = "public.ecr.aws";

/// The only region that issues its tokens.
const REGION: &str = "us-east-1";

/// How long to pull anonymously before trying credentials again.
const ANONYMOUS_PERIOD: Duration = Duration::from_secs(60 * 60);

/// The login at the public registry.
pub(in crate::registry) struct PublicLogin {
    /// None: anonymous.
    login: RefreshingCache<Option<Arc<Login>>, AwsError>,
}

impl Default for PublicLogin {
    fn default() -> Self {
        Self { login: RefreshingCache::new(FETCH_LIMITS) }
    }
}

impl PublicLogin {
    /// The credentials for its token service; None: anonymous.
    pub async fn get(&self, aws: &AwsSession) -> Result<Option<Arc<Login>>, AwsError> {
        let login = self.login.get(|| fetch(aws.clone())).await?;
        Ok(login.value.clone())
    }
}

async fn fetch(aws: AwsSession) -> Result<Expiring<Option<Arc<Login>>>, AwsError> {
    let requested_at = Instant::now();
    let anonymous = Expiring::renewed_early(None, requested_at, ANONYMOUS_PERIOD);
    let response = match aws.ecr_public(REGION).await.get_authorization_token().send().await {
        Ok(response) => response,
        Err(error) if has_no_credentials(&error) => {
            tracing::debug!("no AWS credentials: pulling from {PUBLIC_HOST} anonymously");
            return Ok(anonymous);
        }
        Err(error) => {
            let operation = format!("requesting a token for {PUBLIC_HOST}");
            let action = "ecr-public:GetAuthorizationToken (with sts:GetServiceBearerToken)";
            let error = Call { operation, action, region: REGION, role: aws.role() }.into_error(error);
            tracing::warn!(%error, "pulling from {PUBLIC_HOST} anonymously, with a lower rate limit");
            return Ok(anonymous);
        }
    };
    let data = response.authorization_data;
    let expiry = data.as_ref().and_then(|data| data.expires_at);
    let token = data.and_then(|data| data.authorization_token).filter(|token| !token.is_empty());
    Ok(Expiring::renewed_early(token.and_then(|token| login(&token)), requested_at, time_until(expiry)))
}

/// The login in a token: `USER:PASSWORD` in base64.
fn login(token: &str) -> Option<Arc<Login>> {
    let pair = String::from_utf8(BASE64_STANDARD.decode(token).ok()?).ok()?;
    let (username, password) = pair.split_once(':')?;
    Some(Arc::new(Login::Password { username: username.to_owned(), password: password.to_owned().into() }))
}
