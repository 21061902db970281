//! `sync`: one pass over all images.

mod counts;
mod json;
mod progress;
mod rate;
mod text;
mod under_way;

use std::{collections::BTreeMap, path::PathBuf, pin::pin, process::ExitCode, sync::Arc, time::Duration};

use counts::Counts;

use tokio::{task::JoinHandle, time::timeout};

use super::{
    CommandError, aws_identity, build, collect,
    signals::{Signal, Signals},
    tasks,
};
use crate::{
    config::Config,
    mirror::{Mirror, PassReport, Stopped},
    model::{ImageUse, WorkloadId},
};

pub use progress::{Progress, SyncFormat};
pub use text::line;

/// How long the AWS identities may take after the pass.
const IDENTITY_DEADLINE: Duration = Duration::from_secs(5);
/// How long active copies may continue after a signal.
const GRACE_PERIOD: Duration = Duration::from_secs(2);
/// How long aborted uploads may take to be cancelled at the target.
const CLEANUP_DEADLINE: Duration = Duration::from_secs(5);

/// Everything that a pass needs.
struct Prepared {
    mirror: Mirror,
    workloads: BTreeMap<WorkloadId, Vec<ImageUse>>,
    identities: JoinHandle<()>,
}

/// Runs one pass over the images in the cluster or in manifest files. A signal ends it early.
pub async fn sync(
    config: &Config,
    files: &[PathBuf],
    format: SyncFormat,
    signals: &Signals,
) -> Result<ExitCode, CommandError> {
    let progress = Arc::new(Progress::new(format));
    let prepared = signals.interruptible(prepare(config, files, &progress)).await;
    let Prepared { mirror, workloads, identities } = match prepared {
        Ok(prepared) => prepared?,
        Err(signal) => return Ok(interrupted(format, signal, None)),
    };
    let showing = tokio::spawn(Arc::clone(&progress).show());
    let mut pass = pin!(pass(&mirror, workloads));
    let report = match signals.interruptible(&mut pass).await {
        Ok(report) => report?,
        Err(signal) => {
            identities.abort();
            mirror.stop(GRACE_PERIOD).await;
            let report = pass.await.ok();
            showing.abort();
            progress.finish();
            let code = interrupted(format, signal, report.as_deref());
            tasks::wait_for_background_tasks(CLEANUP_DEADLINE).await;
            return Ok(code);
        }
    };
    showing.abort();
    progress.finish();
    // Not essential: the pass has shown already whether access works.
    let _ = signals.interruptible(timeout(IDENTITY_DEADLINE, identities)).await;
    progress.summarize(&Counts::of(&report), None).map_err(CommandError::Output)?;
    Ok(if report.failures.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

async fn prepare(config: &Config, files: &[PathBuf], progress: &Arc<Progress>) -> Result<Prepared, CommandError> {
    let (policy, _) = build::policy(config, progress.clone()).await?;
    let (uses, client) = collect::image_uses_and_client(config, files).await?;
    let pull_secrets = client.and_then(|client| build::pull_secrets(config, &client));
    let aws = build::aws(config);
    let mirror = build::mirror(config, &aws, Arc::new(policy), pull_secrets.as_ref(), progress.clone())?;
    let identities = tokio::spawn(aws_identity::print(build::aws_identities(config, &aws)));
    let mut workloads = BTreeMap::<WorkloadId, Vec<ImageUse>>::new();
    for image_use in uses {
        workloads.entry(image_use.workload.id.clone()).or_default().push(image_use);
    }
    Ok(Prepared { mirror, workloads, identities })
}

async fn pass(mirror: &Mirror, workloads: BTreeMap<WorkloadId, Vec<ImageUse>>) -> Result<Arc<PassReport>, Stopped> {
    for (workload, uses) in workloads {
        mirror.set(workload, uses).await?;
    }
    mirror.single_pass().await
}

/// Prints what a pass has done until it was interrupted; without a report, it had not begun.
pub fn interrupted(format: SyncFormat, signal: Signal, report: Option<&PassReport>) -> ExitCode {
    // Ctrl-C also ends the reader of the output: a closed pipe is not a failure.
    let _ = progress::summarize(format, report.map(Counts::of).as_ref(), Some(signal.name()));
    signal.code()
}
