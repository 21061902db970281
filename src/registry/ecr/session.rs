//! The way to AWS: credentials from its usual chain, a role on top where one is set, one HTTP client.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use aws_config::{
    BehaviorVersion, Region, SdkConfig, environment::EnvironmentVariableRegionProvider, identity::IdentityCache,
    meta::region::RegionProviderChain, profile::ProfileFileRegionProvider, retry::RetryConfig, sts::AssumeRoleProvider,
    timeout::TimeoutConfig,
};
use aws_credential_types::provider::SharedCredentialsProvider;
use aws_smithy_http_client::{
    Builder, Connector,
    proxy::ProxyConfig,
    tls::{Provider, rustls_provider::CryptoMode},
};
use aws_types::service_config::{LoadServiceConfig, ServiceConfigKey};
use tokio::sync::OnceCell;

use super::{AwsError, Budgets, EcrLogin, PublicLogin, call::Call};
use crate::{model::EcrRegistry, registry::shared_cache::Shared as Remembering};

/// How assumed roles' sessions are called in the account's audit log.
const SESSION: &str = env!("CARGO_PKG_NAME");

/// So many registries are remembered before those are forgotten that nobody speaks to: an image's name can name any.
const MOST_REGISTRIES: usize = 1024;

/// Tries of a call, the first included.
const ATTEMPTS: u32 = 5;

/// The way to AWS as one identity. Nothing is loaded or asked before something is needed. A clone is cheap, and shares
/// credentials and tokens.
#[derive(Clone)]
pub struct Aws {
    shared: Arc<Shared>,
    role: Option<Arc<Role>>,
}

/// What all identities share.
struct Shared {
    timeout: Option<Duration>,
    base: OnceCell<SdkConfig>,
    roles: Mutex<HashMap<String, Arc<Role>>>,
    logins: Remembering<LoginKey, EcrLogin>,
    budgets: Remembering<(String, String), Budgets>,
    public: Arc<PublicLogin>,
}

/// A registry, and the role that is assumed for it.
type LoginKey = (EcrRegistry, Option<String>);

struct Role {
    arn: String,
    session: OnceCell<SdkConfig>,
}

/// Who AWS says that we are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    /// Twelve digits.
    pub account: String,
    /// The user's or the assumed role's.
    pub arn: String,
}

impl Aws {
    /// As whom AWS's default chain says: environment, profile, IRSA, EKS Pod Identity, instance metadata. `timeout`
    /// bounds each try of a call.
    pub fn new(timeout: Option<Duration>) -> Self {
        let shared = Shared {
            timeout,
            base: OnceCell::new(),
            roles: Mutex::default(),
            logins: Remembering::new(MOST_REGISTRIES),
            budgets: Remembering::new(MOST_REGISTRIES),
            public: Arc::default(),
        };
        Self { shared: Arc::new(shared), role: None }
    }

    /// As a role that this identity assumes, in one session however often it is named.
    #[must_use]
    pub fn assuming(&self, arn: &str) -> Self {
        let mut roles = self.shared.roles.lock().unwrap_or_else(PoisonError::into_inner);
        let role = roles.entry(arn.to_owned());
        let role = role.or_insert_with(|| Arc::new(Role { arn: arn.to_owned(), session: OnceCell::new() }));
        Self { shared: Arc::clone(&self.shared), role: Some(Arc::clone(role)) }
    }

    /// Who this identity is, as seen in that region.
    ///
    /// # Errors
    /// When there are no credentials, the role can't be assumed, or AWS can't be asked.
    pub async fn caller(&self, region: &str) -> Result<Caller, AwsError> {
        let client = aws_sdk_sts::Client::new(&self.session(region).await);
        let answer = client.get_caller_identity().send().await;
        let answer = answer.map_err(|error| {
            let operation = "asking AWS who this is".to_owned();
            Call { operation, action: "sts:GetCallerIdentity", region, role: self.role() }.failed(error)
        })?;
        Ok(Caller { account: answer.account.unwrap_or_default(), arn: answer.arn.unwrap_or_default() })
    }

