//! Builds the parts of the program from the configuration.

mod artifacts;
mod mirror;
mod policy;
mod registry;
mod stores;
mod verifier;

use crate::{
    config::Config,
    workload::{Namespaces, WatchSettings},
};

pub use artifacts::{FetchError, PluginArtifacts};
pub use mirror::{copier_and_verifier, max_concurrency, mirror, pull_secrets};
pub use policy::{invalid_plugins, policy, policy_settings, targets};
pub use registry::{aws, backoff, registries, settings as registry_settings};
pub use stores::{aws_identities, store};
pub use verifier::verifier;

/// What to watch in the cluster.
pub fn watch_settings(config: &Config) -> WatchSettings {
    let include = &config.watch.include_namespaces;
    let has_globs = include.iter().any(|name| name.contains(['*', '?', '[', '\\']));
    let namespaces = if has_globs { Namespaces::All } else { Namespaces::Named(include.clone()) };
    let nodes = config.copy.platforms.as_ref().is_some_and(|platforms| platforms.of_nodes);
    WatchSettings {
        namespaces,
        resources: config.watch.resources.clone(),
        nodes,
        pull_secrets: config.watch.pull_secrets.clone(),
    }
}
