//! The registries: targets and sources, all at the same time.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use futures::{StreamExt as _, future, stream};
use tokio::time::timeout_at;

use super::{
    deadline::DEADLINE,
    finding::{Finding, Group},
    further_sources::further_source,
    images::Images,
    pull_secrets::logins,
    sources, targets,
};
use crate::{
    cli::build,
    config::{Config, FurtherSourceConfig},
    model::PullSecrets,
    registry::{self, CertificateError, Registries},
};

/// For all targets and sources together.
const OVERALL_DEADLINE: Duration = Duration::from_secs(90);
const CONCURRENT_SOURCES: usize = 16;

/// The findings about targets, and those about sources.
///
/// # Errors
/// If a configured certificate can't be used.
pub async fn registries(
    config: &Config,
    images: &Images,
    pull_secrets: Option<&dyn PullSecrets>,
) -> Result<[Vec<Finding>; 2], CertificateError> {
    if config.copy.dry_pull {
        let skipped = |group: Group| {
            group.warning("registries", "not contacted, since dryPull is set", "check them with --dry-pull=false")
        };
        return Ok([vec![skipped(Group::Targets)], vec![skipped(Group::Sources)]]);
    }
    let aws = build::aws(config);
    let settings = build::registry_settings(config, &aws, Arc::new(()));
    let settings = registry::Settings {
        // A check answers now, or not at all.
        request_timeout: Some(settings.request_timeout.map_or(DEADLINE, |timeout| timeout.min(DEADLINE))),
        backoff: registry::Backoff { attempts: 1, ..settings.backoff },
        ..settings
    };
    let registries = build::registries(config, settings.clone())?;
    let end = Instant::now() + OVERALL_DEADLINE;
    let targets = config.targets.iter().map(|target| {
        let store = build::store(target, &registries, &settings);
        let repository = images.repositories.get(&target.name).map(String::as_str);
        let findings = targets::target(config, target, store, &settings.aws, repository);
        async move {
            let late = || vec![not_in_time(Group::Targets, &target.name)];
            timeout_at(end.into(), findings).await.unwrap_or_else(|_| late())
        }
    });
    let targets = future::join_all(targets);
    let sources = all_sources(&registries, images, pull_secrets, end);
    let further = all_further_sources(&registries, &config.further_sources, end);
    let (targets, mut sources, further) = future::join3(targets, sources, further).await;
    sources.extend(further);
    // Uploads that were cancelled by a deadline.
    let _ = timeout_at(end.into(), registries.background_finished()).await;
    Ok([targets.into_iter().flatten().collect(), sources])
}

async fn all_sources(
    registries: &Registries,
    images: &Images,
    pull_secrets: Option<&dyn PullSecrets>,
    end: Instant,
) -> Vec<Finding> {
    let findings = images.sources.iter().map(|(registry, (image, count))| async move {
        let finding = async {
            let logins = match pull_secrets {
                Some(pull_secrets) => logins(pull_secrets, &images.with_pull_secrets, image).await,
                None => Vec::new(),
            };
            sources::source(registries, registry, image, *count, &logins).await
        };
        timeout_at(end.into(), finding).await.unwrap_or_else(|_| not_in_time(Group::Sources, registry))
    });
    stream::iter(findings).buffered(CONCURRENT_SOURCES).collect().await
}

async fn all_further_sources(registries: &Registries, sources: &[FurtherSourceConfig], end: Instant) -> Vec<Finding> {
    let findings = sources.iter().map(|source| async move {
        let late = || Some(not_in_time(Group::Sources, &source.to_string()));
        timeout_at(end.into(), further_source(registries, source)).await.unwrap_or_else(|_| late())
    });
    let findings: Vec<Option<Finding>> = stream::iter(findings).buffered(CONCURRENT_SOURCES).collect().await;
    findings.into_iter().flatten().collect()
}

fn not_in_time(group: Group, subject: &str) -> Finding {
    let found = format!("not checked within {} s", OVERALL_DEADLINE.as_secs());
    group.failed(subject, found, "check the network; other registries may have been too slow")
}
