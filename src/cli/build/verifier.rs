//! The verifier.

use std::{collections::HashMap, sync::Arc};

use super::{mirror, registry, stores};
use crate::{
    config::Config,
    mirror::{DeepReading, SourceQuestions, Verifier, VerifierSettings},
    model::PullSecrets,
    registry::CertificateError,
};

/// # Errors
/// If a configured certificate cannot be used.
pub fn verifier(
    config: &Config,
    questions: SourceQuestions,
    deep: Option<DeepReading>,
    pull_secrets: Option<Arc<dyn PullSecrets>>,
) -> Result<Verifier, CertificateError> {
    let access = registry::settings(config, &registry::aws(config), Arc::new(()));
    let sources = registry::registries(config, access.clone())?;
    let stores: HashMap<_, _> =
        config.targets.iter().map(|target| (target.name.clone(), stores::store(target, &sources, &access))).collect();
    let settings = VerifierSettings { copy: mirror::copy_settings(config), questions, deep, pace: None };
    let verifier = Verifier::new(sources, stores, settings);
    Ok(match pull_secrets {
        Some(pull_secrets) => verifier.with_pull_secrets(pull_secrets),
        None => verifier,
    })
}
