//! `sync`: one pass over all images, and then the end.

use std::{collections::BTreeMap, io::Write, path::PathBuf, pin::pin, process::ExitCode, sync::Arc, time::Duration};

use tokio::{task::JoinHandle, time::timeout};

use crate::{
    config::Config,
    mirror::{Mirror, PassReport, Stopped},
    model::{ImageUse, WorkloadId},
};

use super::{
    CommandError, assemble, gather, identity,
    progress::Progress,
    quiet,
    signals::{Signal, Signals},
    stores,
};

/// How long the end waits to tell who wrote.
const LONGEST_IDENTIFYING: Duration = Duration::from_secs(5);
/// How long copies under way may take to end after a signal.
const GRACE: Duration = Duration::from_secs(2);
/// How long uploads that were broken off may take to be cancelled at the target.
const LONGEST_CLEANING: Duration = Duration::from_secs(5);

/// What a pass is made with.
struct Prepared {
    mirror: Mirror,
    workloads: BTreeMap<WorkloadId, Vec<ImageUse>>,
    identified: JoinHandle<()>,
}

/// One pass over the images of the cluster, or of manifest files. A signal ends it early.
pub async fn sync(config: &Config, files: &[PathBuf], signals: &Signals) -> Result<ExitCode, CommandError> {
    let progress = Arc::new(Progress::new());
    let prepared = signals.or(prepare(config, files, &progress)).await;
    let Prepared { mirror, workloads, identified } = match prepared {
        Ok(prepared) => prepared?,
        Err(signal) => return Ok(interrupted(signal, None)),
    };
    let mut pass = pin!(pass(&mirror, workloads));
    let report = match signals.or(&mut pass).await {
        Ok(report) => report?,
        Err(signal) => {
            identified.abort();
            mirror.stop(GRACE).await;
            let report = pass.await.ok();
            progress.finish();
            let code = interrupted(signal, report.as_deref());
            quiet::quiet(LONGEST_CLEANING).await;
            return Ok(code);
        }
    };
    progress.finish();
    // Where AWS does not say who we are, the pass has said already what works.
    let _ = signals.or(timeout(LONGEST_IDENTIFYING, identified)).await;
    let mut out = std::io::stdout().lock();
    writeln!(out, "{}", summary(&report)).map_err(CommandError::Output)?;
    Ok(if report.failures.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

async fn prepare(config: &Config, files: &[PathBuf], progress: &Arc<Progress>) -> Result<Prepared, CommandError> {
    let (policy, _) = assemble::policy(config, progress.clone()).await?;
    let uses = gather::uses(config, files).await?;
    let aws = assemble::aws(config);
    let mirror = assemble::mirror(config, &aws, Arc::new(policy), progress.clone())?;
    let identified = tokio::spawn(identity::show(stores::identities(config, &aws)));
    let mut workloads = BTreeMap::<WorkloadId, Vec<ImageUse>>::new();
    for image_use in uses {
        workloads.entry(image_use.workload.id.clone()).or_default().push(image_use);
    }
    Ok(Prepared { mirror, workloads, identified })
}

async fn pass(mirror: &Mirror, workloads: BTreeMap<WorkloadId, Vec<ImageUse>>) -> Result<Arc<PassReport>, Stopped> {
    for (workload, uses) in workloads {
        mirror.set(workload, uses).await?;
    }
    mirror.single_pass().await
}

/// Tells how far a pass came that a signal has ended; none where it had not begun.
pub fn interrupted(signal: Signal, report: Option<&PassReport>) -> ExitCode {
    let told = report.map_or_else(|| "nothing was looked at yet".to_owned(), summary);
    // Ctrl-C ends who reads as well: that nobody does is no failure of its own.
    let _ = writeln!(std::io::stdout(), "interrupted by {}: {told}", signal.name());
    signal.code()
}

fn summary(report: &PassReport) -> String {
    let mut counts = BTreeMap::<&str, usize>::new();
    let mut bytes = 0;
    for outcome in &report.outcomes {
        *counts.entry(outcome.status.name()).or_default() += 1;
        bytes += outcome.bytes;
    }
    for (name, count) in [("undecided", report.undecided), ("left", report.remaining.destinations)] {
        if count > 0 {
            counts.insert(name, count);
        }
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
        ("left", "not done"),
    ]);
    let left = match report.remaining.workloads {
        0 => String::new(),
        workloads => format!(", {workloads} not looked at"),
    };
    let told = match (told.is_empty(), report.remaining.workloads) {
        (false, _) => told,
        (true, 0) => "no images to mirror".to_owned(),
        (true, _) => "nothing done".to_owned(),
    };
    format!("{told}; {} workloads{left}, {bytes} bytes sent", report.workloads)
}
