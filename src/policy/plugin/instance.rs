//! One instance of a plugin, and the deadline of its call.

use std::{sync::Arc, time::Duration};

use wasmtime::{Engine, Store, UpdateDeadline};

use super::{log::PluginLog, memory::MemoryLimiter};
use crate::policy::{bindings::hooks, engine::epochs, stop::is_stopped};

/// What the engine keeps for an instance.
pub struct InstanceState {
    pub log: Arc<PluginLog>,
    memory: MemoryLimiter,
    /// Epochs until the deadline.
    epochs_left: u64,
}

/// An instance and the hooks that it exports.
pub struct Instance {
    pub store: Store<InstanceState>,
    pub skip: Option<hooks::skip::Guest>,
    pub target_selection: Option<hooks::target_selection::Guest>,
    pub path_mapping: Option<hooks::path_mapping::Guest>,
    pub repository_prefix: Option<hooks::repository_prefix::Guest>,
}

/// A store for one instance. A call may return or log at most `output` bytes.
pub fn new_store(engine: &Engine, memory: MemoryLimiter, log: Arc<PluginLog>, output: usize) -> Store<InstanceState> {
    let mut store = Store::new(engine, InstanceState { log, memory, epochs_left: 0 });
    store.limiter(|state| &mut state.memory);
    store.set_hostcall_fuel(output);
    store.epoch_deadline_callback(|mut store| Ok(on_epoch(store.data_mut())));
    store
}

/// Sets the deadline of the next call. The engine calls back at each epoch rather than at the deadline, so that a
/// shutdown need not wait for it.
pub fn set_deadline(store: &mut Store<InstanceState>, timeout: Duration) {
    store.data_mut().epochs_left = epochs(timeout);
    store.set_epoch_deadline(1);
}

fn on_epoch(state: &mut InstanceState) -> UpdateDeadline {
    state.epochs_left = state.epochs_left.saturating_sub(1);
    if state.epochs_left == 0 || is_stopped() { UpdateDeadline::Interrupt } else { UpdateDeadline::Continue(1) }
}
