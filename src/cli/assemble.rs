//! Makes the rooms out of the settings.

use std::{collections::HashMap, sync::Arc};

use tracing::info;

use crate::{
    config::{self, Config},
    mirror::{Copier, CopySettings, Mirror, PlatformSettings},
    model::{Observer, Target},
    policy::{self, Policy},
    registry::{self, Aws, Backoff, Registries, SetupError},
    workload::{Namespaces, WatchSettings},
};

use super::stores;

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

/// The policy, its plugins loaded.
///
/// # Errors
/// Every plugin that can't be loaded.
pub fn policy(config: &Config, observer: Arc<dyn Observer>) -> Result<Policy, Vec<policy::LoadError>> {
    let plugins = config.policy.plugins.iter().map(plugin).collect();
    let settings = policy::Settings {
        plugins,
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
    };
    let policy = Policy::load(settings, observer)?;
    for plugin in policy.plugins() {
        let hooks = plugin.hooks.iter().map(|hook| hook.name()).collect::<Vec<_>>().join(", ");
        let module = plugin.module.map_or_else(|| "built in".to_owned(), |module| module.display().to_string());
        info!(plugin = plugin.name, module, hooks, "plugin loaded");
    }
    Ok(policy)
}

/// Those of `plugins` that can't be loaded: told beside settings that are wrong as well.
pub fn broken(plugins: &[config::PluginConfig]) -> Vec<policy::LoadError> {
    let settings = policy::Settings {
        plugins: plugins.iter().map(plugin).collect(),
        defaults: Vec::new(),
        skip: policy::SkipSettings::default(),
        path_map: Vec::new(),
        targets: Vec::new(),
    };
    Policy::load(settings, Arc::new(())).err().unwrap_or_default()
}

fn plugin(plugin: &config::PluginConfig) -> policy::PluginSettings {
    policy::PluginSettings {
        name: plugin.name.clone(),
        module: plugin.module.clone(),
        config: plugin.config.clone(),
        limits: policy::PluginLimits {
            timeout: plugin.timeout,
            configure_timeout: plugin.configure_timeout,
            memory: plugin.memory,
        },
        on_failure: match plugin.on_failure {
            config::OnFailure::Fail => policy::OnFailure::Fail,
            config::OnFailure::Pass => policy::OnFailure::Pass,
        },
    }
}

/// The way to AWS. Nothing is asked.
pub fn aws(config: &Config) -> Aws {
    Aws::new(config.copy.request_timeout)
}

/// The mirror, waiting to begin.
///
/// # Errors
/// When HTTPS can't be set up.
pub fn mirror(
    config: &Config,
    aws: &Aws,
    policy: Arc<Policy>,
    observer: Arc<dyn Observer>,
) -> Result<Mirror, SetupError> {
    let backoff = Backoff { attempts: config.copy.retry_attempts, cap: config.copy.retry_backoff };
    let access = registry::Settings {
        request_timeout: config.copy.request_timeout,
        credentials: config.credentials.clone(),
        aws: aws.clone(),
        observer: observer.clone(),
        insecure: config.copy.insecure_registries.clone(),
        backoff,
    };
    let sources = Registries::new(access.clone())?;
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
        backoff,
    };
    let copier = Copier::new(sources, stores, settings, observer.clone());
    let places = config.copy.max_concurrent_reconciles.saturating_mul(config.watch.resources.len());
    Ok(Mirror::start(policy, copier, observer, config.copy.failure_cooldown, places))
}
