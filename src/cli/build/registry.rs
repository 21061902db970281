//! Access to registries and to AWS.

use std::{sync::Arc, time::Duration};

use crate::{
    cli::env,
    config::{Config, CopyConfig},
    model::Observer,
    registry::{
        Aws, Backoff, CertificateError, CloudEnvironment, CloudIdentities, MinTransferRate, Registries, Settings,
    },
};

/// The longest period over which the transfer rate is measured. It is shorter if `requestTimeout` is.
const RATE_WINDOW: Duration = Duration::from_secs(60);

/// The AWS client. It connects at the first request.
pub fn aws(config: &Config) -> Aws {
    Aws::new(config.copy.request_timeout)
}

/// How to access registries.
pub fn settings(config: &Config, aws: &Aws, observer: Arc<dyn Observer>) -> Settings {
    Settings {
        request_timeout: config.copy.request_timeout,
        min_transfer_rate: min_transfer_rate(&config.copy),
        private_redirects: config.copy.private_redirects.clone(),
        credentials: config.credentials.clone(),
        docker_logins: config.docker_logins.clone(),
        aws: aws.clone(),
        clouds: CloudIdentities::new(CloudEnvironment::read(&env::variable)),
        observer,
        insecure: config.copy.insecure_registries.clone(),
        backoff: backoff(config),
    }
}

fn min_transfer_rate(copy: &CopyConfig) -> Option<MinTransferRate> {
    let window = copy.request_timeout.map_or(RATE_WINDOW, |timeout| timeout.min(RATE_WINDOW));
    copy.min_transfer_rate.map(|bytes_per_second| MinTransferRate { bytes_per_second, window })
}

/// Attempts and pauses of requests.
pub fn backoff(config: &Config) -> Backoff {
    Backoff { attempts: config.copy.retry_attempts, cap: config.copy.retry_backoff }
}

/// All registries, with the configured access to some of them.
///
/// # Errors
/// If a configured certificate cannot be used.
pub fn registries(config: &Config, settings: Settings) -> Result<Registries, CertificateError> {
    Registries::new(settings, &config.registries, config.copy.max_connections_per_registry)
}
