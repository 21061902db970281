//! Makes the rooms out of the settings.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use tracing::info;

use crate::{
    config::{self, Config, TargetConfig},
    mirror::{Copier, CopySettings, Mirror},
    model::{Credential, Login, Observer, Target, TargetKind},
    policy::{self, Policy},
    registry::{self, Aws, EcrRepositories, NewRepositories, Registries, SetupError, Store},
    workload::{Namespaces, WatchSettings},
};

/// Tries of a request that can pass on another one.
const ATTEMPTS: u32 = 5;
/// The longest pause between two of them.
const LONGEST_PAUSE: std::time::Duration = std::time::Duration::from_secs(10);

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
    WatchSettings { namespaces, resources: config.watch.resources.clone() }
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

/// Who writes to the targets of kind ecr: each identity once, and the region that is asked about it. Nobody, where
/// nobody is to be asked.
pub fn identities(config: &Config, aws: &Aws) -> Vec<(Aws, String)> {
    let mut identities = BTreeMap::new();
    if config.copy.dry_pull {
        return Vec::new();
    }
    for ecr in config.targets.iter().filter_map(|target| target.ecr.as_ref()) {
        identities.entry(&ecr.assume_role).or_insert_with(|| (identity(ecr, aws), ecr.registry.region.clone()));
    }
    identities.into_values().collect()
}

fn identity(ecr: &config::EcrConfig, aws: &Aws) -> Aws {
    ecr.assume_role.as_deref().map_or_else(|| aws.clone(), |role| aws.assuming(role))
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
    let insecure = config.copy.insecure_registries.clone();
    let sources = Registries::new(access(config, aws.clone(), config.credentials.clone(), insecure))?;
    let mut stores = HashMap::new();
    for target in &config.targets {
        stores.insert(target.name.clone(), store(config, target, aws, &sources));
    }
    let settings = CopySettings {
        digest_pull: config.copy.digest_pull,
        allow_different_digest_repush: config.copy.allow_different_digest_repush,
        dry_run: config.copy.dry_run,
        dry_pull: config.copy.dry_pull,
    };
    let copier = Copier::new(sources, stores, settings, observer.clone());
    let places = config.copy.max_concurrent_reconciles.saturating_mul(config.watch.resources.len());
    Ok(Mirror::start(policy, copier, observer, config.copy.failure_cooldown, places))
}

fn store(config: &Config, target: &TargetConfig, aws: &Aws, sources: &Registries) -> Store {
    match (target.kind, &target.ecr) {
        (TargetKind::OciLayout, _) => Store::Layout(registry::Layout::new(target.registry.clone().into())),
        (TargetKind::Ecr, Some(ecr)) => {
            let aws = identity(ecr, aws);
            let registries = sources.beside(access(config, aws.clone(), Vec::new(), Vec::new()));
            let new = ecr.create_repo.then(|| new_repositories(&ecr.new));
            Store::ecr(registries, &target.registry, EcrRepositories::new(aws, ecr.registry.clone(), new))
        }
        (TargetKind::Docker | TargetKind::Ecr, _) => {
            let host = target.registry.split('/').next().unwrap_or_default().to_owned();
            let login = target.login.clone().map(|(username, password)| Credential {
                registry: host.clone(),
                aliases: Vec::new(),
                login: Login::Password { username, password },
            });
            let insecure = if target.insecure { vec![host] } else { Vec::new() };
            let registries = sources.beside(access(config, aws.clone(), login.into_iter().collect(), insecure));
            Store::registry(registries, &target.registry)
        }
    }
}

fn new_repositories(new: &config::NewRepositoryConfig) -> NewRepositories {
    NewRepositories {
        lifecycle_policy: new.lifecycle_policy.clone(),
        repository_policy: new.repository_policy.clone(),
        tags: new.tags.clone(),
        scan_on_push: new.scan_on_push,
        kms_key: new.kms_key.clone(),
        tag_mutability: new.tag_mutability.clone().map(|mutability| match mutability {
            config::TagMutability::Mutable { except } => registry::TagMutability::Mutable { except },
            config::TagMutability::Immutable { except } => registry::TagMutability::Immutable { except },
        }),
    }
}

fn access(config: &Config, aws: Aws, credentials: Vec<Credential>, insecure: Vec<String>) -> registry::Settings {
    registry::Settings {
        request_timeout: config.copy.request_timeout,
        credentials,
        aws,
        insecure,
        attempts: ATTEMPTS,
        backoff_cap: LONGEST_PAUSE,
    }
}
