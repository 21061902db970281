//! Tokens for private registries.

use std::{
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use aws_smithy_types::DateTime;
use base64::{Engine, prelude::BASE64_STANDARD};
use http::HeaderValue;

use super::{
    Aws, AwsError,
    call::Call,
    remembered::{Lived, Remembered},
};
use crate::{
    model::{EcrRegistry, Retry},
    registry::auth::sensitive,
};

/// A token of a registry, as the value of `Authorization`; marked as sensitive.
pub(in crate::registry) type EcrToken = Lived<HeaderValue>;

/// Who we are at one private registry.
#[derive(Default)]
pub(in crate::registry) struct EcrLogin {
    token: Remembered<HeaderValue>,
}

impl EcrLogin {
    /// A token for the registry that this is the login of.
    pub async fn token(&self, aws: &Aws, registry: &EcrRegistry) -> Result<Arc<EcrToken>, AwsError> {
        self.token.get(|| fetch(aws.clone(), registry.clone())).await
    }

    /// Drops a token that was not accepted. Whether another one can be had now.
    pub fn forget(&self, refused: &Arc<EcrToken>) -> bool {
        self.token.forget(Instant::now(), refused)
    }
}

/// How long there is until then; nothing where that is past, or unknown.
pub(super) fn life(ends: Option<DateTime>) -> Duration {
    let ends = ends.and_then(|ends| SystemTime::try_from(ends).ok());
    ends.and_then(|ends| ends.duration_since(SystemTime::now()).ok()).unwrap_or_default()
}

async fn fetch(aws: Aws, registry: EcrRegistry) -> Result<EcrToken, AwsError> {
    let begun = Instant::now();
    let operation = format!("asking for a token for the registry {registry}");
    let request = aws.ecr(&registry).await.get_authorization_token();
    // Without it the token is one for the caller's own account. It may be used elsewhere all the same, says AWS; what
    // it says of the account is true only with it.
    #[expect(deprecated, reason = "an account is named in every call, so that nothing happens in another one")]
    let request = request.registry_ids(&registry.account);
    let answer = match request.send().await {
        Ok(answer) => answer,
        Err(error) => {
            let action = "ecr:GetAuthorizationToken";
            return Err(Call { operation, action, region: &registry.region, role: aws.role() }.failed(error));
        }
    };
    let given = answer.authorization_data.unwrap_or_default().into_iter().next();
    let ends = given.as_ref().and_then(|given| given.expires_at);
    let token = given.and_then(|given| given.authorization_token).unwrap_or_default();
    let is_login = BASE64_STANDARD.decode(&token).is_ok_and(|login| login.contains(&b':'));
    if !is_login {
        let problem = "the answer has no token in it".to_owned();
        return Err(AwsError::new(operation, problem, Retry::Soon));
    }
    let header = sensitive(&format!("Basic {token}"))
        .map_err(|fault| AwsError::new(operation, fault.to_string(), Retry::Later))?;
    Ok(Lived::new(header, begun, life(ends)))
}
