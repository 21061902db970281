//! The identity in Azure, and its logins at Azure's registries: a token of Microsoft Entra ID is exchanged at the registry
//! for an identity token.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use secrecy::{ExposeSecret as _, SecretString};
use serde::Deserialize;
use url::form_urlencoded;

use super::{
    environment::CloudEnvironment,
    jwt::Claims,
    metadata::{ADDRESS, Answer, MetadataClient},
    requests::{AccessToken, post_form, read_text, refusal},
};
use crate::{
    model::Login,
    registry::{
        auth::{
            cache::{Expiring, FetchLimits, RefreshingCache},
            obtained_login::{LoginError, NewLogin, Obtained, ObtainedLogin},
        },
        http::transport::Transport,
    },
};

/// For all requests of one login together.
const DEADLINE: Duration = Duration::from_secs(30);

/// What the tokens are for: the registries of all of Azure's clouds.
const RESOURCE: &str = "https://containerregistry.azure.net";

/// Microsoft Entra ID, by the suffix of the registry. The webhook of workload identity names it in a variable.
const AUTHORITIES: [(&str, &str); 3] = [
    (".azurecr.cn", "https://login.chinacloudapi.cn"),
    (".azurecr.us", "https://login.microsoftonline.us"),
    ("", PUBLIC_AUTHORITY),
];

/// Of the public cloud, to which an identity belongs unless `AZURE_AUTHORITY_HOST` says otherwise.
const PUBLIC_AUTHORITY: &str = "https://login.microsoftonline.com";

/// The user name of an identity token.
const IDENTITY_TOKEN: &str = "<token>";

/// Of a registry's identity token that does not tell its own: they live for three hours.
const DEFAULT_LIFETIME: Duration = Duration::from_secs(60 * 60);

/// The registries of one identity remember failures themselves.
const FETCH_LIMITS: FetchLimits = FetchLimits { failure_cooldown: Duration::from_secs(5), ..FetchLimits::NONE };

/// How long to do without an identity before looking for one again.
const ABSENT_PERIOD: Duration = Duration::from_secs(3 * 60);

/// The identity, with its token of Microsoft Entra ID.
pub(in crate::registry) struct AzureIdentity {
    environment: Arc<CloudEnvironment>,
    metadata: Arc<MetadataClient>,
    token: RefreshingCache<Option<EntraToken>, LoginError>,
}

struct EntraToken {
    token: SecretString,
    tenant: Option<String>,
}

/// The identity's login at one registry.
pub(in crate::registry) struct AzureLogin {
    identity: Arc<AzureIdentity>,
    /// Without a port.
    registry: String,
    login: ObtainedLogin,
}

impl AzureIdentity {
    pub(super) fn new(environment: Arc<CloudEnvironment>) -> Self {
        Self { environment, metadata: Arc::default(), token: RefreshingCache::new(FETCH_LIMITS) }
    }

    /// A valid token; None: there is no identity.
    async fn token(
        &self,
        transport: &Arc<Transport>,
        registry: &str,
    ) -> Result<Arc<Expiring<Option<EntraToken>>>, LoginError> {
        let fetch = || {
            let (environment, metadata) = (Arc::clone(&self.environment), Arc::clone(&self.metadata));
            let (transport, registry) = (Arc::clone(transport), registry.to_owned());
            async move {
                let requested_at = Instant::now();
                let found = entra_token(&environment, &metadata, &transport, &registry).await?;
                let Some(AccessToken { access_token, expires_in }) = found else {
                    return Ok(Expiring::until(None, requested_at, requested_at + ABSENT_PERIOD));
                };
                let tenant = environment.azure_tenant.clone().or_else(|| Claims::of(&access_token).tid);
                let token = EntraToken { token: access_token.into(), tenant };
                Ok(Expiring::renewed_early(Some(token), requested_at, Duration::from_secs(expires_in)))
            }
        };
        self.token.get(fetch).await
    }
}

impl AzureLogin {
    pub(super) fn new(identity: Arc<AzureIdentity>, registry: String) -> Self {
        Self { identity, registry, login: ObtainedLogin::default() }
    }