    /// The role that is assumed, if one is.
    pub fn role(&self) -> Option<&str> {
        self.role.as_deref().map(|role| role.arn.as_str())
    }

    /// The login of a registry; always the same one for the same registry and role.
    pub(in crate::registry) fn login(&self, registry: &EcrRegistry) -> Arc<EcrLogin> {
        self.shared.logins.get(&(registry.clone(), self.role().map(str::to_owned)), EcrLogin::default)
    }

    /// The login of the public registry.
    pub(in crate::registry) fn public_login(&self) -> Arc<PublicLogin> {
        Arc::clone(&self.shared.public)
    }

    /// What may be asked of the registry of an account and region, whoever asks.
    pub(in crate::registry) fn budgets(&self, registry: &EcrRegistry) -> Arc<Budgets> {
        self.shared.budgets.get(&(registry.account.clone(), registry.region.clone()), Budgets::default)
    }

    pub(super) async fn ecr(&self, registry: &EcrRegistry) -> aws_sdk_ecr::Client {
        let session = self.session(&registry.region).await;
        let mut config = aws_sdk_ecr::config::Builder::from(&session);
        if registry.fips {
            config.set_use_fips(Some(true));
        }
        if registry.dual_stack {
            config.set_use_dual_stack(Some(true));
        }
        aws_sdk_ecr::Client::from_conf(config.build())
    }

    pub(super) async fn ecr_public(&self, region: &str) -> aws_sdk_ecrpublic::Client {
        aws_sdk_ecrpublic::Client::new(&self.session(region).await)
    }

    /// What every client is made from, in that region.
    async fn session(&self, region: &str) -> SdkConfig {
        let base = self.shared.base.get_or_init(|| load(region.to_owned(), self.shared.timeout)).await;
        let session = match &self.role {
            None => base,
            Some(role) => role.session.get_or_init(|| assume(base, &role.arn, region)).await,
        };
        session.to_builder().region(Region::new(region.to_owned())).build()
    }
}

async fn load(region: String, timeout: Option<Duration>) -> SdkConfig {
    // Credentials are asked for where this runs; each client is told its own region.
    let regions = RegionProviderChain::first_try(EnvironmentVariableRegionProvider::new())
        .or_else(ProfileFileRegionProvider::new())
        .or_else(Region::new(region));
    let mut timeouts = TimeoutConfig::builder();
    timeouts.set_operation_attempt_timeout(timeout);
    let loaded = aws_config::defaults(BehaviorVersion::v2026_01_12())
        .region(regions)
        .http_client(http_client())
        .retry_config(RetryConfig::standard().with_max_attempts(ATTEMPTS))
        .timeout_config(timeouts.build())
        .load()
        .await;
    loaded.to_builder().service_config(WithoutBlanks(loaded)).build()
}

/// Settings of single services, of which an empty one (`AWS_ENDPOINT_URL=`) counts as missing: the SDK panics over it.
#[derive(Debug)]
struct WithoutBlanks(SdkConfig);

impl LoadServiceConfig for WithoutBlanks {
    fn load_config(&self, key: ServiceConfigKey<'_>) -> Option<String> {
        self.0.service_config()?.load_config(key).filter(|value| !value.is_empty())
    }
}

/// The SDK's own client knows no proxies, though the registries' does.
fn http_client() -> aws_smithy_runtime_api::client::http::SharedHttpClient {
    Builder::new().build_with_connector_fn(|settings, components| {
        let mut connector = Connector::builder()
            .tls_provider(Provider::Rustls(CryptoMode::AwsLc))
            .proxy_config(ProxyConfig::from_env());
        connector.set_connector_settings(settings.cloned());
        connector.set_sleep_impl(components.and_then(|components| components.sleep_impl()));
        connector.build()
    })
}

async fn assume(base: &SdkConfig, role: &str, region: &str) -> SdkConfig {
    let provider = AssumeRoleProvider::builder(role)
        .session_name(SESSION)
        .region(Region::new(region.to_owned()))
        .configure(base)
        .build()
        .await;
    base.to_builder()
        .credentials_provider(SharedCredentialsProvider::new(provider))
        .identity_cache(IdentityCache::lazy().build())
        .build()
}
