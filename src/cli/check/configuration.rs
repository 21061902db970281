//! The settings, and whether the plugins load.

use std::{path::PathBuf, sync::Arc};

use tokio::task::spawn_blocking;

use super::finding::{Finding, Group};
use crate::{
    cli::{CommandError, build},
    config::{Config, ConfigErrors, Loaded, PluginModule},
    model::error_chain,
    policy::{LoadError, Policy},
};

/// The remedy for errors that say themselves what is allowed.
pub const CORRECT: &str = "see docs/configuration.md";

/// Findings about settings that are valid.
pub fn settings(loaded: &Loaded) -> Vec<Finding> {
    let Config { targets, watch, copy, .. } = &loaded.config;
    let file = match loaded.files.first().filter(|file| file.exists()) {
        Some(file) => file.display().to_string(),
        None => "no file, variables and flags alone".to_owned(),
    };
    let targets = match targets.as_slice() {
        [target] => format!("1 target ({})", target.kind),
        targets => format!("{} targets", targets.len()),
    };
    let mode = match (copy.dry_run, copy.dry_pull) {
        (_, true) => ", dry pull: nothing is copied",
        (true, false) => ", dry run: nothing is copied",
        (false, false) => "",
    };
    let found = format!("{file}: {targets}, {} kinds of workloads{mode}", watch.resources.len());
    let warnings = loaded.warnings.iter().map(|warning| Group::Configuration.warning("setting", warning, CORRECT));
    let logins = &loaded.config.docker_logins.files;
    let logins: Vec<_> = logins.iter().map(|file| file.file.display().to_string()).collect();
    let logins = (!logins.is_empty()).then(|| {
        let found = format!("{}, for registries without configured credentials", logins.join(", "));
        Group::Configuration.ok("logins", found)
    });
    [Group::Configuration.ok("settings", found)].into_iter().chain(logins).chain(warnings).collect()
}

/// Findings about invalid settings.
pub fn invalid_settings(errors: &ConfigErrors) -> Vec<Finding> {
    errors
        .iter()
        .map(|error| Group::Configuration.failed(error.location.to_string(), &error.message, CORRECT))
        .collect()
}

/// Findings about plugins that can't be loaded.
pub fn invalid_plugins(errors: &[LoadError]) -> Vec<Finding> {
    let remedy = "correct or replace the plugin; `k8s-copycat plugin inspect FILE` shows what the file is";
    errors.iter().map(|error| Group::Plugins.failed("plugin", error_chain(error), remedy)).collect()
}

/// Loads the plugins in files, and contacts no registry. The other result: whether all are valid.
pub async fn plugins_offline(config: Config) -> Result<(Vec<Finding>, bool), CommandError> {
    let loading = spawn_blocking(move || (build::invalid_plugins(&config.policy.plugins), config));
    let (errors, config) =
        loading.await.map_err(|source| CommandError::Panicked { task: "loading the plugins", source })?;
    let mut findings = invalid_plugins(&errors);
    let (mut files, mut fetched): (Vec<PathBuf>, usize) = (Vec::new(), 0);
    for plugin in &config.policy.plugins {
        match &plugin.module {
            PluginModule::File(file) => files.push(file.clone()),
            PluginModule::Oci(reference) => {
                fetched += 1;
                let found = format!("oci: {reference} was not fetched");
                findings.push(Group::Plugins.warning(&plugin.name, found, "leave out --offline to check it"));
            }
        }
    }
    if errors.is_empty() && (!files.is_empty() || fetched == 0) {
        findings.insert(0, Group::Plugins.ok("plugins", format!("{} loaded from files", files.len())));
    }
    Ok((findings, errors.is_empty()))
}

/// The policy, if all plugins can be fetched and loaded.
pub struct LoadedPolicy {
    pub policy: Option<Policy>,
    pub findings: Vec<Finding>,
    /// Plugins or their settings have to be changed: exit code 2, as for invalid settings.
    pub is_invalid: bool,
}

/// Fetches and loads all plugins.
pub async fn plugins(config: &Config) -> LoadedPolicy {
    let error = match build::policy(config, Arc::new(())).await {
        Ok((policy, _)) => {
            let findings = loaded_plugins(&policy);
            return LoadedPolicy { policy: Some(policy), findings, is_invalid: false };
        }
        Err(error) => error,
    };
    let (findings, is_invalid) = match &error {
        CommandError::Plugins(errors) => (invalid_plugins(errors), true),
        CommandError::Artifacts(errors) => {
            let remedy = "check the reference, registryCredentials and the network";
            (errors.iter().map(|error| Group::Plugins.failed("plugin", error_chain(error), remedy)).collect(), false)
        }
        error => (vec![Group::Plugins.failed("plugins", error_chain(error), CORRECT)], true),
    };
    LoadedPolicy { policy: None, findings, is_invalid }
}

fn loaded_plugins(policy: &Policy) -> Vec<Finding> {
    let (built_in, own): (Vec<_>, Vec<_>) = policy.plugins().into_iter().partition(|plugin| plugin.digest.is_none());
    if own.is_empty() {
        return vec![Group::Plugins.ok("plugins", format!("none but the {} built-in ones", built_in.len()))];
    }
    let hooks = |hooks: &[crate::model::Hook]| hooks.iter().map(|hook| hook.name()).collect::<Vec<_>>().join(", ");
    let finding = |plugin: crate::model::PluginStatus| {
        let found = format!("{}, contract {}: {}", plugin.module, plugin.contract, hooks(&plugin.hooks));
        Group::Plugins.ok(plugin.name, found)
    };
    own.into_iter().map(finding).collect()
}
