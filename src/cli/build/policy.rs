//! The policy and its plugins.

use std::{sync::Arc, thread};

use tokio::task::spawn_blocking;

use super::artifacts::{PluginArtifacts, plugin_limits};
use crate::{
    cli::CommandError,
    config::{Config, PluginConfig},
    model::{Observer, Target},
    policy::{self, Policy},
};

/// The settings of the policy. `artifacts` has the plugins that registries deliver.
pub fn policy_settings(config: &Config, artifacts: &PluginArtifacts) -> policy::Settings {
    policy::Settings {
        plugins: config.policy.plugins.iter().filter_map(|plugin| plugin_settings(plugin, artifacts)).collect(),
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
        threads: thread::available_parallelism().map_or(1, Into::into),
    }
}

/// The configured targets, as plugins see them.
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

/// Fetches and loads all plugins, in a thread that may block.
///
/// # Errors
/// All plugins that cannot be fetched, or all that cannot be loaded.
pub async fn policy(config: &Config, observer: Arc<dyn Observer>) -> Result<(Policy, PluginArtifacts), CommandError> {
    let artifacts = PluginArtifacts::default().fetched(config).await.map_err(CommandError::Artifacts)?;
    let settings = policy_settings(config, &artifacts);
    let loaded = spawn_blocking(move || Policy::load(settings, observer)).await;
    let policy = loaded.map_err(|source| CommandError::Panicked { task: "loading the plugins", source })??;
    Ok((policy, artifacts))
}

/// The plugins in files that cannot be loaded: reported together with an invalid configuration. Contacts no registry.
pub fn invalid_plugins(plugins: &[PluginConfig]) -> Vec<policy::LoadError> {
    let artifacts = PluginArtifacts::default();
    let settings = policy::Settings {
        plugins: plugins.iter().filter_map(|plugin| plugin_settings(plugin, &artifacts)).collect(),
        defaults: Vec::new(),
        skip: policy::SkipSettings::default(),
        path_map: Vec::new(),
        targets: Vec::new(),
        threads: 1,
    };
    Policy::load(settings, Arc::new(())).err().unwrap_or_default()
}

/// None if the plugin's artifact was not fetched.
fn plugin_settings(plugin: &PluginConfig, artifacts: &PluginArtifacts) -> Option<policy::PluginSettings> {
    Some(policy::PluginSettings {
        name: plugin.name.clone(),
        module: artifacts.module(&plugin.module)?,
        config: plugin.config.clone(),
        limits: plugin_limits(&plugin.limits),
        on_failure: plugin.on_failure,
    })
}
