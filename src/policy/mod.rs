//! Hosts the plugins, WebAssembly components in a sandbox, and lets them decide about image uses.

mod bindings;
mod chain;
mod compile;
mod convert;
mod decide;
mod engine;
mod error;
#[cfg(any(fuzzing, test))]
pub mod fuzzing;
mod load;
mod module;
mod plugin;
mod repository_name;
mod settings;
mod stop;
mod test_plugin;
mod text;

use std::sync::{Arc, PoisonError, RwLock};

use futures::future;
use tokio::{sync::Semaphore, task};

use crate::model::{Decision, Event, ImageUse, Observer, PluginStatus, Verdict};
use chain::Chains;
use decide::Decider;
use engine::Runtime;

pub use chain::SkipAnswer;
pub use compile::{compile_as_child, compile_in_children};
pub use engine::EngineError;
pub use error::{CallError, CompileError, MemoryLimitExceeded, PluginError};
pub use load::LoadError;
pub use settings::{Module, Origin, PathMapRule, PluginLimits, PluginSettings, Settings, SkipSettings};
pub use stop::interrupt_calls;
pub use test_plugin::{ConfiguredTestPlugin, HookInput, TestPlugin, TestPluginError};

/// The version of the plugin contract in `wit/`.
pub const CONTRACT_VERSION: &str = "1.0.0";

/// The minimum number of image uses that is worth another thread.
const MIN_SHARE: usize = 64;

/// The loaded plugins, ready to decide.
pub struct Policy {
    runtime: Runtime,
    /// Replaced as a whole. A running decision keeps the one that it started with.
    decider: RwLock<Arc<Decider>>,
    observer: Arc<dyn Observer>,
    /// One permit per thread that decides, which also limits the instances of a plugin.
    threads: Arc<Semaphore>,
    parallel: usize,
}

/// A loaded and checked policy that is not active yet.
pub struct PreparedPolicy(Arc<Decider>);

impl Policy {
    /// Loads, checks and configures all plugins. Blocks while they are compiled.
    ///
    /// # Errors
    /// Every plugin that can't be loaded.
    pub fn load(settings: Settings, observer: Arc<dyn Observer>) -> Result<Self, Vec<LoadError>> {
        let runtime = engine::start().map_err(|error| vec![error.into()])?;
        let plugins = load::load(&runtime, &settings, &[])?;
        let none = Decider { chains: Chains::new(Vec::new()), targets: Vec::new(), observer: observer.clone() };
        let parallel = settings.threads.max(1);
        let threads = Arc::new(Semaphore::new(parallel));
        let policy = Self { runtime, decider: RwLock::new(Arc::new(none)), observer, threads, parallel };
        policy.replace(policy.prepared(settings, plugins));
        Ok(policy)
    }

    /// Loads the plugins of other settings without touching the active ones. Unchanged plugins are shared. Blocks as
    /// [`Policy::load`] does.
    ///
    /// # Errors
    /// Every plugin that can't be loaded. The active policy stays in any case.
    pub fn prepare(&self, settings: Settings) -> Result<PreparedPolicy, Vec<LoadError>> {
        let plugins = load::load(&self.runtime, &settings, self.current().chains.plugins())?;
        Ok(self.prepared(settings, plugins))
    }

    /// Activates a prepared policy for further decisions. Running decisions end with the previous one.
    pub fn replace(&self, PreparedPolicy(decider): PreparedPolicy) {
        let old = std::mem::replace(&mut *self.decider.write().unwrap_or_else(PoisonError::into_inner), decider);
        let new = self.current();
        for removed in old.chains.plugins() {
            if !new.chains.plugins().iter().any(|plugin| plugin.name() == removed.name()) {
                self.observer.observe(&Event::PluginGone { plugin: removed.name() });
            }
        }
        for plugin in new.chains.plugins() {
            if !old.chains.plugins().iter().any(|other| Arc::ptr_eq(other, plugin)) {
                self.observer.observe(&Event::PluginLoaded(&plugin.status()));
            }
        }
    }

    /// Decides about `uses` and returns the decisions in the same order, all made by the same plugins. Plugins run on
    /// blocking threads.
    pub async fn decide(&self, uses: Vec<ImageUse>) -> Vec<Decision> {
        let decider = self.current();
        let share = uses.len().div_ceil(self.parallel).max(MIN_SHARE);
        let mut rest = uses.into_iter();
        let mut shares = Vec::new();
        loop {
            let uses: Vec<ImageUse> = rest.by_ref().take(share).collect();
            if uses.is_empty() {
                break;
            }
            shares.push(self.decide_share(Arc::clone(&decider), uses));
        }
        future::join_all(shares).await.into_iter().flatten().collect()
    }

    async fn decide_share(&self, decider: Arc<Decider>, uses: Vec<ImageUse>) -> Vec<Decision> {
        let count = uses.len();
        // Acquiring fails only if the semaphore is closed, which never happens.
        let permit = Arc::clone(&self.threads).acquire_owned().await.ok();
        let clock = Arc::clone(&self.runtime.clock);
        let thread = task::spawn_blocking(move || {
            // Once for all calls: starting the clock costs a system call.
            let _running = clock.run();
            let decisions = uses.iter().map(|image_use| decider.decide(image_use)).collect();
            drop(permit);
            decisions
        });
        thread.await.unwrap_or_else(|error| {
            let verdict = Verdict::Error { reason: format!("deciding panicked: {error}"), retry: true };
            vec![Decision { verdict, trace: Vec::new() }; count]
        })
    }

    /// The status of the plugins in the order of their calls.
    pub fn plugins(&self) -> Vec<PluginStatus> {
        self.current().chains.plugins().iter().map(|plugin| plugin.status()).collect()
    }

    fn current(&self) -> Arc<Decider> {
        Arc::clone(&self.decider.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn prepared(&self, settings: Settings, plugins: Vec<Arc<plugin::Plugin>>) -> PreparedPolicy {
        let targets = settings.targets.into_iter().map(|target| {
            let input = convert::target(&target);
            (target, input)
        });
        let (targets, observer) = (targets.collect(), self.observer.clone());
        PreparedPolicy(Arc::new(Decider { chains: Chains::new(plugins), targets, observer }))
    }
}

#[cfg(test)]
mod tests;
