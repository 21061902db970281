//! Makes the rooms out of the settings.

use std::{collections::HashMap, sync::Arc, thread, time::Duration};

use tokio::task::spawn_blocking;

use crate::{
    config::{self, Config, CopyConfig, WatchConfig},
    mirror::{Copier, CopySettings, Mirror, PlatformSettings},
    model::{Observer, Target},
    policy::{self, Policy},
    registry::{self, Aws, Backoff, CertificateError, MinTransferRate, Registries},
    workload::{Namespaces, WatchSettings},
};

use super::{CommandError, modules::Modules, stores};

/// The configured targets, as policies see them.
pub fn targets(config: &Config) -> Vec<Arc<Target>> {
    config
        .targets
        .iter()
        .map(|target| {
            Arc::new(Target {
                name: target.name.clone(),
                kind: target.kind,
                registry: target.registry.clone(),
                repo_prefix: target.repo_prefix.clone(),
            })
        })
        .collect()
}

/// What of the cluster is watched.
pub fn watch_settings(config: &Config) -> WatchSettings {
    let include = &config.watch.include_namespaces;
    let plain = include.iter().all(|name| !name.contains(['*', '?', '[', '\\']));
    let namespaces = if plain { Namespaces::Named(include.clone()) } else { Namespaces::All };
    let nodes = config.copy.platforms.as_ref().is_some_and(|platforms| platforms.of_nodes);
    WatchSettings { namespaces, resources: config.watch.resources.clone(), nodes }
}

/// What the policy is to be; `modules` has what registries have of it.
pub fn policy_settings(config: &Config, modules: &Modules) -> policy::Settings {
    policy::Settings {
        plugins: config.policy.plugins.iter().filter_map(|plugin| plugin_settings(plugin, modules)).collect(),
        defaults: config.policy.default_plugins.clone(),
        skip: policy::SkipSettings {
            include_namespaces: config.watch.include_namespaces.clone(),
            skip_namespaces: config.watch.skip_namespaces.clone(),
            skip_names: config.watch.skip_names.clone(),
            exclude_registries: config.policy.exclude_registries.clone(),
        },
        path_map: config
            .policy
            .path_map
            .iter()
            .map(|rule| policy::PathMapRule { from: rule.from.clone(), to: rule.to.clone(), regex: rule.regex })
            .collect(),
        targets: targets(config),
        threads: threads(),
    }
}

/// As many as can decide at once.
fn threads() -> usize {
    thread::available_parallelism().map_or(1, Into::into)
}

/// The policy, its plugins fetched, and loaded in a thread that may be left to itself.
///
/// # Errors
/// Every plugin that can't be had.
pub async fn policy(config: &Config, observer: Arc<dyn Observer>) -> Result<(Policy, Modules), CommandError> {
    let modules = Modules::default().fetched(config).await.map_err(CommandError::Modules)?;
    let settings = policy_settings(config, &modules);
    let loaded = spawn_blocking(move || Policy::load(settings, observer)).await;
    let policy = loaded.map_err(|source| CommandError::Broken { what: "loading the plugins", source })??;
    Ok((policy, modules))
}

/// Those of `plugins` that can't be loaded: told beside settings that are wrong as well. No registry is asked.
pub fn broken(plugins: &[config::PluginConfig]) -> Vec<policy::LoadError> {
    let modules = Modules::default();
    let settings = policy::Settings {
        plugins: plugins.iter().filter_map(|plugin| plugin_settings(plugin, &modules)).collect(),
        defaults: Vec::new(),
        skip: policy::SkipSettings::default(),
        path_map: Vec::new(),
        targets: Vec::new(),
        threads: 1,
    };
    Policy::load(settings, Arc::new(())).err().unwrap_or_default()
}

/// None where its module was not fetched.
fn plugin_settings(plugin: &config::PluginConfig, modules: &Modules) -> Option<policy::PluginSettings> {
    Some(policy::PluginSettings {
        name: plugin.name.clone(),
        module: modules.get(&plugin.module)?,
        config: plugin.config.clone(),
        limits: plugin_limits(&plugin.limits),
        on_failure: match plugin.on_failure {
            config::OnFailure::Fail => policy::OnFailure::Fail,
            config::OnFailure::Pass => policy::OnFailure::Pass,
        },
    })
}

