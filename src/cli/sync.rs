//! `sync`: one pass over all images, and then the end.

use std::{collections::BTreeMap, io::Write, process::ExitCode, sync::Arc, time::Duration};

use crate::{
    config::Config,
    mirror::PassReport,
    model::{ImageUse, WorkloadId},
};

use super::{CommandError, assemble, gather, identity, progress::Progress, stores};

/// How long the end waits to tell who wrote.
const LONGEST_IDENTIFYING: Duration = Duration::from_secs(5);

/// One pass over the images of the cluster, or of manifest files.
pub async fn sync(config: &Config, files: &[std::path::PathBuf]) -> Result<ExitCode, CommandError> {
    let progress = Arc::new(Progress::new());
    let (policy, _) = assemble::policy(config, progress.clone()).await?;
    let uses = gather::uses(config, files).await?;
    let aws = assemble::aws(config);
    let mirror = assemble::mirror(config, &aws, Arc::new(policy), progress.clone())?;
    let identified = tokio::spawn(identity::show(stores::identities(config, &aws)));
    let mut workloads = BTreeMap::<WorkloadId, Vec<ImageUse>>::new();
    for image_use in uses {
        workloads.entry(image_use.workload.id.clone()).or_default().push(image_use);
    }
    for (workload, uses) in workloads {
        mirror.set(workload, uses).await?;
    }
    let report = tokio::select! {
        report = mirror.only_pass() => report?,
        signal = super::signals::ended() => return Err(CommandError::Interrupted(signal)),
    };
    progress.finish();
    // Where AWS does not say who we are, the pass has said already what works.
    let _ = tokio::time::timeout(LONGEST_IDENTIFYING, identified).await;
    let mut out = std::io::stdout().lock();
    summary(&mut out, &report).map_err(CommandError::Output)?;
    Ok(if report.failures.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn summary(out: &mut dyn Write, report: &PassReport) -> std::io::Result<()> {
    let mut counts = BTreeMap::<&str, usize>::new();
    let mut bytes = 0;
    for outcome in &report.outcomes {
        *counts.entry(outcome.status.name()).or_default() += 1;
        bytes += outcome.bytes;
    }
    if report.undecided > 0 {
        counts.insert("undecided", report.undecided);
    }
    let counts = |names: &[(&str, &str)]| {
        let told = names.iter().filter_map(|(name, word)| Some(format!("{} {word}", counts.get(name)?)));
        told.collect::<Vec<_>>().join(", ")
    };
    let told = counts(&[
        ("copied", "copied"),
        ("already_there", "already there"),
        ("would_copy", "would be copied"),
        ("would_pull", "would be pulled"),
        ("failed", "failed"),
        ("undecided", "undecided"),
    ]);
    let told = if told.is_empty() { "no images to mirror".to_owned() } else { told };
    writeln!(out, "{told}; {} workloads, {bytes} bytes sent", report.workloads)
}
