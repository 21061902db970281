//! Who we are at `public.ecr.aws`: somebody, where there are AWS credentials, since that may pull more; else nobody.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use http::HeaderValue;

use super::{
    Aws, AwsError,
    call::{Call, has_no_credentials},
    login::life,
    remembered::{Lived, Remembered},
};
use crate::registry::auth::sensitive;

/// Where everybody may pull.
pub(in crate::registry) const PUBLIC_HOST: &str = "public.ecr.aws";

/// The only region that gives its tokens.
const REGION: &str = "us-east-1";

/// How long we stay nobody before it is tried again to be somebody.
const ANONYMOUS: Duration = Duration::from_secs(60 * 60);

/// Who we are there.
#[derive(Default)]
pub(in crate::registry) struct PublicLogin {
    login: Remembered<Option<HeaderValue>>,
}

impl PublicLogin {
    /// What its token service wants to see; none where we are nobody.
    pub async fn basic(&self, aws: &Aws) -> Result<Option<HeaderValue>, AwsError> {
        let login: Arc<Lived<Option<HeaderValue>>> = self.login.get(|| fetch(aws.clone())).await?;
        Ok(login.value.clone())
    }
}

async fn fetch(aws: Aws) -> Result<Lived<Option<HeaderValue>>, AwsError> {
    let begun = Instant::now();
    let nobody = Lived::new(None, begun, ANONYMOUS);
    let answer = match aws.ecr_public(REGION).await.get_authorization_token().send().await {
        Ok(answer) => answer,
        Err(error) if has_no_credentials(&error) => {
            tracing::debug!("no AWS credentials: pulling from {PUBLIC_HOST} as anybody may");
            return Ok(nobody);
        }
        Err(error) => {
            let operation = format!("asking for a token for {PUBLIC_HOST}");
            let action = "ecr-public:GetAuthorizationToken (with sts:GetServiceBearerToken)";
            let error = Call { operation, action, region: REGION, role: aws.role() }.failed(error);
            tracing::warn!(%error, "pulling from {PUBLIC_HOST} as anybody may, which is throttled sooner");
            return Ok(nobody);
        }
    };
    let given = answer.authorization_data;
    let ends = given.as_ref().and_then(|given| given.expires_at);
    let token = given.and_then(|given| given.authorization_token).filter(|token| !token.is_empty());
    let header = token.and_then(|token| sensitive(&format!("Basic {token}")).ok());
    Ok(Lived::new(header, begun, life(ends)))
}
