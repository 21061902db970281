//! The verifier.

use std::{collections::HashMap, sync::Arc};

use super::{mirror, registry, stores};
use crate::{
    config::Config,
    mirror::{DeepReading, Verifier, VerifierSettings},
    registry::CertificateError,
};

/// # Errors
/// If a configured certificate cannot be used.
pub fn verifier(config: &Config, ask_sources: bool, deep: Option<DeepReading>) -> Result<Verifier, CertificateError> {
    let access = registry::settings(config, &registry::aws(config), Arc::new(()));
    let sources = registry::registries(config, access.clone())?;
    let stores: HashMap<_, _> =
        config.targets.iter().map(|target| (target.name.clone(), stores::store(target, &sources, &access))).collect();
    let settings = VerifierSettings {
        platforms: mirror::platforms(config),
        digest_pull: config.copy.digest_pull,
        digest_pull_ignored_tags: config.copy.digest_pull_ignored_tags.clone(),
        ask_sources,
        deep,
        pace: None,
    };
    Ok(Verifier::new(sources, stores, settings))
}
