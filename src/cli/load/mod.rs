//! `load`: copies an image layout into a target.

mod counts;
mod json;
mod listener;
mod target;
mod text;

use std::{path::PathBuf, process::ExitCode, sync::Arc, time::Duration};

use clap::Args;

use self::listener::Listener;
use super::{
    CommandError, build,
    signals::{Signal, Signals},
    sync::{Progress, SyncFormat},
    tasks,
};
use crate::{
    config::Config,
    mirror::{LoadEvent, LoadSettings, Loader},
    registry::LayoutSource,
};

pub use target::LoadTargetError;

/// How long aborted uploads may take to be cancelled at the target.
const CLEANUP_DEADLINE: Duration = Duration::from_secs(5);

/// The flags of `load`.
#[derive(Clone, Debug, PartialEq, Eq, Args)]
pub struct LoadArgs {
    /// The folder of the layout, as `sync` or another tool wrote it, or a tar file of it
    #[arg(value_name = "LAYOUT")]
    layout: PathBuf,
    /// Load into the target with this name; needed if several are configured
    #[arg(long, value_name = "NAME")]
    target: Option<String>,
    /// The format of the outcomes
    #[arg(short, long, value_name = "FORMAT", default_value = "text")]
    pub output: SyncFormat,
}

/// Loads a layout. A signal ends it early; the next run goes on.
pub async fn load(config: &Config, args: &LoadArgs, signals: &Signals) -> Result<ExitCode, CommandError> {
    let loader = match signals.interruptible(loader(config, args)).await {
        Ok(loader) => loader?,
        Err(signal) => return Ok(interrupted(args.output, signal)),
    };
    let listener = Arc::new(Listener::new(Arc::new(Progress::new(args.output)), args.output));
    let showing = tokio::spawn(Arc::clone(listener.progress()).show());
    let on_event = {
        let listener = Arc::clone(&listener);
        Arc::new(move |event: LoadEvent<'_>| listener.hear(&event))
    };
    let loaded = signals.interruptible(loader.load(on_event)).await;
    showing.abort();
    listener.progress().finish();
    match loaded {
        Ok(loaded) => loaded?,
        Err(signal) => {
            // Ctrl-C also ends the reader of the output: a closed pipe is not a failure.
            let _ = listener.summarize(Some(signal.name()));
            tasks::wait_for_background_tasks(CLEANUP_DEADLINE).await;
            return Ok(signal.code());
        }
    }
    let is_complete = listener.summarize(None).map_err(CommandError::Output)?;
    Ok(if is_complete { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The end of a run that a signal ended before it began.
pub fn interrupted(format: SyncFormat, signal: Signal) -> ExitCode {
    let listener = Listener::new(Arc::new(Progress::new(format)), format);
    let _ = listener.summarize(Some(signal.name()));
    signal.code()
}

async fn loader(config: &Config, args: &LoadArgs) -> Result<Loader, CommandError> {
    let (configured, target) = target::chosen(config, &build::targets(config), args.target.as_deref())?;
    let access = build::registry_settings(config, &build::aws(config), Arc::new(()));
    let registries = build::registries(config, access.clone())?;
    let store = build::store(configured, &registries, &access);
    let settings = LoadSettings {
        allow_different_digest_repush: config.copy.allow_different_digest_repush,
        referrers_required: config.copy.referrers.required,
        dry_run: config.copy.dry_run,
        dry_pull: config.copy.dry_pull,
        max_concurrent_blobs: config.copy.max_concurrent_blobs,
        backoff: build::backoff(config),
    };
    let layout = LayoutSource::open(args.layout.clone()).await?;
    Ok(Loader::new(layout, store, target, settings))
}
