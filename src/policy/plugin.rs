//! One plugin: its instances, and calls to them within their limits.

use std::{
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
};

use wasmtime::{
    Store,
    component::{Component, InstancePre},
};

use super::{
    bindings::{hooks, types},
    clock::Clock,
    component::{self, Exports, LoadFault},
    engine::{Runtime, epochs},
    failure::CallError,
    limits::Limits,
    log::PluginLog,
    settings::{OnFailure, PluginLimits},
};
use crate::model::Hook;

/// What the program keeps for an instance.
pub struct State {
    pub limits: Limits,
    pub log: Arc<PluginLog>,
}

/// Where a plugin comes from and what it is told.
pub struct Identity {
    pub name: String,
    /// None for the default plugins.
    pub module: Option<PathBuf>,
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
    /// Configured, and not being asked at the moment.
    idle: Mutex<Vec<Instance>>,
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
        let log = PluginLog::new(&identity.name);
        let plugin = Self { identity, pre, clock: Arc::clone(&runtime.clock), exports, log, idle: Mutex::default() };
        let first = plugin.start()?;
        plugin.put_back(first);
        Ok(plugin)
    }

    /// Its name in the configuration.
    pub fn name(&self) -> &str {
        &self.identity.name
    }

    /// Its file; none for the default plugins.
    pub fn module(&self) -> Option<&PathBuf> {
        self.identity.module.as_ref()
    }

    /// What a failing call means.
    pub fn on_failure(&self) -> OnFailure {
        self.identity.on_failure
    }

    /// Whether it exports `hook`.
    pub fn answers(&self, hook: Hook) -> bool {
        self.exports.has(hook)
    }

    /// The hooks it answers.
    pub fn hooks(&self) -> Vec<Hook> {
        self.exports.hooks()
    }

    /// Asks an instance. One that broke down is thrown away, as nothing is known of its state.
    pub fn call<T>(
        &self,
        ask: impl FnOnce(&mut Instance) -> wasmtime::Result<Result<T, types::Error>>,
    ) -> Result<T, CallError> {
        let _running = self.clock.run();
        let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let mut instance = match idle {
            Some(instance) => instance,
            None => self.start().map_err(|fault| match fault {
                LoadFault::Start(error) => error,
                other => CallError::Trap(other.to_string()),
            })?,
        };
        let timeout = self.identity.limits.timeout;
        instance.store.set_epoch_deadline(epochs(timeout));
        let answer = ask(&mut instance).map_err(|error| CallError::from_engine(&error, timeout))?;
        self.put_back(instance);
        Ok(answer?)
    }

    fn put_back(&self, instance: Instance) {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).push(instance);
    }

    /// A new instance, configured.
    pub fn start(&self) -> Result<Instance, LoadFault> {
        let (mut store, instance) = self.instantiate()?;
        if let Some(lifecycle) = &self.exports.lifecycle {
            let timeout = self.identity.limits.configure_timeout;
            let lifecycle = lifecycle.load(&mut store, &instance).map_err(component::contract)?;
            let _running = self.clock.run();
            store.set_epoch_deadline(epochs(timeout));
            let config = self.identity.config.as_deref().unwrap_or("null");
            let answer = lifecycle.call_configure(&mut store, config);
            let answer = answer.map_err(|error| LoadFault::Start(CallError::from_engine(&error, timeout)))?;
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
        let PluginLimits { configure_timeout: timeout, memory, .. } = self.identity.limits;
        let _running = self.clock.run();
        let state = State { limits: Limits::new(memory), log: Arc::clone(&self.log) };
        let mut store = Store::new(self.pre.engine(), state);
        store.limiter(|state| &mut state.limits);
        store.set_epoch_deadline(epochs(timeout));
        let instance = self.pre.instantiate(&mut store);
        let instance = instance.map_err(|error| LoadFault::Start(CallError::from_engine(&error, timeout)))?;
        Ok((store, instance))
    }
}
