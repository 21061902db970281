//! AWS credentials: the default chain, and roles that are assumed with it.

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

use super::call::{AwsError, Call};
use crate::model::EcrRegistry;

/// The name of assumed roles' sessions in CloudTrail.
const SESSION_NAME: &str = env!("CARGO_PKG_NAME");

/// The attempts of a call, including the first.
const ATTEMPTS: u32 = 5;

/// The credentials of one identity. Nothing is loaded before it is needed. A clone is cheap and shares credentials.
#[derive(Clone)]
pub(in crate::registry) struct AwsSession {
    shared: Arc<Shared>,
    role: Option<Arc<Role>>,
}

/// What all identities share.
struct Shared {
    timeout: Option<Duration>,
    base: OnceCell<SdkConfig>,
    roles: Mutex<HashMap<String, Arc<Role>>>,
}

struct Role {
    arn: String,
    session: OnceCell<SdkConfig>,
}

/// An identity as AWS reports it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CallerIdentity {
    /// The account ID, 12 digits.
    pub account: String,
    /// The ARN of the user or assumed role.
    pub arn: String,
}

impl AwsSession {
    pub fn new(timeout: Option<Duration>) -> Self {
        let shared = Shared { timeout, base: OnceCell::new(), roles: Mutex::default() };
        Self { shared: Arc::new(shared), role: None }
    }

    pub fn with_role(&self, arn: &str) -> Self {
        let mut roles = self.shared.roles.lock().unwrap_or_else(PoisonError::into_inner);
        let role = roles.entry(arn.to_owned());
        let role = role.or_insert_with(|| Arc::new(Role { arn: arn.to_owned(), session: OnceCell::new() }));
        Self { shared: Arc::clone(&self.shared), role: Some(Arc::clone(role)) }
    }

    pub async fn caller_identity(&self, region: &str) -> Result<CallerIdentity, AwsError> {
        let client = aws_sdk_sts::Client::new(&self.config(region).await);
        let response = client.get_caller_identity().send().await;
        let response = response.map_err(|error| {
            let operation = "reading the AWS identity".to_owned();
            Call { operation, action: "sts:GetCallerIdentity", region, role: self.role() }.into_error(error)
        })?;
        Ok(CallerIdentity { account: response.account.unwrap_or_default(), arn: response.arn.unwrap_or_default() })
    }

    pub fn role(&self) -> Option<&str> {
        self.role.as_deref().map(|role| role.arn.as_str())
    }

    pub async fn ecr(&self, registry: &EcrRegistry) -> aws_sdk_ecr::Client {
        let config = self.config(&registry.region).await;
        let mut config = aws_sdk_ecr::config::Builder::from(&config);
        if registry.fips {
            config.set_use_fips(Some(true));
        }
        if registry.dual_stack {
            config.set_use_dual_stack(Some(true));
        }
        aws_sdk_ecr::Client::from_conf(config.build())
    }

    pub async fn ecr_public(&self, region: &str) -> aws_sdk_ecrpublic::Client {
        aws_sdk_ecrpublic::Client::new(&self.config(region).await)
    }

    /// The configuration of every client in a region.
    async fn config(&self, region: &str) -> SdkConfig {
        let base = self.shared.base.get_or_init(|| load(region.to_owned(), self.shared.timeout)).await;
        let session = match &self.role {
            None => base,
            Some(role) => role.session.get_or_init(|| assume(base, &role.arn, region)).await,
        };
        session.to_builder().region(Region::new(region.to_owned())).build()
    }
}

async fn load(region: String, timeout: Option<Duration>) -> SdkConfig {
    // The region for credentials is the one this runs in; each client sets its own.
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

/// Settings of single services. An empty one (`AWS_ENDPOINT_URL=`), over which the SDK panics, counts as missing.
#[derive(Debug)]
struct WithoutBlanks(SdkConfig);

impl LoadServiceConfig for WithoutBlanks {
    fn load_config(&self, key: ServiceConfigKey<'_>) -> Option<String> {
        self.0.service_config()?.load_config(key).filter(|value| !value.is_empty())
    }
}

/// The SDK's default client ignores proxies.
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
        .session_name(SESSION_NAME)
        .region(Region::new(region.to_owned()))
        .configure(base)
        .build()
        .await;
    base.to_builder()
        .credentials_provider(SharedCredentialsProvider::new(provider))
        .identity_cache(IdentityCache::lazy().build())
        .build()
}
