//! One plugin: its instances, and calls to them within their limits.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::{Duration, Instant, SystemTime},
};

use wasmtime::{
    Store, UpdateDeadline,
    component::{Component, InstancePre},
};

use super::{
    bindings::{hooks, types},
    breaker::Breaker,
    clock::Clock,
    component::{self, Exports, LoadFault},
    engine::{Runtime, epochs},
    failure::CallError,
    limits::Limits,
    log::PluginLog,
    module::Origin,
    passed_over::PassedOver,
    pool::{Place, Pool},
    settings::{OnFailure, PluginLimits},
    stop::is_stopped,
};
use crate::model::{Digest, Hook, PluginStatus, cut};

/// Of the contract, as a component writes it: it is a metric's label.
const LONGEST_VERSION: usize = 32;

/// What the program keeps for an instance.
pub struct State {
    pub limits: Limits,
    pub log: Arc<PluginLog>,
    /// Until its deadline, in epochs.
    left: u64,
}

/// Where a plugin comes from and what it is told. Two with the same identity are the same plugin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    pub name: String,
    pub origin: Origin,
    /// Of its code; none for the default plugins.
    pub digest: Option<Digest>,
    /// JSON text for `configure`; none where there is nothing to tell.
    pub config: Option<String>,
    pub limits: PluginLimits,
    pub on_failure: OnFailure,
}

/// A loaded plugin, known to start and to accept its configuration.
pub struct Plugin {
    identity: Identity,
    pre: InstancePre<State>,
    clock: Arc<Clock>,
    exports: Exports,
    log: Arc<PluginLog>,
    instances: Pool<Instance>,
    breaker: Breaker,
    passed_over: PassedOver,
    /// Linear memory of all instances, in bytes.
    memory: Arc<AtomicUsize>,
    memory_told: AtomicUsize,
    loaded: SystemTime,
    calls: AtomicU64,
    failures: Mutex<BTreeMap<&'static str, u64>>,
}

/// An instance and its hooks.
pub struct Instance {
    pub store: Store<State>,
    pub skip: Option<hooks::skip::Guest>,
    pub target_selection: Option<hooks::target_selection::Guest>,
    pub path_mapping: Option<hooks::path_mapping::Guest>,
    pub repository_prefix: Option<hooks::repository_prefix::Guest>,
}

impl Plugin {
    /// Links `component` and configures its first instance.
    pub fn new(runtime: &Runtime, component: &Component, identity: Identity) -> Result<Self, LoadFault> {
        let (pre, exports) = component::link(&runtime.engine, component)?;
        if identity.config.is_some() && exports.lifecycle.is_none() {
            return Err(LoadFault::TakesNoConfig);
        }
        let plugin = Self {
            passed_over: PassedOver::new(&identity.name),
            log: PluginLog::new(&identity.name, identity.limits.log_lines),
            instances: Pool::new(identity.limits.instances),
            identity,
            pre,
            clock: Arc::clone(&runtime.clock),
            exports,
            breaker: Breaker::default(),
            memory: Arc::default(),
            memory_told: AtomicUsize::new(0),
            loaded: SystemTime::now(),
            calls: AtomicU64::new(0),
            failures: Mutex::default(),
        };
        if let Place::Free = plugin.instances.take() {
            plugin.instances.put_back(plugin.start()?);
        }
        Ok(plugin)
    }

    /// Its name in the configuration.
    pub fn name(&self) -> &str {
        &self.identity.name
    }

    /// What makes it this plugin and no other.
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// What a failing call means.
    pub fn on_failure(&self) -> OnFailure {
        self.identity.on_failure
    }

    /// Whether it is being passed over.
    pub fn passed_over(&self) -> &PassedOver {
        &self.passed_over
    }

    /// Whether it exports `hook`.
    pub fn answers(&self, hook: Hook) -> bool {
        self.exports.has(hook)
    }

    /// How it is doing.
    pub fn status(&self) -> PluginStatus {
        PluginStatus {
            name: self.identity.name.clone(),
            module: self.identity.origin.to_string(),
            digest: self.identity.digest.clone(),
            contract: cut(&self.exports.version, LONGEST_VERSION).into_owned(),
            hooks: self.exports.hooks(),
            loaded: self.loaded,
            calls: self.calls.load(Ordering::Relaxed),
            failures: self.failures.lock().unwrap_or_else(PoisonError::into_inner).clone(),
            instances: self.instances.live(),
            memory: self.memory.load(Ordering::Relaxed),
            given_up_for: self.breaker.rest(Instant::now()),
        }
    }

    /// The linear memory of all instances in bytes, if it is another than when this was asked last.
    pub fn changed_memory(&self) -> Option<usize> {
        let now = self.memory.load(Ordering::Relaxed);
        (self.memory_told.swap(now, Ordering::Relaxed) != now).then_some(now)
    }

