//! Calls the plugins of a hook one after another, until one answers.

use std::{sync::Arc, time::Instant};

use super::{
    bindings::{hooks::skip::Answer, types},
    error::{CallError, MAX_MESSAGE},
    plugin::{Instance, Plugin},
    text::shortened,
};
use crate::model::{Event, Hook, Observer, OnFailure, TraceEntry};

/// The plugins in the order of their calls. Each is in the chains of the hooks that it exports.
pub struct Chains(Vec<Arc<Plugin>>);

/// A failed call that fails the image use.
#[derive(Debug, thiserror::Error)]
#[error("plugin {plugin}, hook {hook}: {error}")]
pub struct HookFailure {
    plugin: String,
    hook: Hook,
    pub(super) error: CallError,
}

/// An answer, and the plugin that gave it.
pub struct PluginAnswer<T> {
    pub plugin: String,
    pub answer: T,
}

/// An answer to the hook `skip`, other than pass.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SkipAnswer {
    /// Mirror it.
    Keep,
    /// Do not mirror it, for this reason.
    Skip(String),
}

/// Calls the hooks for one image use, and collects the trace.
pub struct HookCaller<'a> {
    pub chains: &'a Chains,
    pub observer: &'a dyn Observer,
    pub image_use: &'a types::ImageUse,
    pub trace: Vec<TraceEntry>,
}

impl Chains {
    pub fn new(plugins: Vec<Arc<Plugin>>) -> Self {
        Self(plugins)
    }

    pub fn plugins(&self) -> &[Arc<Plugin>] {
        &self.0
    }
}

impl HookCaller<'_> {
    /// Hook 1: should it be mirrored?
    pub fn skip(&mut self) -> Result<Option<PluginAnswer<SkipAnswer>>, HookFailure> {
        let image_use = self.image_use;
        self.call_chain(
            Hook::Skip,
            |instance| Some(instance.skip.as_ref()?.call_decide(&mut instance.store, image_use)),
            |answer| match answer {
                Answer::Pass => Ok(None),
                Answer::Keep => Ok(Some(SkipAnswer::Keep)),
                Answer::Skip(reason) => Ok(Some(SkipAnswer::Skip(shortened(&reason, MAX_MESSAGE).into_owned()))),
            },
            |answer| match answer {
                SkipAnswer::Keep => "keep".to_owned(),
                SkipAnswer::Skip(reason) => format!("skip: {reason}"),
            },
        )
    }

    /// Hook 2: to which of `targets`? The answer is their names, without duplicates.
    pub fn select_targets(
        &mut self,
        targets: &[types::Target],
    ) -> Result<Option<PluginAnswer<Vec<String>>>, HookFailure> {
        let image_use = self.image_use;
        self.call_chain(
            Hook::TargetSelection,
            |instance| Some(instance.target_selection.as_ref()?.call_select(&mut instance.store, image_use, targets)),
            |answer| answer.map(|names| check_target_names(names, targets)).transpose(),
            |names| if names.is_empty() { "no target".to_owned() } else { names.join(", ") },
        )
    }

    /// Hook 3: what is the path of the repository at `target`?
    pub fn map_path(&mut self, target: &types::Target) -> Result<Option<PluginAnswer<String>>, HookFailure> {
        let image_use = self.image_use;
        self.call_chain(
            Hook::PathMapping,
            |instance| Some(instance.path_mapping.as_ref()?.call_rewrite(&mut instance.store, image_use, target)),
            Ok,
            |path| format!("{}: {}", target.name, shortened(path, MAX_MESSAGE)),
        )
    }

    /// Hook 4: what is the prefix of that path?
    pub fn repository_prefix(&mut self, target: &types::Target) -> Result<Option<PluginAnswer<String>>, HookFailure> {
        let image_use = self.image_use;
        self.call_chain(
            Hook::RepositoryPrefix,
            |instance| Some(instance.repository_prefix.as_ref()?.call_render(&mut instance.store, image_use, target)),
            Ok,
            |prefix| format!("{}: {}", target.name, shortened(prefix, MAX_MESSAGE)),
        )
    }

    fn call_chain<A, T>(
        &mut self,
        hook: Hook,
        call: impl Fn(&mut Instance) -> Option<wasmtime::Result<Result<A, types::Error>>>,
        convert: impl Fn(A) -> Result<Option<T>, CallError>,
        describe: impl Fn(&T) -> String,
    ) -> Result<Option<PluginAnswer<T>>, HookFailure> {
        for plugin in self.chains.0.iter().filter(|plugin| plugin.has(hook)) {
            let start = Instant::now();
            let not_exported = || Ok(Err(types::Error::Internal(format!("it does not export {hook}"))));
            let result = plugin.call(|instance| call(instance).unwrap_or_else(not_exported)).and_then(&convert);
            let took = start.elapsed();
            let error = result.as_ref().err().map(CallError::kind);
            self.observer.observe(&Event::PluginCalled { plugin: plugin.name(), hook, took, error });
            if let Some(bytes) = plugin.changed_memory() {
                self.observer.observe(&Event::PluginMemory { plugin: plugin.name(), bytes });
            }
            let answer = match &result {
                Ok(None) => "pass".to_owned(),
                Ok(Some(answer)) => describe(answer),
                Err(error) => format!("error: {error}"),
            };
            self.trace.push(TraceEntry { hook, plugin: plugin.name().to_owned(), answer, took });
            match (result, plugin.on_failure()) {
                (Ok(None), _) => plugin.failure_log().record_answer(),
                (Ok(Some(answer)), _) => {
                    plugin.failure_log().record_answer();
                    return Ok(Some(PluginAnswer { plugin: plugin.name().to_owned(), answer }));
                }
                (Err(error), OnFailure::Fail) => {
                    return Err(HookFailure { plugin: plugin.name().to_owned(), hook, error });
                }
                (Err(error), OnFailure::Pass) => plugin.failure_log().record_failure(hook, self.image_use, &error),
            }
        }
        Ok(None)
    }
}

fn check_target_names(names: Vec<String>, targets: &[types::Target]) -> Result<Vec<String>, CallError> {
    let mut selected: Vec<String> = Vec::new();
    for name in names {
        if !targets.iter().any(|target| target.name == name) {
            let configured: Vec<&str> = targets.iter().map(|target| target.name.as_str()).collect();
            return Err(CallError::InvalidAnswer(format!(
                "unknown target {:?}; configured targets: {}",
                shortened(&name, MAX_MESSAGE),
                configured.join(", ")
            )));
        }
        if !selected.contains(&name) {
            selected.push(name);
        }
    }
    Ok(selected)
}
