//! The copier and the mirror.

use std::{collections::HashMap, sync::Arc};

use super::{registry, stores};
use crate::{
    config::{Config, CopyConfig, FurtherSourcePlace, ReferrersConfig, TargetConfig, WatchConfig},
    mirror::{
        ContinualVerifier, Copier, CopySettings, FurtherPlace, FurtherSource, Mirror, Pace, PlatformSettings,
        ReferrerSelection, ReferrerSettings, SourceQuestions, Verifier, VerifierSettings,
    },
    model::{Observer, PullSecrets, TargetAddress},
    policy::Policy,
    registry::{Aws, CertificateError, Registries, Store},
    workload::{Client, PullSecretReader},
};

/// What copies, and what verifies in the background.
///
/// # Errors
/// If a configured certificate cannot be used.
pub fn copier_and_verifier(
    config: &Config,
    aws: &Aws,
    pull_secrets: Option<&Arc<dyn PullSecrets>>,
    observer: Arc<dyn Observer>,
) -> Result<(Copier, Option<ContinualVerifier>), CertificateError> {
    let access = registry::settings(config, aws, observer.clone());
    let sources = registry::registries(config, access.clone())?;
    let mut stores = HashMap::new();
    for target in &config.targets {
        stores.insert(target.name.clone(), stores::store(target, &sources, &access));
    }
    // Both share limits, tokens and what is known of rate limits.
    let verifier = continual_verifier(config, &sources, &stores, pull_secrets);
    let further = further_sources(config, &sources, &stores);
    let copier = Copier::new(sources, stores, copy_settings(config), observer).with_further_sources(further);
    let copier = match pull_secrets {
        Some(pull_secrets) => copier.with_pull_secrets(Arc::clone(pull_secrets)),
        None => copier,
    };
    Ok((copier, verifier))
}

fn further_sources(config: &Config, sources: &Registries, stores: &HashMap<String, Store>) -> Vec<FurtherSource> {
    let places = config.further_sources.iter().filter_map(|source| {
        let place = match &source.place {
            FurtherSourcePlace::Registry(registry) => {
                let (host, path) = TargetAddress::host_and_path(registry);
                FurtherPlace::Registry { registries: sources.clone(), host: host.to_owned(), path: path.to_owned() }
            }
            // The configuration accepts no other name.
            FurtherSourcePlace::Target(name) => {
                FurtherPlace::Target { name: name.clone(), store: stores.get(name)?.clone() }
            }
            FurtherSourcePlace::Layout(path) => FurtherPlace::Layout(path.clone()),
        };
        Some(FurtherSource { name: source.to_string(), prefix: source.prefix.clone(), place })
    });
    places.collect()
}

/// None if nothing is verified: what a dry run would copy is not there.
fn continual_verifier(
    config: &Config,
    sources: &Registries,
    stores: &HashMap<String, Store>,
    pull_secrets: Option<&Arc<dyn PullSecrets>>,
) -> Option<ContinualVerifier> {
    let period = config.copy.verification.period.filter(|_| !config.copy.dry_run && !config.copy.dry_pull)?;
    let settings = || VerifierSettings {
        copy: copy_settings(config),
        // What tags mean is asked by copies, and what referrers there are by their looks.
        questions: SourceQuestions::Indexes,
        deep: None,
        pace: Some(Pace::per_minute(config.copy.verification.requests_per_minute.try_into().unwrap_or(u32::MAX))),
    };
    let of_target = |(name, store): (&String, &Store)| {
        let stores = HashMap::from([(name.clone(), store.clone())]);
        let verifier = Verifier::new(sources.clone(), stores, settings());
        let verifier = match pull_secrets {
            Some(pull_secrets) => verifier.with_pull_secrets(Arc::clone(pull_secrets)),
            None => verifier,
        };
        (name.clone(), verifier)
    };
    Some(ContinualVerifier::new(stores.iter().map(of_target).collect(), period))
}

/// How images are copied, and with that what targets are to have.
pub fn copy_settings(config: &Config) -> CopySettings {
    CopySettings {
        digest_pull: config.copy.digest_pull,
        digest_pull_ignored_tags: config.copy.digest_pull_ignored_tags.clone(),
        platforms: platforms(config),
        referrers: referrers(config),
        allow_different_digest_repush: config.copy.allow_different_digest_repush,
        dry_run: config.copy.dry_run,
        dry_pull: config.copy.dry_pull,
        max_concurrent_blobs: config.copy.max_concurrent_blobs,
        backoff: registry::backoff(config),
    }
}

fn platforms(config: &Config) -> Option<PlatformSettings> {
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
    let (copier, verifier) = copier_and_verifier(config, aws, pull_secrets, observer.clone())?;
    let max_concurrency = max_concurrency(&config.copy, &config.watch);
    Ok(Mirror::start(policy, copier, verifier, observer, config.copy.failure_cooldown, max_concurrency))
}

/// The pull secrets of the cluster; none if they are not used.
pub fn pull_secrets(config: &Config, client: &Client) -> Option<Arc<dyn PullSecrets>> {
    let reader = || Arc::new(PullSecretReader::new(client.clone())) as Arc<dyn PullSecrets>;
    (!config.watch.pull_secrets.is_off()).then(reader)
}
