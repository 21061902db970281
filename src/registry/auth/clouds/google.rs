//! The identity in Google Cloud, found where Google's "Application Default Credentials" are: a file, else the metadata
//! server of the machine or of GKE.

use std::{sync::Arc, time::Duration};

use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};

use super::{
    environment::CloudEnvironment,
    google_file,
    metadata::{ADDRESS, Answer, MetadataClient},
    requests::{AccessToken, parse, refusal},
};
use crate::{
    model::Login,
    registry::{
        auth::obtained_login::{LoginError, NewLogin, Obtained, ObtainedLogin},
        http::transport::Transport,
    },
};

/// For all requests of one token together.
const DEADLINE: Duration = Duration::from_secs(30);

/// The user name of an access token at Google's registries.
const USER: &str = "oauth2accesstoken";

/// The header by which metadata server and caller know each other.
const FLAVOR: HeaderName = HeaderName::from_static("metadata-flavor");

/// The identity, with its token, which all of Google's registries accept.
pub(in crate::registry) struct GoogleIdentity {
    environment: Arc<CloudEnvironment>,
    metadata: Arc<MetadataClient>,
    login: ObtainedLogin,
}

impl GoogleIdentity {
    pub(super) fn new(environment: Arc<CloudEnvironment>) -> Self {
        Self { environment, metadata: Arc::default(), login: ObtainedLogin::default() }
    }

    /// A login with a valid token.
    pub(in crate::registry) async fn get(
        &self,
        transport: &Arc<Transport>,
        registry: &str,
    ) -> Result<Arc<Obtained>, LoginError> {
        let obtain = || {
            let (environment, metadata) = (Arc::clone(&self.environment), Arc::clone(&self.metadata));
            let transport = Arc::clone(transport);
            async move {
                let token = token(&environment, &metadata, &transport);
                let token = tokio::time::timeout(DEADLINE, token).await.unwrap_or_else(|_| {
                    Err(LoginError {
                        operation: "requesting a token for the Google identity".to_owned(),
                        problem: format!("no answer within {} s", DEADLINE.as_secs()),
                        remedy: "check the network".to_owned(),
                    })
                });
                Ok(token?.map(|AccessToken { access_token, expires_in }| NewLogin {
                    login: Login::Password { username: USER.to_owned(), password: access_token.into() },
                    lifetime: Duration::from_secs(expires_in),
                }))
            }
        };
        self.login.get("the Google identity", registry, obtain).await
    }

    /// Drops a token that was rejected. Whether another one may be requested now.
    pub(in crate::registry) fn invalidate(&self, rejected: &Arc<Obtained>) -> bool {
        self.login.invalidate(rejected)
    }
}

/// None: there is no identity.
async fn token(
    environment: &CloudEnvironment,
    metadata: &MetadataClient,
    transport: &Transport,
) -> Result<Option<AccessToken>, LoginError> {
    if let Some(file) = &environment.google_credentials {
        return google_file::token(file, transport).await.map(Some);
    }
    if let Some(file) = environment.google_user_credentials.as_ref().filter(|file| file.exists()) {
        return google_file::token(file, transport).await.map(Some);
    }
    let host = environment.google_metadata.as_deref().unwrap_or(ADDRESS);
    let url = format!("http://{host}/computeMetadata/v1/instance/service-accounts/default/token");
    let failed = |problem: String| LoginError {
        operation: format!("requesting a token of Google's metadata server at {host}"),
        problem,
        remedy:
            "bind the Pod's ServiceAccount to a service account (workload identity), or give the machine one, or set \
                 registryCredentials"
                .to_owned(),
    };
    let headers = HeaderMap::from_iter([(FLAVOR, HeaderValue::from_static("Google"))]);
    let Some(Answer { status, headers, body }) = metadata.get(&url, headers).await.map_err(failed)? else {
        return Ok(None);
    };
    // Other clouds have other servers at the same address.
    if headers.get(FLAVOR).is_none_or(|flavor| flavor != "Google") || status == StatusCode::NOT_FOUND {
        return Ok(None);
    }
    if !status.is_success() {
        return Err(failed(refusal(status, &body)));
    }
    parse(&body).map(Some).map_err(failed)
}
