//! Loads every plugin that the settings name, all at once, and tells of every one that is broken.

use std::{fmt, path::PathBuf, sync::Arc, thread};

use super::{
    component::{self, LoadFault},
    engine::{self, EngineError, Runtime},
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
        /// Its file.
        origin: Origin,
        /// What is wrong with it.
        #[source]
        fault: LoadFault,
    },
}

/// Where a plugin was taken from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// The program itself.
    BuiltIn,
    /// A file.
    Module(PathBuf),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BuiltIn => f.write_str("built in"),
            Self::Module(path) => path.display().fmt(f),
        }
    }
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

/// The plugins in the order in which they are asked, the default ones last. They are compiled side by side.
pub fn load(settings: &Settings) -> Result<Vec<Arc<Plugin>>, Vec<LoadError>> {
    let runtime = engine::start().map_err(|error| vec![error.into()])?;
    let results: Vec<Result<Plugin, LoadError>> = thread::scope(|scope| {
        let threads: Vec<_> =
            settings.plugins.iter().map(|plugin| (plugin, scope.spawn(|| user_plugin(&runtime, plugin)))).collect();
        let users = threads.into_iter().map(|(plugin, thread)| {
            let loaded = thread.join().unwrap_or_else(|_| Err(LoadFault::Compile("the compiler panicked".to_owned())));
            let origin = Origin::Module(plugin.module.clone());
            loaded.map_err(|fault| LoadError::Plugin { plugin: plugin.name.clone(), origin, fault })
        });
        let users: Vec<_> = users.collect();
        let wanted = Hook::ALL.into_iter().filter(|hook| settings.defaults.contains(hook));
        users.into_iter().chain(wanted.map(|hook| built_in(&runtime, hook, settings))).collect()
    });
    let mut plugins = Vec::new();
    let mut errors = Vec::new();
    for result in results {
        match result {
            Ok(plugin) => plugins.push(Arc::new(plugin)),
            Err(error) => errors.push(error),
        }
    }
    if errors.is_empty() { Ok(plugins) } else { Err(errors) }
}

fn user_plugin(runtime: &Runtime, settings: &PluginSettings) -> Result<Plugin, LoadFault> {
    let component = component::read(&runtime.engine, &settings.module)?;
    let identity = Identity {
        name: settings.name.clone(),
        module: Some(settings.module.clone()),
        config: settings.config.as_ref().map(ToString::to_string),
        limits: settings.limits,
        on_failure: settings.on_failure,
    };
    Plugin::new(runtime, &component, identity)
}

fn built_in(runtime: &Runtime, hook: Hook, settings: &Settings) -> Result<Plugin, LoadError> {
    let (name, compiled) = default_plugin(hook);
    let identity = Identity {
        name: name.to_owned(),
        module: None,
        config: settings.default_config(hook).map(|config| config.to_string()),
        limits: PluginLimits::default(),
        on_failure: OnFailure::Fail,
    };
    component::embedded(&runtime.engine, compiled)
        .and_then(|component| Plugin::new(runtime, &component, identity))
        .map_err(|fault| LoadError::Plugin { plugin: name.to_owned(), origin: Origin::BuiltIn, fault })
}