/// What the user says, else the defaults.
pub fn plugin_limits(limits: &config::PluginLimitsConfig) -> policy::PluginLimits {
    let default = policy::PluginLimits::default();
    policy::PluginLimits {
        timeout: limits.timeout.unwrap_or(default.timeout),
        configure_timeout: limits.configure_timeout.unwrap_or(default.configure_timeout),
        memory: limits.memory.unwrap_or(default.memory),
        module: limits.module_size.unwrap_or(default.module),
        output: limits.output.unwrap_or(default.output),
        instances: limits.instances.unwrap_or(default.instances),
        log_lines: limits.log_lines.unwrap_or(default.log_lines),
    }
}

/// The way to AWS. Nothing is asked.
pub fn aws(config: &Config) -> Aws {
    Aws::new(config.copy.request_timeout)
}

/// How registries are reached.
pub fn access(config: &Config, aws: &Aws, observer: Arc<dyn Observer>) -> registry::Settings {
    registry::Settings {
        request_timeout: config.copy.request_timeout,
        min_transfer_rate: least_rate(&config.copy),
        private_redirects: config.copy.private_redirects.clone(),
        credentials: config.credentials.clone(),
        aws: aws.clone(),
        observer,
        insecure: config.copy.insecure_registries.clone(),
        backoff: backoff(config),
    }
}

/// How long a transfer is watched before it is said to be too slow. Who lets it stand still for less wants to know sooner.
const RATE_WINDOW: Duration = Duration::from_secs(60);

fn least_rate(copy: &CopyConfig) -> Option<MinTransferRate> {
    let window = copy.request_timeout.map_or(RATE_WINDOW, |timeout| timeout.min(RATE_WINDOW));
    copy.min_transfer_rate.map(|bytes_per_second| MinTransferRate { bytes_per_second, window })
}

fn backoff(config: &Config) -> Backoff {
    Backoff { attempts: config.copy.retry_attempts, cap: config.copy.retry_backoff }
}

/// The way to every registry, of which some are reached as the user says.
///
/// # Errors
/// When a certificate that is configured can't be used.
pub fn registries(config: &Config, access: registry::Settings) -> Result<Registries, CertificateError> {
    Registries::new(access, &config.registries, config.copy.max_connections_per_registry)
}

/// What copies.
///
/// # Errors
/// When a certificate that is configured can't be used.
pub fn copier(config: &Config, aws: &Aws, observer: Arc<dyn Observer>) -> Result<Copier, CertificateError> {
    let access = access(config, aws, observer.clone());
    let sources = registries(config, access.clone())?;
    let mut stores = HashMap::new();
    for target in &config.targets {
        stores.insert(target.name.clone(), stores::store(target, &sources, &access));
    }
    let settings = CopySettings {
        digest_pull: config.copy.digest_pull,
        digest_pull_ignored_tags: config.copy.digest_pull_ignored_tags.clone(),
        platforms: config.copy.platforms.as_ref().map(|platforms| PlatformSettings {
            all: platforms.all,
            listed: platforms.listed.iter().cloned().collect(),
            of_nodes: platforms.of_nodes,
            expected_missing: platforms.expected_missing.clone(),
        }),
        allow_different_digest_repush: config.copy.allow_different_digest_repush,
        dry_run: config.copy.dry_run,
        dry_pull: config.copy.dry_pull,
        max_concurrent_blobs: config.copy.max_concurrent_blobs,
        backoff: backoff(config),
    };
    Ok(Copier::new(sources, stores, settings, observer))
}

/// How many names are worked on at once.
pub fn places(copy: &CopyConfig, watch: &WatchConfig) -> usize {
    copy.max_concurrent_reconciles.saturating_mul(watch.resources.len())
}

/// The mirror, waiting to begin.
///
/// # Errors
/// When a certificate that is configured can't be used.
pub fn mirror(
    config: &Config,
    aws: &Aws,
    policy: Arc<Policy>,
    observer: Arc<dyn Observer>,
) -> Result<Mirror, CertificateError> {
    let copier = copier(config, aws, observer.clone())?;
    Ok(Mirror::start(policy, copier, observer, config.copy.failure_cooldown, places(&config.copy, &config.watch)))
}
