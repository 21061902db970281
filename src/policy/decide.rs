//! Decides about an image use: calls the hooks and builds the destinations.

use std::sync::Arc;

use super::{
    bindings::types,
    chain::{Chains, HookCaller, HookFailure, PluginAnswer, SkipAnswer},
    convert,
    error::CallError,
    repository_name::{self, RepositoryNameError},
};
use crate::model::{Decision, Destination, Hook, ImageUse, Observer, Reference, Target, Verdict};

/// Why an image use could not be decided.
#[derive(Debug, thiserror::Error)]
enum DecideError {
    #[error(transparent)]
    Hook(#[from] HookFailure),
    #[error("{}target {target}: {error}", .cause.as_ref().map(|(plugin, hook)| format!("plugin {plugin}, hook {hook}: ")).unwrap_or_default())]
    Name {
        /// The plugin and the hook whose answer is invalid. None: no answer is.
        cause: Option<(String, Hook)>,
        target: String,
        error: Box<RepositoryNameError>,
    },
    #[error("hook {0}: no plugin chose a target, and the default plugin is switched off")]
    NoSelection(Hook),
}

impl DecideError {
    /// Whether a retry can succeed. A plugin's `invalid-request` is final: its answers depend on the image use and the
    /// configuration only.
    fn is_retryable(&self) -> bool {
        match self {
            Self::Hook(failure) => !matches!(failure.error, CallError::InvalidRequest(_)),
            Self::Name { .. } | Self::NoSelection(_) => false,
        }
    }
}

/// The plugins and targets of one configuration.
pub struct Decider {
    pub chains: Chains,
    pub targets: Vec<(Arc<Target>, types::Target)>,
    pub observer: Arc<dyn Observer>,
}

impl Decider {
    /// Decides about one image use. Blocks while plugins run.
    pub fn decide(&self, image_use: &ImageUse) -> Decision {
        if image_use.image.is_empty() {
            let reason = format!("container {} names no image", image_use.container.name);
            return Decision { verdict: Verdict::Error { reason, retry: false }, trace: Vec::new() };
        }
        let source: Reference = match image_use.image.parse() {
            Ok(source) => source,
            Err(error) => {
                let verdict = Verdict::Error { reason: error.to_string(), retry: false };
                return Decision { verdict, trace: Vec::new() };
            }
        };
        if let Some((first, _)) = self.targets.first()
            && self.targets.iter().all(|(target, _)| target.address().contains(source.registry(), source.repository()))
        {
            return Decision { verdict: Verdict::Skip(already_in(first)), trace: Vec::new() };
        }
        let input = convert::image_use(image_use, &source);
        let mut hooks =
            HookCaller { chains: &self.chains, observer: self.observer.as_ref(), image_use: &input, trace: Vec::new() };
        let verdict = self
            .verdict(&mut hooks, &source)
            .unwrap_or_else(|error| Verdict::Error { retry: error.is_retryable(), reason: error.to_string() });
        Decision { verdict, trace: hooks.trace }
    }

    fn verdict(&self, hooks: &mut HookCaller<'_>, source: &Reference) -> Result<Verdict, DecideError> {
        if let Some(SkipAnswer::Skip(reason)) = hooks.skip()?.map(|answered| answered.answer) {
            return Ok(Verdict::Skip(reason));
        }
        let offered: Vec<types::Target> = self.targets.iter().map(|(_, target)| target.clone()).collect();
        let selected = hooks.select_targets(&offered)?.ok_or(DecideError::NoSelection(Hook::TargetSelection))?;
        if selected.answer.is_empty() {
            return Ok(Verdict::Skip(format!("plugin {} chose no target", selected.plugin)));
        }
        let mut destinations = Vec::new();
        let mut existing = None;
        for (target, offered) in self.targets.iter().filter(|(target, _)| selected.answer.contains(&target.name)) {
            // The image is at this target already; the other targets still need it.
            if target.address().contains(source.registry(), source.repository()) {
                existing = Some(target);
                continue;
            }
            let path = hooks.map_path(offered)?;
            let prefix = hooks.repository_prefix(offered)?;
            let repository = repository_at(target, source, path.as_ref(), prefix.as_ref())?;
            destinations.push(Destination {
                target: Arc::clone(target),
                repository,
                tag: source.tag().map(str::to_owned),
                digest: source.digest().cloned(),
            });
        }
        match existing {
            Some(target) if destinations.is_empty() => Ok(Verdict::Skip(already_in(target))),
            _ => Ok(Verdict::Mirror { source: source.clone(), destinations }),
        }
    }
}

/// The repository at `target`, made from the plugins' answers.
fn repository_at(
    target: &Target,
    source: &Reference,
    path: Option<&PluginAnswer<String>>,
    prefix: Option<&PluginAnswer<String>>,
) -> Result<String, DecideError> {
    let path_at_target = path.map_or(source.repository(), |path| &path.answer);
    let answer_of = |answered: Option<&PluginAnswer<String>>, hook| Some((answered?.plugin.clone(), hook));
    repository_name::repository(target, prefix.map_or("", |prefix| &prefix.answer), path_at_target).map_err(|error| {
        let cause = match &error {
            RepositoryNameError::NoSpace(_) => None,
            RepositoryNameError::Empty(_) => answer_of(path, Hook::PathMapping),
            // The path alone is invalid, or else the prefix is.
            RepositoryNameError::Invalid(_) if repository_name::repository(target, "", path_at_target).is_err() => {
                answer_of(path, Hook::PathMapping)
            }
            RepositoryNameError::Invalid(_) => answer_of(prefix, Hook::RepositoryPrefix),
        };
        DecideError::Name { cause, target: target.name.clone(), error: Box::new(error) }
    })
}

fn already_in(target: &Target) -> String {
    format!("already in target registry {}", target.registry)
}
