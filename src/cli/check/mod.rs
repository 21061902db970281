//! `check`: what would fail, before it does. Changes nothing, and leaves nothing behind.

mod cluster;
mod configuration;
mod deadline;
mod finding;
mod further_sources;
mod images;
mod pull_secrets;
mod registries;
mod report;
mod rights;
mod sources;
mod targets;

use std::{path::PathBuf, process::ExitCode};

use configuration::{CORRECT, LoadedPolicy};
use finding::Group;
use images::Images;
use report::Report;

pub use report::CheckFormat;

use super::{CommandError, build, error::INVALID_CONFIGURATION};
use crate::{
    config::{ConfigErrors, Loaded},
    workload,
};

/// Checks everything that `run`, or `sync` with `files`, would need. `offline`: configuration and plugins alone. Exit code 1
/// if something failed, 2 if configuration or plugins are invalid.
pub async fn check(
    loaded: Result<Loaded, ConfigErrors>,
    files: &[PathBuf],
    offline: bool,
    output: CheckFormat,
) -> Result<ExitCode, CommandError> {
    let mut report = Report::new(output);
    let is_valid = match loaded {
        Ok(loaded) => valid_configuration(&mut report, loaded, files, offline).await?,
        Err(errors) => {
            report.add(configuration::invalid_settings(&errors))?;
            report.add(configuration::invalid_plugins(&build::invalid_plugins(errors.plugins())))?;
            false
        }
    };
    report.end()?;
    Ok(match (is_valid, report.has_failures()) {
        (false, _) => ExitCode::from(INVALID_CONFIGURATION),
        (true, true) => ExitCode::FAILURE,
        (true, false) => ExitCode::SUCCESS,
    })
}

/// Returns whether the plugins are valid too.
async fn valid_configuration(
    report: &mut Report,
    loaded: Loaded,
    files: &[PathBuf],
    offline: bool,
) -> Result<bool, CommandError> {
    report.add(configuration::settings(&loaded))?;
    let config = loaded.config;
    if offline {
        let (findings, are_valid) = configuration::plugins_offline(config).await?;
        report.add(findings)?;
        return Ok(are_valid);
    }
    let LoadedPolicy { policy, findings, is_invalid } = configuration::plugins(&config).await;
    report.add(findings)?;
    let mut has_workloads = true;
    if files.is_empty() {
        let (findings, can_list) = cluster::cluster(&config).await;
        report.add(findings)?;
        has_workloads = can_list;
    }
    let images = match &policy {
        Some(policy) if has_workloads => {
            let (findings, images) = images::images(&config, files, policy).await;
            report.add(findings)?;
            images
        }
        _ => {
            let remedy = "correct what failed above, or name manifest files with -f";
            let unknown = "not known, so no source is checked, and targets with a neutral repository";
            report.add(vec![Group::Images.warning("workloads", unknown, remedy)])?;
            Images::default()
        }
    };
    let mut secrets = None;
    if files.is_empty()
        && has_workloads
        && !config.watch.pull_secrets.is_off()
        && let Ok(client) = workload::client(config.process.kubeconfig.as_deref()).await
    {
        report.add(pull_secrets::pull_secrets(&client, &images.with_pull_secrets).await)?;
        secrets = build::pull_secrets(&config, &client);
    }
    match registries::registries(&config, &images, secrets.as_deref()).await {
        Ok(groups) => {
            for findings in groups {
                report.add(findings)?;
            }
            Ok(!is_invalid)
        }
        Err(error) => {
            report.add(vec![Group::Configuration.failed("registries", error.to_string(), CORRECT)])?;
            Ok(false)
        }
    }
}
