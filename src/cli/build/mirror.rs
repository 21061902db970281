//! The copier and the mirror.

use std::{collections::HashMap, sync::Arc};

use super::{registry, stores};
use crate::{
    config::{Config, CopyConfig, ReferrersConfig, TargetConfig, WatchConfig},
    mirror::{Copier, CopySettings, Mirror, PlatformSettings, ReferrerSelection, ReferrerSettings},
    model::{Observer, PullSecrets},
    policy::Policy,
    registry::{Aws, CertificateError},
    workload::{Client, PullSecretReader},
};

/// # Errors
/// If a configured certificate cannot be used.
pub fn copier(
    config: &Config,
    aws: &Aws,
    pull_secrets: Option<&Arc<dyn PullSecrets>>,
    observer: Arc<dyn Observer>,
) -> Result<Copier, CertificateError> {
    let access = registry::settings(config, aws, observer.clone());
    let sources = registry::registries(config, access.clone())?;
    let mut stores = HashMap::new();
    for target in &config.targets {
        stores.insert(target.name.clone(), stores::store(target, &sources, &access));
    }
    let settings = CopySettings {
        digest_pull: config.copy.digest_pull,
        digest_pull_ignored_tags: config.copy.digest_pull_ignored_tags.clone(),
        platforms: platforms(config),
        referrers: referrers(config),
        allow_different_digest_repush: config.copy.allow_different_digest_repush,
        dry_run: config.copy.dry_run,
        dry_pull: config.copy.dry_pull,
        max_concurrent_blobs: config.copy.max_concurrent_blobs,
        backoff: registry::backoff(config),
    };
    let copier = Copier::new(sources, stores, settings, observer);
    Ok(match pull_secrets {
        Some(pull_secrets) => copier.with_pull_secrets(Arc::clone(pull_secrets)),
        None => copier,
    })
}

pub fn platforms(config: &Config) -> Option<PlatformSettings> {
    config.copy.platforms.as_ref().map(|platforms| PlatformSettings {
        all: platforms.all,
        listed: platforms.listed.iter().cloned().collect(),
        of_nodes: platforms.of_nodes,
        expected_missing: platforms.expected_missing.clone(),
    })
}

fn referrers(config: &Config) -> ReferrerSettings {
    let ReferrersConfig { scope, types, recheck, required } = &config.copy.referrers;
    let selection = |target: &TargetConfig| {
        // The configuration accepts no malformed glob.
        Some((target.name.clone(), ReferrerSelection::new(target.referrers.unwrap_or(*scope), types).ok()?))
    };
    ReferrerSettings {
        targets: config.targets.iter().filter_map(selection).collect(),
        required: *required,
        recheck: *recheck,
    }
}

/// The maximum number of concurrent copies.
pub fn max_concurrency(copy: &CopyConfig, watch: &WatchConfig) -> usize {
    copy.max_concurrent_reconciles.saturating_mul(watch.resources.len())
}

/// A mirror that waits to be started.
///
/// # Errors
/// If a configured certificate cannot be used.
pub fn mirror(
    config: &Config,
    aws: &Aws,
    policy: Arc<Policy>,
    pull_secrets: Option<&Arc<dyn PullSecrets>>,
    observer: Arc<dyn Observer>,
) -> Result<Mirror, CertificateError> {
    let copier = copier(config, aws, pull_secrets, observer.clone())?;
    let max_concurrency = max_concurrency(&config.copy, &config.watch);
    Ok(Mirror::start(policy, copier, observer, config.copy.failure_cooldown, max_concurrency))
}

/// The pull secrets of the cluster; none if they are not used.
pub fn pull_secrets(config: &Config, client: &Client) -> Option<Arc<dyn PullSecrets>> {
    let reader = || Arc::new(PullSecretReader::new(client.clone())) as Arc<dyn PullSecrets>;
    (!config.watch.pull_secrets.is_off()).then(reader)
}
