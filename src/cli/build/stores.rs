//! The stores of the targets, and the AWS identities that write to them.

use std::collections::BTreeMap;

use crate::{
    config::{Config, EcrConfig, TargetConfig},
    model::{Credential, DockerLogins, TargetAddress, TargetKind},
    registry::{self, Aws, EcrRepositories, Layout, Registries, Store},
};

/// The identities that write to targets of kind `ecr`, each once, with a region to query STS in. None with `dryPull`, which
/// allows no requests.
pub fn aws_identities(config: &Config, aws: &Aws) -> Vec<(Aws, String)> {
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

/// The store of a target. Settings in `access` that are not specific to sources apply to targets too.
pub fn store(target: &TargetConfig, sources: &Registries, access: &registry::Settings) -> Store {
    let with_settings = |aws: &Aws, credentials, insecure| registry::Settings {
        aws: aws.clone(),
        credentials,
        insecure,
        ..access.clone()
    };
    match (target.kind, &target.ecr) {
        (TargetKind::OciLayout, _) => Store::Layout(Layout::new(target.registry.clone().into())),
        (TargetKind::Ecr, Some(ecr)) => {
            let aws = identity(ecr, &access.aws);
            // It takes the tokens of its AWS identity, and no others.
            let docker_logins = DockerLogins::default();
            let settings = registry::Settings { docker_logins, ..with_settings(&aws, Vec::new(), Vec::new()) };
            let registries = sources.with_settings(settings);
            let new = ecr.create_repo.then(|| ecr.new.clone());
            let repositories = EcrRepositories::new(aws, ecr.registry.clone(), new);
            Store::ecr(registries, &target.registry, repositories)
        }
        (TargetKind::Docker | TargetKind::Ecr, _) => {
            let (host, path) = TargetAddress::host_and_path(&target.registry);
            let login = target.login.clone();
            let login = login.map(|login| Credential { registry: host.to_owned(), aliases: Vec::new(), login });
            let insecure = if target.insecure { vec![host.to_owned()] } else { Vec::new() };
            let settings = with_settings(&access.aws, login.into_iter().collect(), insecure);
            Store::registry(sources.with_settings(settings), host, path)
        }
    }
}
