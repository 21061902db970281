//! Asks the plugins: WebAssembly components in a sandbox, a chain for each hook.

mod bindings;
mod breaker;
mod chain;
mod clock;
mod compile;
mod component;
mod decide;
mod engine;
mod engine_config;
mod failure;
#[cfg(any(fuzzing, test))]
pub mod fuzzing;
mod limits;
mod load;
mod log;
mod module;
mod name;
mod passed_over;
mod plugin;
mod pool;
mod probe;
mod question;
mod settings;
mod stop;
mod text;

use std::sync::{Arc, PoisonError, RwLock};

use futures::future;
use tokio::{sync::Semaphore, task};

use crate::model::{Decision, Event, ImageUse, Observer, PluginStatus, Verdict};
use chain::Chains;
use decide::Decider;
use engine::Runtime;

pub use chain::Skip;
pub use compile::{CompileFault, compile_as_child, compile_in_children};
pub use component::LoadFault;
pub use engine::EngineError;
pub use failure::CallError;
pub use limits::OverLimit;
pub use load::LoadError;
pub use module::{Module, Origin};
pub use probe::{Probe, ProbeError, ProbedPlugin, Question};
pub use settings::{OnFailure, PathMapRule, PluginLimits, PluginSettings, Settings, SkipSettings};
pub use stop::stop;

/// Fewer image uses than this are not worth another thread.
const SMALLEST_SHARE: usize = 64;

/// The loaded plugins, ready to decide.
pub struct Policy {
    runtime: Runtime,
    /// Replaced as a whole: who decides holds one to the end of its image uses.
    decider: RwLock<Arc<Decider>>,
    observer: Arc<dyn Observer>,
    /// Who decides holds one: there are at most as many instances of a plugin.
    threads: Arc<Semaphore>,
    parallel: usize,
}

/// What a policy can be replaced by: loaded, checked, and not asked yet.
pub struct Successor(Arc<Decider>);

impl Policy {
    /// Loads, checks and configures every plugin. Blocks while they are compiled. The errors name every plugin that
    /// can't be used.
    pub fn load(settings: Settings, observer: Arc<dyn Observer>) -> Result<Self, Vec<LoadError>> {
        let runtime = engine::start().map_err(|error| vec![error.into()])?;
        let plugins = load::load(&runtime, &settings, &[])?;
        let none = Decider { chains: Chains::new(Vec::new()), targets: Vec::new(), observer: observer.clone() };
        let parallel = settings.threads.max(1);
        let threads = Arc::new(Semaphore::new(parallel));
        let policy = Self { runtime, decider: RwLock::new(Arc::new(none)), observer, threads, parallel };
        policy.replace(policy.successor_of(settings, plugins));
        Ok(policy)
    }

    /// Loads what other settings ask for, beside what is asked meanwhile. Plugins that are the same go on as they are.
    /// Blocks as [`Policy::load`] does.
    ///
    /// # Errors
    /// Every plugin that can't be used; nothing has changed then.
    pub fn prepare(&self, settings: Settings) -> Result<Successor, Vec<LoadError>> {
        let plugins = load::load(&self.runtime, &settings, self.current().chains.plugins())?;
        Ok(self.successor_of(settings, plugins))
    }

    /// From now on decisions are the successor's. Those under way end as they began.
    pub fn replace(&self, Successor(decider): Successor) {
        let old = std::mem::replace(&mut *self.decider.write().unwrap_or_else(PoisonError::into_inner), decider);
        let new = self.current();
        for gone in old.chains.plugins() {
            if !new.chains.plugins().iter().any(|plugin| plugin.name() == gone.name()) {
                self.observer.observe(&Event::PluginGone { plugin: gone.name() });
            }
        }
        for plugin in new.chains.plugins() {
            if !old.chains.plugins().iter().any(|other| Arc::ptr_eq(other, plugin)) {
                self.observer.observe(&Event::PluginLoaded(&plugin.status()));
            }
        }
    }

    /// The decisions on `uses`, in their order, all by the same plugins. Plugins think on blocking threads.
    pub async fn decide(&self, uses: Vec<ImageUse>) -> Vec<Decision> {
        let decider = self.current();
        let share = uses.len().div_ceil(self.parallel).max(SMALLEST_SHARE);
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
        // The semaphore is never closed, so there always is a permit to wait for.
        let permit = Arc::clone(&self.threads).acquire_owned().await.ok();
        let clock = Arc::clone(&self.runtime.clock);
        let thread = task::spawn_blocking(move || {
            // For all of them at once: to start it for each call costs a system call.
            let _running = clock.run();
            let decisions = uses.iter().map(|image_use| decider.decide(image_use)).collect();
            drop(permit);
            decisions
        });
        thread.await.unwrap_or_else(|error| {
            let verdict = Verdict::Error { reason: format!("deciding broke down: {error}"), retry: true };
            vec![Decision { source: None, verdict, trace: Vec::new() }; count]
        })
    }

    /// The plugins in the order asked, and how they are doing.
    pub fn plugins(&self) -> Vec<PluginStatus> {
        self.current().chains.plugins().iter().map(|plugin| plugin.status()).collect()
    }

    fn current(&self) -> Arc<Decider> {
        Arc::clone(&self.decider.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn successor_of(&self, settings: Settings, plugins: Vec<Arc<plugin::Plugin>>) -> Successor {
        let targets = settings.targets.into_iter().map(|target| {
            let offered = question::target(&target);
            (target, offered)
        });
        let (targets, observer) = (targets.collect(), self.observer.clone());
        Successor(Arc::new(Decider { chains: Chains::new(plugins), targets, observer }))
    }
}

#[cfg(test)]
mod tests;
