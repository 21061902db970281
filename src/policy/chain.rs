//! Asks the plugins of a hook one after another, until one answers.

use std::{sync::Arc, time::Instant};

use super::{
    bindings::{hooks::skip::Answer, types},
    failure::{CallError, LONGEST_MESSAGE},
    plugin::{Instance, Plugin},
    settings::OnFailure,
    text::shortened,
};
use crate::model::{Event, Hook, Observer, TraceEntry};

/// The plugins that answer each hook, in the order in which they are asked.
pub struct Chains(Vec<Arc<Plugin>>);

/// A plugin's failure that fails the image use.
#[derive(Debug, thiserror::Error)]
#[error("plugin {plugin}, hook {hook}: {error}")]
pub struct HookFailure {
    plugin: String,
    hook: Hook,
    #[source]
    pub(super) error: CallError,
}

/// An answer, and whose it is.
pub struct Answered<T> {
    pub plugin: String,
    pub answer: T,
}

/// What a plugin says to the hook `skip`, unless it passes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Skip {
    /// It is mirrored.
    Keep,
    /// It is not mirrored, for this reason.
    Skip(String),
}

/// The questions about one image use, and who hears what was answered.
pub struct Asking<'a> {
    pub chains: &'a Chains,
    pub observer: &'a dyn Observer,
    pub image_use: &'a types::ImageUse,
    pub trace: Vec<TraceEntry>,
}

impl Chains {
    /// All plugins; each is in the chains of the hooks it exports.
    pub fn new(plugins: Vec<Arc<Plugin>>) -> Self {
        Self(plugins)
    }

    /// All plugins, in order.
    pub fn plugins(&self) -> &[Arc<Plugin>] {
        &self.0
    }
}

impl Asking<'_> {
    /// Shall it be mirrored at all?
    pub fn skip(&mut self) -> Result<Option<Answered<Skip>>, HookFailure> {
        let question = self.image_use;
        self.ask(
            Hook::Skip,
            |instance| Some(instance.skip.as_ref()?.call_decide(&mut instance.store, question)),
            |answer| match answer {
                Answer::Pass => Ok(None),
                Answer::Keep => Ok(Some(Skip::Keep)),
                Answer::Skip(reason) => Ok(Some(Skip::Skip(shortened(&reason, LONGEST_MESSAGE).into_owned()))),
            },
            |answer| match answer {
                Skip::Keep => "keep".to_owned(),
                Skip::Skip(reason) => format!("skip: {reason}"),
            },
        )
    }

    /// To which of `targets`? The answer is their names, each once.
    pub fn select(&mut self, targets: &[types::Target]) -> Result<Option<Answered<Vec<String>>>, HookFailure> {
        let question = self.image_use;
        self.ask(
            Hook::TargetSelection,
            |instance| Some(instance.target_selection.as_ref()?.call_select(&mut instance.store, question, targets)),
            |answer| answer.map(|names| known_names(names, targets)).transpose(),
            |names| if names.is_empty() { "no target".to_owned() } else { names.join(", ") },
        )
    }

    /// What is the path called at `target`?
    pub fn rewrite(&mut self, target: &types::Target) -> Result<Option<Answered<String>>, HookFailure> {
        let question = self.image_use;
        self.ask(
            Hook::PathMapping,
            |instance| Some(instance.path_mapping.as_ref()?.call_rewrite(&mut instance.store, question, target)),
            Ok,
            |path| format!("{}: {}", target.name, shortened(path, LONGEST_MESSAGE)),
        )
    }

    /// What comes before the path at `target`?
    pub fn render(&mut self, target: &types::Target) -> Result<Option<Answered<String>>, HookFailure> {
        let question = self.image_use;
        self.ask(
            Hook::RepositoryPrefix,
            |instance| Some(instance.repository_prefix.as_ref()?.call_render(&mut instance.store, question, target)),
            Ok,
            |prefix| format!("{}: {}", target.name, shortened(prefix, LONGEST_MESSAGE)),
        )
    }

    fn ask<A, T>(
        &mut self,
        hook: Hook,
        call: impl Fn(&mut Instance) -> Option<wasmtime::Result<Result<A, types::Error>>>,
        read: impl Fn(A) -> Result<Option<T>, CallError>,
        describe: impl Fn(&T) -> String,
    ) -> Result<Option<Answered<T>>, HookFailure> {
        for plugin in self.chains.0.iter().filter(|plugin| plugin.answers(hook)) {
            let start = Instant::now();
            let not_exported = || Ok(Err(types::Error::Internal(format!("it does not export {hook}"))));
            let result = plugin.call(|instance| call(instance).unwrap_or_else(not_exported)).and_then(&read);
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
                (Ok(None), _) => plugin.passed_over().answered(),
                (Ok(Some(answer)), _) => {
                    plugin.passed_over().answered();
                    return Ok(Some(Answered { plugin: plugin.name().to_owned(), answer }));
                }
                (Err(error), OnFailure::Fail) => {
                    return Err(HookFailure { plugin: plugin.name().to_owned(), hook, error });
                }
                (Err(error), OnFailure::Pass) => plugin.passed_over().failed(hook, self.image_use, &error),
            }
        }
        Ok(None)
    }
}

fn known_names(names: Vec<String>, targets: &[types::Target]) -> Result<Vec<String>, CallError> {
    let mut known: Vec<String> = Vec::new();
    for name in names {
        if !targets.iter().any(|target| target.name == name) {
            let configured: Vec<&str> = targets.iter().map(|target| target.name.as_str()).collect();
            return Err(CallError::Answer(format!(
                "there is no target {:?}; there are {}",
                shortened(&name, LONGEST_MESSAGE),
                configured.join(", ")
            )));
        }
        if !known.contains(&name) {
            known.push(name);
        }
    }
    Ok(known)
}
