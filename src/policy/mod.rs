//! Asks the plugins: WebAssembly components in a sandbox, a chain for each hook.

mod bindings;
mod chain;
mod clock;
mod component;
mod decide;
mod engine;
mod engine_config;
mod failure;
mod limits;
mod load;
mod log;
mod name;
mod plugin;
mod probe;
mod question;
mod settings;
mod text;

use std::{path::PathBuf, sync::Arc, thread};

use futures::future;
use tokio::{sync::Semaphore, task};

use crate::model::{Decision, Hook, ImageUse, Observer, Verdict};
use chain::Chains;
use decide::Decider;

pub use chain::Skip;
pub use component::LoadFault;
pub use engine::EngineError;
pub use failure::CallError;
pub use limits::OverLimit;
pub use load::{LoadError, Origin};
pub use probe::{Probe, ProbeError, ProbedPlugin, Question};
pub use settings::{OnFailure, PathMapRule, PluginLimits, PluginSettings, Settings, SkipSettings};

/// Fewer image uses than this are not worth another thread.
const SMALLEST_SHARE: usize = 64;

/// The loaded plugins, ready to decide.
pub struct Policy {
    decider: Arc<Decider>,
    /// Who decides holds one: there are at most as many instances of a plugin as processors.
    threads: Arc<Semaphore>,
    parallel: usize,
}

/// A plugin, for the log of the start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PluginInfo {
    /// Its name in the configuration.
    pub name: String,
    /// Its file; none for the default plugins.
    pub module: Option<PathBuf>,
    /// What it answers, in the order asked.
    pub hooks: Vec<Hook>,
}

impl Policy {
    /// Loads, checks and configures every plugin. Blocks while they are compiled. The errors name every plugin that
    /// can't be used.
    pub fn load(settings: Settings, observer: Arc<dyn Observer>) -> Result<Self, Vec<LoadError>> {
        let chains = Chains::new(load::load(&settings)?);
        let targets = settings.targets.into_iter().map(|target| {
            let offered = question::target(&target);
            (target, offered)
        });
        let decider = Arc::new(Decider { chains, targets: targets.collect(), observer });
        let parallel = thread::available_parallelism().map_or(1, Into::into);
        Ok(Self { decider, threads: Arc::new(Semaphore::new(parallel)), parallel })
    }

    /// The decisions on `uses`, in their order. Plugins think on blocking threads.
    pub async fn decide(&self, uses: Vec<ImageUse>) -> Vec<Decision> {
        let share = uses.len().div_ceil(self.parallel).max(SMALLEST_SHARE);
        let mut rest = uses.into_iter();
        let mut shares = Vec::new();
        loop {
            let uses: Vec<ImageUse> = rest.by_ref().take(share).collect();
            if uses.is_empty() {
                break;
            }
            shares.push(self.decide_share(uses));
        }
        future::join_all(shares).await.into_iter().flatten().collect()
    }

    async fn decide_share(&self, uses: Vec<ImageUse>) -> Vec<Decision> {
        let count = uses.len();
        let decider = Arc::clone(&self.decider);
        // The semaphore is never closed, so there always is a permit to wait for.
        let permit = Arc::clone(&self.threads).acquire_owned().await.ok();
        let thread = task::spawn_blocking(move || {
            let decisions = uses.iter().map(|image_use| decider.decide(image_use)).collect();
            drop(permit);
            decisions
        });
        thread.await.unwrap_or_else(|error| {
            let verdict = Verdict::Error { reason: format!("deciding broke down: {error}"), retry: true };
            vec![Decision { source: None, verdict, trace: Vec::new() }; count]
        })
    }

    /// Who answers what, in the order asked.
    pub fn plugins(&self) -> Vec<PluginInfo> {
        let info = |plugin: &Arc<plugin::Plugin>| PluginInfo {
            name: plugin.name().to_owned(),
            module: plugin.module().cloned(),
            hooks: plugin.hooks(),
        };
        self.decider.chains.plugins().iter().map(info).collect()
    }
}

#[cfg(test)]
mod tests;
