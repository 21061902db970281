//! `drill`: pulls every image of a restore by its own name, from the mirror alone, with the runtime that is there. Everything is
//! in a store of its own, which is removed.

mod args;
mod containerd;
mod error;
mod login;
mod registries_conf;
mod report;
mod tool;
mod unreachable;

use std::process::ExitCode;

pub use args::DrillArgs;
pub use error::DrillError;

use super::{CommandError, restore, signals::Signals};
use crate::restore::{Report, Status};
use containerd::Containerd;
use registries_conf::WithRegistriesConf;
use report::{Came, Progress};
use tool::Tool;

/// Pulls every image of the restore. Exit code 1 if one that is covered did not come up; with `strict`, if any did not.
pub async fn drill(args: &DrillArgs, signals: &Signals) -> Result<ExitCode, CommandError> {
    match signals.interruptible(rehearse(args)).await {
        Ok(code) => code,
        // What was started ends with the future, and its folder is removed.
        Err(signal) => Ok(signal.code()),
    }
}

async fn rehearse(args: &DrillArgs) -> Result<ExitCode, CommandError> {
    let restore = restore::read_list(&args.restore).map_err(DrillError::from)?;
    let tool = Tool::choose(args.runtime, restore.runtime)?;
    let store = tempfile::Builder::new().prefix("k8s-copycat-drill-").tempdir().map_err(DrillError::Scratch)?;
    let puller = Puller::prepare(tool, args, &restore, store.path()).await?;
    let mut progress = Progress::new(args.output, puller.description(), restore.runtime);
    progress.begin().map_err(CommandError::Output)?;
    for image in &restore.images {
        // A malformed name can't be asked for.
        let pulled = match image.by {
            Some(_) => puller.pull(&image.image).await,
            None => Err("its name is malformed".to_owned()),
        };
        let came = Came::new(image.status != Status::Uncovered, pulled.is_ok());
        progress.add(image, came, pulled.err()).map_err(CommandError::Output)?;
    }
    puller.stop().await;
    progress.end().map_err(CommandError::Output)?;
    Ok(if progress.has_failed(args.strict) { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// What pulls.
enum Puller {
    Containerd(Containerd),
    WithRegistriesConf(WithRegistriesConf),
}

impl Puller {
    async fn prepare(
        tool: Tool,
        args: &DrillArgs,
        restore: &Report,
        store: &std::path::Path,
    ) -> Result<Self, DrillError> {
        let login = args.auth_file.as_deref();
        Ok(match tool {
            Tool::Containerd => {
                Self::Containerd(Containerd::start(&args.restore, restore, store, args.timeout()).await?)
            }
            Tool::Podman | Tool::Skopeo => Self::WithRegistriesConf(
                WithRegistriesConf::prepare(tool, &args.restore, restore, store, login, args.timeout()).await?,
            ),
        })
    }

    /// With its version.
    fn description(&self) -> String {
        match self {
            Self::Containerd(containerd) => containerd.description(),
            Self::WithRegistriesConf(tool) => tool.description(),
        }
    }

    /// Why it did not come is safe to show.
    async fn pull(&self, image: &str) -> Result<(), String> {
        match self {
            Self::Containerd(containerd) => containerd.pull(image).await,
            Self::WithRegistriesConf(tool) => tool.pull(image).await,
        }
    }

    async fn stop(self) {
        if let Self::Containerd(containerd) = self {
            containerd.stop().await;
        }
    }
}
