//! One plugin: its instances, and calls to them within the limits.

mod breaker;
mod component;
mod failure_log;
mod instance;
mod log;
mod memory;
mod pool;

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::{Instant, SystemTime},
};

use wasmtime::{
    Store,
    component::{Component, InstancePre},
};

use super::{
    bindings::types,
    engine::{Clock, Runtime},
    error::{CallError, PluginError},
    settings::{Origin, PluginLimits},
    stop::is_stopped,
};
use crate::model::{Digest, Hook, OnFailure, PluginStatus, cut};
use breaker::Breaker;
use failure_log::FailureLog;
use instance::{InstanceState, new_store, set_deadline};
use log::PluginLog;
use memory::MemoryLimiter;
use pool::{Pool, Slot};

pub use component::{Exports, link};
pub use instance::Instance;

/// The longest version of the contract that a metric's label shows, in bytes; the component chooses the text.
const MAX_VERSION: usize = 32;

/// All that determines the behaviour of a plugin. On a reload, a plugin with the same spec is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PluginSpec {
    pub name: String,
    pub origin: Origin,
    /// The digest of its code. None for the default plugins.
    pub digest: Option<Digest>,
    /// The JSON text for `configure`. None: nothing is configured.
    pub config: Option<String>,
    pub limits: PluginLimits,
    pub on_failure: OnFailure,
}

/// A loaded plugin that has accepted its configuration.
pub struct Plugin {
    spec: PluginSpec,
    pre: InstancePre<InstanceState>,
    clock: Arc<Clock>,
    exports: Exports,
    log: Arc<PluginLog>,
    instances: Pool<Instance>,
    breaker: Breaker,
    failure_log: FailureLog,
    /// The memory of all instances, in bytes.
    memory: Arc<AtomicUsize>,
    reported_memory: AtomicUsize,
    loaded: SystemTime,
    calls: AtomicU64,
    failures: Mutex<BTreeMap<&'static str, u64>>,
}

impl Plugin {
    /// Links `component`, and starts and configures its first instance.
    pub fn new(runtime: &Runtime, component: &Component, spec: PluginSpec) -> Result<Self, PluginError> {
        let (pre, exports) = link(&runtime.engine, component)?;
        if spec.config.is_some() && exports.lifecycle.is_none() {
            return Err(PluginError::TakesNoConfig);
        }
        let plugin = Self {
            failure_log: FailureLog::new(&spec.name),
            log: PluginLog::new(&spec.name, spec.limits.log_lines),
            instances: Pool::new(spec.limits.instances),
            spec,
            pre,
            clock: Arc::clone(&runtime.clock),
            exports,
            breaker: Breaker::default(),
            memory: Arc::default(),
            reported_memory: AtomicUsize::new(0),
            loaded: SystemTime::now(),
            calls: AtomicU64::new(0),
            failures: Mutex::default(),
        };
        if let Slot::Vacant = plugin.instances.take() {
            plugin.instances.release(plugin.start()?);
        }
        Ok(plugin)
    }

    pub fn name(&self) -> &str {
        &self.spec.name
    }

    pub fn spec(&self) -> &PluginSpec {
        &self.spec
    }

    pub fn on_failure(&self) -> OnFailure {
        self.spec.on_failure
    }

    pub fn failure_log(&self) -> &FailureLog {
        &self.failure_log
    }

    /// Whether it exports `hook`.
    pub fn has(&self, hook: Hook) -> bool {
        self.exports.has(hook)
    }

    pub fn status(&self) -> PluginStatus {
        PluginStatus {
            name: self.spec.name.clone(),
            module: self.spec.origin.to_string(),
            digest: self.spec.digest.clone(),
            contract: cut(&self.exports.version, MAX_VERSION).into_owned(),
            hooks: self.exports.hooks(),
            loaded: self.loaded,
            calls: self.calls.load(Ordering::Relaxed),
            failures: self.failures.lock().unwrap_or_else(PoisonError::into_inner).clone(),
            instances: self.instances.live(),
            memory: self.memory.load(Ordering::Relaxed),
            given_up_for: self.breaker.remaining_pause(Instant::now()),
        }
    }

    /// The memory of all instances in bytes, if it has changed since the last call of this function.
    pub fn changed_memory(&self) -> Option<usize> {
        let now = self.memory.load(Ordering::Relaxed);
        (self.reported_memory.swap(now, Ordering::Relaxed) != now).then_some(now)
    }

