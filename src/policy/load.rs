//! Loads every plugin that the settings name, all at once, and tells of every one that is broken.

use std::{sync::Arc, thread};

use super::{
    compile::{self, CompileFault},
    component::LoadFault,
    engine::{EngineError, Runtime},
    module::Origin,
    plugin::{Identity, Plugin},
    settings::{OnFailure, PluginLimits, PluginSettings, Settings},
};
use crate::model::Hook;

/// A plugin that can't be used, or an engine that can't.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// No plugin can run.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// This plugin can't be loaded.
    #[error("plugin {plugin} ({origin}): {fault}")]
    Plugin {
        /// Its name in the configuration.
        plugin: String,
        /// Where it was taken from.
        origin: Origin,
        /// What is wrong with it.
        #[source]
        fault: LoadFault,
    },
}

/// The default plugin of a hook: its name and its code, compiled ahead of time by the build.
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

/// The plugins in the order in which they are asked, the default ones last. They are compiled one after another, and
/// started side by side; one that is among `present` already goes on as it is.
pub fn load(
    runtime: &Runtime,
    settings: &Settings,
    present: &[Arc<Plugin>],
) -> Result<Vec<Arc<Plugin>>, Vec<LoadError>> {
    let results: Vec<Result<Arc<Plugin>, LoadError>> = thread::scope(|scope| {
        let threads: Vec<_> = settings
            .plugins
            .iter()
            .map(|plugin| (plugin, scope.spawn(|| user_plugin(runtime, plugin, present))))
            .collect();
        let users = threads.into_iter().map(|(plugin, thread)| {
            let loaded =
                thread.join().unwrap_or_else(|_| Err(CompileFault::Broke("loading it panicked".to_owned()).into()));
            let origin = plugin.module.origin();
            loaded.map_err(|fault| LoadError::Plugin { plugin: plugin.name.clone(), origin, fault })
        });
        let users: Vec<_> = users.collect();
        let wanted = Hook::ALL.into_iter().filter(|hook| settings.defaults.contains(hook));
        users.into_iter().chain(wanted.map(|hook| built_in(runtime, hook, settings, present))).collect()
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
    present: &[Arc<Plugin>],
) -> Result<Arc<Plugin>, LoadFault> {
    let turn = compile::turn();
    let code = settings.module.code(settings.limits.module)?;
    let identity = Identity {
        name: settings.name.clone(),
        origin: settings.module.origin(),
        digest: Some(code.digest),
        config: settings.config.as_ref().map(ToString::to_string),
        limits: settings.limits,
        on_failure: settings.on_failure,
    };
    if let Some(plugin) = same(present, &identity) {
        return Ok(plugin);
    }
    let component = compile::compile(&runtime.engine, &code.bytes)?;
    drop((code.bytes, turn));
    Plugin::new(runtime, &component, identity).map(Arc::new)
}

fn built_in(
    runtime: &Runtime,
    hook: Hook,
    settings: &Settings,
    present: &[Arc<Plugin>],
) -> Result<Arc<Plugin>, LoadError> {
    let (name, compiled) = default_plugin(hook);
    // No plugin of the user's can have such a name, so that they are told apart in traces, metrics and `/plugins`.
    let twin = settings.plugins.iter().any(|plugin| plugin.name == name);
    let name = if twin { format!("{name} (built in)") } else { name.to_owned() };
    let identity = Identity {
        name: name.clone(),
        origin: Origin::BuiltIn,
        digest: None,
        config: settings.default_config(hook).map(|config| config.to_string()),
        limits: PluginLimits::default(),
        on_failure: OnFailure::Fail,
    };
    if let Some(plugin) = same(present, &identity) {
        return Ok(plugin);
    }
    compile::take_in(&runtime.engine, compiled)
        .and_then(|component| Plugin::new(runtime, &component, identity))
        .map(Arc::new)
        .map_err(|fault| LoadError::Plugin { plugin: name, origin: Origin::BuiltIn, fault })
}

fn same(present: &[Arc<Plugin>], identity: &Identity) -> Option<Arc<Plugin>> {
    present.iter().find(|plugin| plugin.identity() == identity).cloned()
}
