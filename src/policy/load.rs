//! Loads all plugins of the settings, and reports every one that can't be loaded.

use std::{sync::Arc, thread};

use super::{
    compile,
    engine::{EngineError, Runtime},
    error::{CompileError, PluginError},
    module::read_module,
    plugin::{Plugin, PluginSpec},
    settings::{Origin, PluginLimits, PluginSettings, Settings},
};
use crate::model::{Hook, OnFailure};

/// Why the policy can't be loaded. Retrying does not help.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// No plugin can run on this host.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// This plugin can't be loaded.
    #[error("plugin {plugin} ({origin}): {error}")]
    Plugin {
        /// Its name in the configuration.
        plugin: String,
        /// Where it comes from.
        origin: Origin,
        /// Why it can't be loaded.
        error: PluginError,
    },
}

/// The name of a hook's default plugin, and its code, which the build script compiled.
fn default_plugin(hook: Hook) -> (&'static str, &'static [u8]) {
    match hook {
        Hook::Skip => ("skip", include_bytes!(concat!(env!("OUT_DIR"), "/skip.cwasm"))),
        Hook::TargetSelection => {
            ("target-selection", include_bytes!(concat!(env!("OUT_DIR"), "/target-selection.cwasm")))
        }
        Hook::PathMapping => ("path-map", include_bytes!(concat!(env!("OUT_DIR"), "/path-map.cwasm"))),
        Hook::RepositoryPrefix => ("repo-prefix", include_bytes!(concat!(env!("OUT_DIR"), "/repo-prefix.cwasm"))),
    }
}

/// Loads the plugins in the order of their calls, the default plugins last. They are compiled one after another and
/// started in parallel. Plugins in `current` that have not changed are kept.
pub fn load(
    runtime: &Runtime,
    settings: &Settings,
    current: &[Arc<Plugin>],
) -> Result<Vec<Arc<Plugin>>, Vec<LoadError>> {
    let results: Vec<Result<Arc<Plugin>, LoadError>> = thread::scope(|scope| {
        let threads: Vec<_> = settings
            .plugins
            .iter()
            .map(|plugin| (plugin, scope.spawn(|| user_plugin(runtime, plugin, current))))
            .collect();
        let users = threads.into_iter().map(|(plugin, thread)| {
            let loaded =
                thread.join().unwrap_or_else(|_| Err(CompileError::Crashed("loading it panicked".to_owned()).into()));
            let origin = plugin.module.origin();
            loaded.map_err(|error| LoadError::Plugin { plugin: plugin.name.clone(), origin, error })
        });
        let users: Vec<_> = users.collect();
        let defaults = Hook::ALL.into_iter().filter(|hook| settings.defaults.contains(hook));
        users.into_iter().chain(defaults.map(|hook| built_in(runtime, hook, settings, current))).collect()
    });
    let mut plugins = Vec::new();
    let mut errors = Vec::new();
    for result in results {
        match result {
            Ok(plugin) => plugins.push(plugin),
            Err(error) => errors.push(error),
        }
    }
    if errors.is_empty() { Ok(plugins) } else { Err(errors) }
}

fn user_plugin(
    runtime: &Runtime,
    settings: &PluginSettings,
    current: &[Arc<Plugin>],
) -> Result<Arc<Plugin>, PluginError> {
    let lock = compile::lock_compiler();
    let code = read_module(&settings.module, settings.limits.module)?;
    let spec = PluginSpec {
        name: settings.name.clone(),
        origin: settings.module.origin(),
        digest: Some(code.digest),
        config: settings.config.as_ref().map(ToString::to_string),
        limits: settings.limits,
        on_failure: settings.on_failure,
    };
    if let Some(plugin) = find_current(current, &spec) {
        return Ok(plugin);
    }
    let component = compile::compile(&runtime.engine, &code.bytes)?;
    drop((code.bytes, lock));
    Plugin::new(runtime, &component, spec).map(Arc::new)
}

fn built_in(
    runtime: &Runtime,
    hook: Hook,
    settings: &Settings,
    current: &[Arc<Plugin>],
) -> Result<Arc<Plugin>, LoadError> {
    let (name, compiled) = default_plugin(hook);
    // The configuration allows no such name for a user's plugin, so that decisions, metrics and `/plugins` stay clear.
    let is_taken = settings.plugins.iter().any(|plugin| plugin.name == name);
    let name = if is_taken { format!("{name} (built in)") } else { name.to_owned() };
    let spec = PluginSpec {
        name: name.clone(),
        origin: Origin::BuiltIn,
        digest: None,
        config: settings.default_config(hook).map(|config| config.to_string()),
        limits: PluginLimits::default(),
        on_failure: OnFailure::Fail,
    };
    if let Some(plugin) = find_current(current, &spec) {
        return Ok(plugin);
    }
    compile::deserialize(&runtime.engine, compiled)
        .and_then(|component| Plugin::new(runtime, &component, spec))
        .map(Arc::new)
        .map_err(|error| LoadError::Plugin { plugin: name, origin: Origin::BuiltIn, error })
}

fn find_current(current: &[Arc<Plugin>], spec: &PluginSpec) -> Option<Arc<Plugin>> {
    current.iter().find(|plugin| plugin.spec() == spec).cloned()
}
