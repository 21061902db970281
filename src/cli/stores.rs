//! What images are copied into, and as whom.

use std::collections::BTreeMap;

use crate::{
    config::{Config, EcrConfig, TargetConfig},
    model::{Credential, TargetKind},
    registry::{self, Aws, EcrRepositories, Layout, Registries, Store},
};

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

fn identity(ecr: &EcrConfig, aws: &Aws) -> Aws {
    ecr.assume_role.as_deref().map_or_else(|| aws.clone(), |role| aws.with_role(role))
}

/// What a target is. `access` is how sources are reached: what else it has goes for targets too.
pub fn store(target: &TargetConfig, sources: &Registries, access: &registry::Settings) -> Store {
    let beside = |aws: &Aws, credentials, insecure| {
        sources.with_settings(registry::Settings { aws: aws.clone(), credentials, insecure, ..access.clone() })
    };
    match (target.kind, &target.ecr) {
        (TargetKind::OciLayout, _) => Store::Layout(Layout::new(target.registry.clone().into())),
        (TargetKind::Ecr, Some(ecr)) => {
            let aws = identity(ecr, &access.aws);
            let registries = beside(&aws, Vec::new(), Vec::new());
            let new = ecr.create_repo.then(|| ecr.new.clone());
            let repositories = EcrRepositories::new(aws, ecr.registry.clone(), new);
            Store::ecr(registries, &target.registry, repositories)
        }
        (TargetKind::Docker | TargetKind::Ecr, _) => {
            let host = target.registry.split('/').next().unwrap_or_default().to_owned();
            let login = target.login.clone();
            let login = login.map(|login| Credential { registry: host.clone(), aliases: Vec::new(), login });
            let insecure = if target.insecure { vec![host] } else { Vec::new() };
            Store::registry(beside(&access.aws, login.into_iter().collect(), insecure), &target.registry)
        }
    }
}
