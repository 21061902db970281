//! Plugins that are delivered by registries.

use std::{collections::BTreeMap, sync::Arc};

use crate::{
    config::{Config, PluginModule},
    model::Reference,
    policy,
    registry::{self, CertificateError},
};

use super::assemble;

/// What was fetched, by reference. They name digests, so nothing is ever fetched twice.
#[derive(Clone, Default)]
pub struct Modules(BTreeMap<Reference, Arc<[u8]>>);

/// A plugin can't be fetched.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// HTTPS can't be set up.
    #[error(transparent)]
    Setup(#[from] CertificateError),
    /// Its registry does not hand it out.
    #[error("plugin {plugin} (oci: {reference}): {error}")]
    Registry {
        /// Its name in the configuration.
        plugin: String,
        /// What was asked for.
        reference: Reference,
        /// Why it was not to be had.
        error: registry::Error,
    },
}

impl Modules {
    /// What `config` asks for, fetched where it is not among these, one after another: there are few.
    pub async fn fetched(&self, config: &Config) -> Result<Self, Vec<FetchError>> {
        let mut modules = BTreeMap::new();
        let mut errors = Vec::new();
        let mut registries = None;
        for plugin in &config.policy.plugins {
            let PluginModule::Oci(reference) = &plugin.module else { continue };
            if let Some(bytes) = self.0.get(reference) {
                modules.insert(reference.clone(), Arc::clone(bytes));
                continue;
            }
            let registries = match &registries {
                Some(registries) => registries,
                None => {
                    let access = assemble::access(config, &assemble::aws(config), Arc::new(()));
                    registries.insert(assemble::registries(config, access).map_err(|error| vec![error.into()])?)
                }
            };
            let repository = registries.repository(reference.registry(), reference.repository());
            let longest = assemble::plugin_limits(&plugin.limits).module;
            // The configuration lets none through that has no digest.
            let Some(digest) = reference.digest() else { continue };
            match registry::fetch_component(&repository, digest, longest).await {
                Ok(bytes) => {
                    modules.insert(reference.clone(), bytes.as_ref().into());
                }
                Err(error) => errors.push(FetchError::Registry {
                    plugin: plugin.name.clone(),
                    reference: reference.clone(),
                    error,
                }),
            }
        }
        if errors.is_empty() { Ok(Self(modules)) } else { Err(errors) }
    }

    /// The module as the policy takes it; none where it was not fetched.
    pub fn get(&self, module: &PluginModule) -> Option<policy::Module> {
        match module {
            PluginModule::File(file) => Some(policy::Module::File(file.clone())),
            PluginModule::Oci(reference) => {
                let bytes = Arc::clone(self.0.get(reference)?);
                Some(policy::Module::Fetched { reference: reference.clone(), bytes })
            }
        }
    }
}