    /// Calls an instance. After a failure the instance is discarded, as its state is unknown.
    pub fn call<T>(
        &self,
        hook: impl FnOnce(&mut Instance) -> wasmtime::Result<Result<T, types::Error>>,
    ) -> Result<T, CallError> {
        self.calls.fetch_add(1, Ordering::Relaxed);
        let answer = match self.breaker.admit(Instant::now()) {
            _ if is_stopped() => Err(CallError::Stopped),
            Ok(()) => self.call_within_breaker(hook),
            Err(pause) => Err(CallError::Suspended(pause)),
        };
        if let Err(error) = &answer {
            *self.failures.lock().unwrap_or_else(PoisonError::into_inner).entry(error.kind()).or_default() += 1;
        }
        answer
    }

    fn call_within_breaker<T>(
        &self,
        hook: impl FnOnce(&mut Instance) -> wasmtime::Result<Result<T, types::Error>>,
    ) -> Result<T, CallError> {
        match self.call_instance(hook) {
            Ok(answer) => {
                self.breaker.record_answer();
                Ok(answer?)
            }
            Err(error) => {
                if let Some(pause) = self.breaker.record_failure(Instant::now()) {
                    let (plugin, seconds) = (self.name(), pause.as_secs());
                    tracing::error!(plugin, seconds, %error, "the plugin fails repeatedly and is suspended");
                }
                Err(error)
            }
        }
    }

    fn call_instance<T>(
        &self,
        hook: impl FnOnce(&mut Instance) -> wasmtime::Result<Result<T, types::Error>>,
    ) -> Result<Result<T, types::Error>, CallError> {
        let _running = self.clock.run();
        let mut instance = match self.instances.take() {
            Slot::Idle(instance) => instance,
            Slot::Vacant => self.start().inspect_err(|_| self.instances.discard()).map_err(|error| match error {
                PluginError::Start(error) => error,
                other => CallError::Trap(other.to_string()),
            })?,
        };
        let timeout = self.spec.limits.timeout;
        set_deadline(&mut instance.store, timeout);
        match hook(&mut instance) {
            Ok(answer) => {
                self.instances.release(instance);
                Ok(answer)
            }
            Err(error) => {
                drop(instance);
                self.instances.discard();
                Err(CallError::from_engine(&error, &self.spec.limits, timeout))
            }
        }
    }

    /// Creates and configures an instance.
    pub fn start(&self) -> Result<Instance, PluginError> {
        let (mut store, instance) = self.instantiate()?;
        if let Some(lifecycle) = &self.exports.lifecycle {
            let limits = &self.spec.limits;
            let timeout = limits.configure_timeout;
            let lifecycle = lifecycle.load(&mut store, &instance).map_err(PluginError::contract)?;
            let _running = self.clock.run();
            set_deadline(&mut store, timeout);
            let config = self.spec.config.as_deref().unwrap_or("null");
            let answer = lifecycle.call_configure(&mut store, config);
            let answer = answer.map_err(|error| PluginError::Start(CallError::from_engine(&error, limits, timeout)))?;
            answer.map_err(|error| PluginError::Start(error.into()))?;
        }
        let exports = &self.exports;
        let skip = exports.skip.as_ref().map(|hook| hook.load(&mut store, &instance)).transpose();
        let target_selection =
            exports.target_selection.as_ref().map(|hook| hook.load(&mut store, &instance)).transpose();
        let path_mapping = exports.path_mapping.as_ref().map(|hook| hook.load(&mut store, &instance)).transpose();
        let repository_prefix =
            exports.repository_prefix.as_ref().map(|hook| hook.load(&mut store, &instance)).transpose();
        Ok(Instance {
            skip: skip.map_err(PluginError::contract)?,
            target_selection: target_selection.map_err(PluginError::contract)?,
            path_mapping: path_mapping.map_err(PluginError::contract)?,
            repository_prefix: repository_prefix.map_err(PluginError::contract)?,
            store,
        })
    }

    /// Creates an instance without configuring it.
    pub fn instantiate(&self) -> Result<(Store<InstanceState>, wasmtime::component::Instance), PluginError> {
        let limits = &self.spec.limits;
        let _running = self.clock.run();
        let memory = MemoryLimiter::new(limits.memory, Arc::clone(&self.memory));
        let mut store = new_store(self.pre.engine(), memory, Arc::clone(&self.log), limits.output);
        set_deadline(&mut store, limits.configure_timeout);
        let failed = |error| PluginError::Start(CallError::from_engine(&error, limits, limits.configure_timeout));
        let instance = self.pre.instantiate(&mut store).map_err(failed)?;
        Ok((store, instance))
    }
}