    /// A login with a valid token.
    pub(in crate::registry) async fn get(&self, transport: &Arc<Transport>) -> Result<Arc<Obtained>, LoginError> {
        let obtain = || {
            let (identity, registry) = (Arc::clone(&self.identity), self.registry.clone());
            let transport = Arc::clone(transport);
            async move {
                let login = tokio::time::timeout(DEADLINE, obtain(&identity, &transport, &registry)).await;
                login.unwrap_or_else(|_| {
                    Err(LoginError {
                        operation: format!("requesting a token of the Azure identity for {registry}"),
                        problem: format!("no answer within {} s", DEADLINE.as_secs()),
                        remedy: "check the network".to_owned(),
                    })
                })
            }
        };
        self.login.get("the Azure identity", &self.registry, obtain).await
    }

    /// Drops a login that was rejected. Whether another one may be requested now.
    pub(in crate::registry) fn invalidate(&self, rejected: &Arc<Obtained>) -> bool {
        self.login.invalidate(rejected)
    }
}

/// The login at a registry, by an exchange of the identity's token.
async fn obtain(
    identity: &AzureIdentity,
    transport: &Arc<Transport>,
    registry: &str,
) -> Result<Option<NewLogin>, LoginError> {
    let begun = Instant::now();
    loop {
        let token = identity.token(transport, registry).await?;
        let Some(entra_token) = &token.value else { return Ok(None) };
        match exchange(entra_token, transport, registry).await {
            Ok(login) => return Ok(Some(login)),
            Err(error) => {
                identity.token.invalidate(Instant::now(), &token);
                // One that was kept may have been revoked since.
                if token.requested_at >= begun {
                    return Err(error);
                }
            }
        }
    }
}

async fn exchange(
    EntraToken { token, tenant }: &EntraToken,
    transport: &Transport,
    registry: &str,
) -> Result<NewLogin, LoginError> {
    #[derive(Deserialize)]
    struct Exchanged {
        refresh_token: String,
    }
    let tenant = tenant.as_deref().map(|tenant| ("tenant", tenant));
    let form = [("grant_type", "access_token"), ("service", registry), ("access_token", token.expose_secret())];
    let form: Vec<_> = form.into_iter().chain(tenant).collect();
    let url = format!("https://{registry}/oauth2/exchange");
    let exchanged = post_form(transport, &url, &form).await;
    let Exchanged { refresh_token } = exchanged.map_err(|problem| LoginError {
        operation: format!("exchanging the token of the Azure identity at {url}"),
        problem,
        remedy: "give the identity the role AcrPull at the registry (to push: AcrPush), or set registryCredentials"
            .to_owned(),
    })?;
    let lifetime = Claims::of(&refresh_token).lifetime().unwrap_or(DEFAULT_LIFETIME);
    let login = Login::Password { username: IDENTITY_TOKEN.to_owned(), password: refresh_token.into() };
    Ok(NewLogin { login, lifetime })
}

/// A token of Microsoft Entra ID: for the secret of an application, for the Pod's token (workload identity), else that
/// of the machine. None: there is no identity.
async fn entra_token(
    environment: &CloudEnvironment,
    metadata: &MetadataClient,
    transport: &Transport,
    registry: &str,
) -> Result<Option<AccessToken>, LoginError> {
    let scope = format!("{RESOURCE}/.default");
    let common = [("grant_type", "client_credentials"), ("scope", scope.as_str())];
    let incomplete = |variable: &str| LoginError {
        operation: "requesting a token of Microsoft Entra ID".to_owned(),
        problem: format!("{variable} is set without AZURE_TENANT_ID and AZURE_CLIENT_ID"),
        remedy: "set them too; the webhook of Azure's workload identity sets all three in Pods with the label \
                 azure.workload.identity/use"
            .to_owned(),
    };
    let identity = environment.azure_tenant.as_deref().zip(environment.azure_client.as_deref());
    if let Some(secret) = &environment.azure_secret {
        let (tenant, client) = identity.ok_or_else(|| incomplete("AZURE_CLIENT_SECRET"))?;
        let own = [("client_id", client), ("client_secret", secret.expose_secret())];
        let form = [common, own].concat();
        let remedy = "check AZURE_TENANT_ID, AZURE_CLIENT_ID and AZURE_CLIENT_SECRET";
        return of_authority(environment, transport, registry, tenant, &form, remedy).await.map(Some);
    }
    if let Some(file) = &environment.azure_token_file {
        let (tenant, client) = identity.ok_or_else(|| incomplete("AZURE_FEDERATED_TOKEN_FILE"))?;
        let assertion = read_text(file).map_err(|problem| LoginError {
            operation: "reading the Pod's token (AZURE_FEDERATED_TOKEN_FILE)".to_owned(),
            problem,
            remedy: "check that the webhook of Azure's workload identity has changed this Pod".to_owned(),
        })?;
        let own = [
            ("client_id", client),
            ("client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"),
            ("client_assertion", assertion.trim()),
        ];
        let form: Vec<_> = common.into_iter().chain(own).collect();
        let remedy = "add a federated credential for the Pod's ServiceAccount to the identity AZURE_CLIENT_ID";
        return of_authority(environment, transport, registry, tenant, &form, remedy).await.map(Some);
    }
    of_metadata(environment, metadata).await
}

