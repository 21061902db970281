//! Plugins that registries deliver.

use std::{collections::BTreeMap, sync::Arc};

use super::registry::{aws, registries, settings};
use crate::{
    config::{Config, PluginLimitsConfig, PluginModule},
    model::Reference,
    policy::{Module, PluginLimits},
    registry::{self, CertificateError},
};

/// Fetched plugins by reference. References have a digest, so nothing is fetched twice.
#[derive(Clone, Default)]
pub struct PluginArtifacts(BTreeMap<Reference, Arc<[u8]>>);

/// A plugin cannot be fetched.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// TLS cannot be set up.
    #[error(transparent)]
    Setup(#[from] CertificateError),
    /// The registry does not deliver it.
    #[error("cannot fetch plugin {plugin} (oci: {reference})")]
    Registry { plugin: String, reference: Reference, source: registry::Error },
}

impl PluginArtifacts {
    /// The artifacts for `config`; those that are missing here are fetched, one after another.
    ///
    /// # Errors
    /// All plugins that cannot be fetched.
    pub async fn fetched(&self, config: &Config) -> Result<Self, Vec<FetchError>> {
        let mut artifacts = BTreeMap::new();
        let mut errors = Vec::new();
        let mut clients = None;
        for plugin in &config.policy.plugins {
            let PluginModule::Oci(reference) = &plugin.module else { continue };
            if let Some(bytes) = self.0.get(reference) {
                artifacts.insert(reference.clone(), Arc::clone(bytes));
                continue;
            }
            let clients = match &clients {
                Some(clients) => clients,
                None => {
                    let settings = settings(config, &aws(config), Arc::new(()));
                    clients.insert(registries(config, settings).map_err(|error| vec![error.into()])?)
                }
            };
            let repository = clients.repository(reference.registry(), reference.repository());
            let max_size = plugin_limits(&plugin.limits).module;
            // The configuration rejects references without a digest.
            let Some(digest) = reference.digest() else { continue };
            match registry::fetch_component(&repository, digest, max_size).await {
                Ok(bytes) => {
                    artifacts.insert(reference.clone(), bytes.as_ref().into());
                }
                Err(source) => errors.push(FetchError::Registry {
                    plugin: plugin.name.clone(),
                    reference: reference.clone(),
                    source,
                }),
            }
        }
        if errors.is_empty() { Ok(Self(artifacts)) } else { Err(errors) }
    }

    /// The module for the policy; none if it was not fetched.
    pub fn module(&self, module: &PluginModule) -> Option<Module> {
        match module {
            PluginModule::File(file) => Some(Module::File(file.clone())),
            PluginModule::Oci(reference) => {
                let bytes = Arc::clone(self.0.get(reference)?);
                Some(Module::Fetched { reference: reference.clone(), bytes })
            }
        }
    }
}

/// The configured limits, or the defaults.
pub fn plugin_limits(limits: &PluginLimitsConfig) -> PluginLimits {
    let default = PluginLimits::default();
    PluginLimits {
        timeout: limits.timeout.unwrap_or(default.timeout),
        configure_timeout: limits.configure_timeout.unwrap_or(default.configure_timeout),
        memory: limits.memory.unwrap_or(default.memory),
        module: limits.module_size.unwrap_or(default.module),
        output: limits.output.unwrap_or(default.output),
        instances: limits.instances.unwrap_or(default.instances),
        log_lines: limits.log_lines.unwrap_or(default.log_lines),
    }
}