    /// Asks an instance. One that broke down is thrown away, as nothing is known of its state.
    pub fn call<T>(
        &self,
        ask: impl FnOnce(&mut Instance) -> wasmtime::Result<Result<T, types::Error>>,
    ) -> Result<T, CallError> {
        self.calls.fetch_add(1, Ordering::Relaxed);
        let answer = match self.breaker.admit(Instant::now()) {
            _ if is_stopped() => Err(CallError::Stopped),
            Ok(()) => self.answer(ask),
            Err(left) => Err(CallError::GivenUp(left)),
        };
        if let Err(error) = &answer {
            *self.failures.lock().unwrap_or_else(PoisonError::into_inner).entry(error.kind()).or_default() += 1;
        }
        answer
    }

    fn answer<T>(
        &self,
        ask: impl FnOnce(&mut Instance) -> wasmtime::Result<Result<T, types::Error>>,
    ) -> Result<T, CallError> {
        match self.ask_one(ask) {
            Ok(answer) => {
                self.breaker.answered();
                Ok(answer?)
            }
            Err(error) => {
                if let Some(pause) = self.breaker.broke_down(Instant::now()) {
                    let (plugin, seconds) = (self.name(), pause.as_secs());
                    tracing::error!(plugin, seconds, %error, "the plugin keeps breaking down; it is not asked for a while");
                }
                Err(error)
            }
        }
    }

    fn ask_one<T>(
        &self,
        ask: impl FnOnce(&mut Instance) -> wasmtime::Result<Result<T, types::Error>>,
    ) -> Result<Result<T, types::Error>, CallError> {
        let _running = self.clock.run();
        let mut instance = match self.instances.take() {
            Place::Ready(instance) => instance,
            Place::Free => self.start().inspect_err(|_| self.instances.lost()).map_err(|fault| match fault {
                LoadFault::Start(error) => error,
                other => CallError::Trap(other.to_string()),
            })?,
        };
        let timeout = self.identity.limits.timeout;
        set_deadline(&mut instance.store, timeout);
        match ask(&mut instance) {
            Ok(answer) => {
                self.instances.put_back(instance);
                Ok(answer)
            }
            Err(error) => {
                drop(instance);
                self.instances.lost();
                Err(CallError::from_engine(&error, &self.identity.limits, timeout))
            }
        }
    }

    /// A new instance, configured.
    pub fn start(&self) -> Result<Instance, LoadFault> {
        let (mut store, instance) = self.instantiate()?;
        if let Some(lifecycle) = &self.exports.lifecycle {
            let limits = &self.identity.limits;
            let timeout = limits.configure_timeout;
            let lifecycle = lifecycle.load(&mut store, &instance).map_err(component::contract)?;
            let _running = self.clock.run();
            set_deadline(&mut store, timeout);
            let config = self.identity.config.as_deref().unwrap_or("null");
            let answer = lifecycle.call_configure(&mut store, config);
            let answer = answer.map_err(|error| LoadFault::Start(CallError::from_engine(&error, limits, timeout)))?;
            answer.map_err(|error| LoadFault::Start(error.into()))?;
        }
        let exports = &self.exports;
        let skip = exports.skip.as_ref().map(|hook| hook.load(&mut store, &instance)).transpose();
        let target_selection =
            exports.target_selection.as_ref().map(|hook| hook.load(&mut store, &instance)).transpose();
        let path_mapping = exports.path_mapping.as_ref().map(|hook| hook.load(&mut store, &instance)).transpose();
        let repository_prefix =
            exports.repository_prefix.as_ref().map(|hook| hook.load(&mut store, &instance)).transpose();
        Ok(Instance {
            skip: skip.map_err(component::contract)?,
            target_selection: target_selection.map_err(component::contract)?,
            path_mapping: path_mapping.map_err(component::contract)?,
            repository_prefix: repository_prefix.map_err(component::contract)?,
            store,
        })
    }

    /// A new instance that has been told nothing.
    pub fn instantiate(&self) -> Result<(Store<State>, wasmtime::component::Instance), LoadFault> {
        let limits = &self.identity.limits;
        let _running = self.clock.run();
        let state =
            State { limits: Limits::new(limits.memory, Arc::clone(&self.memory)), log: Arc::clone(&self.log), left: 0 };
        let mut store = Store::new(self.pre.engine(), state);
        store.limiter(|state| &mut state.limits);
        store.set_hostcall_fuel(limits.output);
        store.epoch_deadline_callback(|mut store| Ok(tick(store.data_mut())));
        set_deadline(&mut store, limits.configure_timeout);
        let broken = |error| LoadFault::Start(CallError::from_engine(&error, limits, limits.configure_timeout));
        let instance = self.pre.instantiate(&mut store).map_err(broken)?;
        Ok((store, instance))
    }
}

/// Gives what runs next in `store` this long. Each epoch is looked at by itself, so that the end of the program need not
/// wait for the deadline.
fn set_deadline(store: &mut Store<State>, timeout: Duration) {
    store.data_mut().left = epochs(timeout);
    store.set_epoch_deadline(1);
}

/// An epoch is over.
fn tick(state: &mut State) -> UpdateDeadline {
    state.left = state.left.saturating_sub(1);
    if state.left == 0 || is_stopped() { UpdateDeadline::Interrupt } else { UpdateDeadline::Continue(1) }
}