async fn of_authority(
    environment: &CloudEnvironment,
    transport: &Transport,
    registry: &str,
    tenant: &str,
    form: &[(&str, &str)],
    remedy: &str,
) -> Result<AccessToken, LoginError> {
    let usual = AUTHORITIES.into_iter().find(|(suffix, _)| registry.ends_with(suffix)).map(|(_, url)| url);
    let usual = usual.unwrap_or_default();
    let authority = environment.azure_authority.as_deref().unwrap_or(PUBLIC_AUTHORITY).trim_end_matches('/');
    // An image's name must not decide who gets the secret of the identity.
    if environment.azure_authority.is_none() && usual != PUBLIC_AUTHORITY {
        return Err(LoginError {
            operation: format!("requesting a token of Microsoft Entra ID for {registry}"),
            problem: "the registry is of another cloud than the identity's".to_owned(),
            remedy: format!("if the identity is of that cloud set AZURE_AUTHORITY_HOST to {usual}"),
        });
    }
    let token = post_form(transport, &format!("{authority}/{tenant}/oauth2/v2.0/token"), form).await;
    token.map_err(|problem| LoginError {
        operation: format!("requesting a token of Microsoft Entra ID at {authority}"),
        problem,
        remedy: remedy.to_owned(),
    })
}

/// The identity of the machine.
async fn of_metadata(
    environment: &CloudEnvironment,
    metadata: &MetadataClient,
) -> Result<Option<AccessToken>, LoginError> {
    let usual = format!("http://{ADDRESS}");
    let server = environment.azure_metadata.as_deref().unwrap_or(&usual).trim_end_matches('/');
    let failed = |problem: String| LoginError {
        operation: format!("requesting a token of Azure's metadata server at {server}"),
        problem,
        remedy: "give the machine an identity; if it has several, set AZURE_CLIENT_ID; or set registryCredentials"
            .to_owned(),
    };
    let client = environment.azure_client.as_ref().map(|client| ("client_id", client.as_str()));
    let query = [("api-version", "2018-02-01"), ("resource", RESOURCE)].into_iter().chain(client);
    let query = form_urlencoded::Serializer::new(String::new()).extend_pairs(query).finish();
    let url = format!("{server}/metadata/identity/oauth2/token?{query}");
    let headers = HeaderMap::from_iter([(HeaderName::from_static("metadata"), HeaderValue::from_static("true"))]);
    let Some(Answer { status, body, .. }) = metadata.get(&url, headers).await.map_err(failed)? else {
        return Ok(None);
    };
    if status.is_success() {
        // Another cloud's server may answer at this address too.
        return Ok(serde_json::from_slice(&body).ok());
    }
    #[derive(Deserialize)]
    struct Refusal {
        error: String,
        #[serde(default)]
        error_description: String,
    }
    match serde_json::from_slice::<Refusal>(&body) {
        // Other clouds have other servers at the same address.
        Err(_) => Ok(None),
        Ok(Refusal { error, error_description })
            if status == StatusCode::BAD_REQUEST
                && error == "invalid_request"
                && error_description.contains("Identity not found") =>
        {
            Ok(None)
        }
        Ok(_) => Err(failed(refusal(status, &body))),
    }
}
