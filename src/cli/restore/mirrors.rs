//! The targets that nodes could pull from, and how they are reached.

use std::{collections::BTreeSet, sync::Arc};

use super::RestoreError;
use crate::{
    cli::build,
    config::{Config, TargetConfig},
    model::{Reference, TargetAddress, TargetKind},
    registry::{access_to, is_listed_as_insecure},
    restore::{Candidate, DecidedUse, MirrorAccess, MirrorLogin},
};

/// All targets that are registries, or the one with this name.
pub fn candidates(config: &Config, name: Option<&str>) -> Result<Vec<Candidate>, RestoreError> {
    let named = |target: &&TargetConfig| name.is_none_or(|name| target.name == name);
    if let Some(given) = name {
        match config.targets.iter().find(named) {
            None => {
                let known: Vec<_> = config.targets.iter().map(|target| format!("{:?}", target.name)).collect();
                return Err(RestoreError::UnknownTarget { given: given.to_owned(), known: known.join(", ") });
            }
            Some(target) if target.kind == TargetKind::OciLayout => return Err(RestoreError::Layout(given.to_owned())),
            Some(_) => {}
        }
    }
    let all = config.targets.iter().zip(build::targets(config));
    let candidates: Vec<_> = all
        .filter(|(target, _)| named(target) && target.kind != TargetKind::OciLayout)
        .map(|(settings, target)| Candidate { access: access(config, settings), target: Arc::clone(&target) })
        .collect();
    if candidates.is_empty() { Err(RestoreError::NoRegistry) } else { Ok(candidates) }
}

fn access(config: &Config, target: &TargetConfig) -> MirrorAccess {
    let (host, _) = TargetAddress::host_and_path(&target.registry);
    let access = access_to(&config.registries, host);
    let wants_tls = access.is_some_and(|access| access.wants_tls());
    MirrorAccess {
        plain_http: access.is_some_and(|access| access.plain_http) || (target.insecure && !wants_tls),
        skip_verify: access.is_some_and(|access| access.skip_verify) || (target.insecure && wants_tls),
        authorities: access.and_then(|access| access.authorities.as_ref()).map(|file| file.text.clone()),
        wants_client_certificate: access.is_some_and(|access| access.client.is_some()),
        login: match (target.kind, &target.login) {
            (TargetKind::Ecr, _) => MirrorLogin::Ecr,
            (_, Some(_)) => MirrorLogin::Password,
            (_, None) => MirrorLogin::None,
        },
        plain_sources: BTreeSet::new(),
    }
}

/// The same, with how the registries of these images are reached.
pub fn with_sources(config: &Config, mut candidates: Vec<Candidate>, uses: &[DecidedUse]) -> Vec<Candidate> {
    let registries: BTreeSet<String> = uses
        .iter()
        .filter_map(|decided| decided.image_use.image.parse::<Reference>().ok())
        .map(|source| source.registry().to_owned())
        .collect();
    let is_plain = |registry: &String| {
        access_to(&config.registries, registry).is_some_and(|access| access.plain_http)
            || is_listed_as_insecure(&config.copy.insecure_registries, registry)
    };
    let plain: BTreeSet<String> = registries.into_iter().filter(is_plain).collect();
    for candidate in &mut candidates {
        candidate.access.plain_sources.clone_from(&plain);
    }
    candidates
}
