//! From an image use to a decision.

use std::sync::Arc;

use super::{
    bindings::types,
    chain::{Answered, Asking, Chains, HookFailure, Skip},
    failure::CallError,
    name::{self, NameError},
    question,
};
use crate::model::{Decision, Destination, Hook, ImageUse, Observer, Reference, Target, Verdict};

/// Why there is no verdict.
#[derive(Debug, thiserror::Error)]
enum Undecided {
    #[error(transparent)]
    Hook(#[from] HookFailure),
    #[error("{}target {target}: {error}", .whose.as_ref().map(|(plugin, hook)| format!("plugin {plugin}, hook {hook}: ")).unwrap_or_default())]
    Name {
        /// The plugin whose answer it was, and to which question; none where no plugin's is at fault.
        whose: Option<(String, Hook)>,
        target: String,
        #[source]
        error: Box<NameError>,
    },
    #[error("hook {0}: no plugin chose a target, and the default plugin is switched off")]
    NoSelection(Hook),
}

impl Undecided {
    /// Whether asking again can end otherwise. A plugin that has no answer to a question has none later, since nothing
    /// but the question decides it.
    fn can_pass(&self) -> bool {
        match self {
            Self::Hook(failure) => !matches!(failure.error, CallError::InvalidRequest(_)),
            Self::Name { .. } | Self::NoSelection(_) => false,
        }
    }
}

/// Everything that decisions are made with.
pub struct Decider {
    pub chains: Chains,
    pub targets: Vec<(Arc<Target>, types::Target)>,
    pub observer: Arc<dyn Observer>,
}

impl Decider {
    /// Decides one image use. Blocks while plugins think.
    pub fn decide(&self, image_use: &ImageUse) -> Decision {
        if image_use.image.is_empty() {
            let reason = format!("container {} names no image", image_use.container.name);
            return Decision { source: None, verdict: Verdict::Error { reason, retry: false }, trace: Vec::new() };
        }
        let source: Reference = match image_use.image.parse() {
            Ok(source) => source,
            Err(error) => {
                let verdict = Verdict::Error { reason: error.to_string(), retry: false };
                return Decision { source: None, verdict, trace: Vec::new() };
            }
        };
        if let Some((first, _)) = self.targets.first()
            && self.targets.iter().all(|(target, _)| target.address().contains(source.registry(), source.repository()))
        {
            let verdict = Verdict::Skip(already_in(first));
            return Decision { source: Some(source), verdict, trace: Vec::new() };
        }
        let question = question::image_use(image_use, &source);
        let mut asking =
            Asking { chains: &self.chains, observer: self.observer.as_ref(), image_use: &question, trace: Vec::new() };
        let verdict = self
            .verdict(&mut asking, &source)
            .unwrap_or_else(|undecided| Verdict::Error { retry: undecided.can_pass(), reason: undecided.to_string() });
        let trace = asking.trace;
        Decision { source: Some(source), verdict, trace }
    }

    fn verdict(&self, asking: &mut Asking<'_>, source: &Reference) -> Result<Verdict, Undecided> {
        if let Some(Skip::Skip(reason)) = asking.skip()?.map(|answered| answered.answer) {
            return Ok(Verdict::Skip(reason));
        }
        let offered: Vec<types::Target> = self.targets.iter().map(|(_, target)| target.clone()).collect();
        let selected = asking.select(&offered)?.ok_or(Undecided::NoSelection(Hook::TargetSelection))?;
        if selected.answer.is_empty() {
            return Ok(Verdict::Skip(format!("plugin {} chose no target", selected.plugin)));
        }
        let mut destinations = Vec::new();
        let mut there_already = None;
        for (target, offered) in self.targets.iter().filter(|(target, _)| selected.answer.contains(&target.name)) {
            // Where it comes from it need not be brought; to the other targets it is.
            if target.address().contains(source.registry(), source.repository()) {
                there_already = Some(target);
                continue;
            }
            let path = asking.rewrite(offered)?;
            let prefix = asking.render(offered)?;
            let repository = named(target, source, path.as_ref(), prefix.as_ref())?;
            destinations.push(Destination {
                target: Arc::clone(target),
                repository,
                tag: source.tag().map(str::to_owned),
                digest: source.digest().cloned(),
            });
        }
        match there_already {
            Some(target) if destinations.is_empty() => Ok(Verdict::Skip(already_in(target))),
            _ => Ok(Verdict::Mirror { source: source.clone(), destinations }),
        }
    }
}

/// The repository at `target`, of what was answered.
fn named(
    target: &Target,
    source: &Reference,
    path: Option<&Answered<String>>,
    prefix: Option<&Answered<String>>,
) -> Result<String, Undecided> {
    let written = path.map_or(source.repository(), |path| &path.answer);
    let of = |answered: Option<&Answered<String>>, hook| Some((answered?.plugin.clone(), hook));
    name::repository(target, prefix.map_or("", |prefix| &prefix.answer), written).map_err(|error| {
        let whose = match &error {
            NameError::NoRoom(_) => None,
            NameError::Empty(_) => of(path, Hook::PathMapping),
            // By itself the path is good, or it is not.
            NameError::Invalid(_) if name::repository(target, "", written).is_err() => of(path, Hook::PathMapping),
            NameError::Invalid(_) => of(prefix, Hook::RepositoryPrefix),
        };
        Undecided::Name { whose, target: target.name.clone(), error: Box::new(error) }
    })
}

fn already_in(target: &Target) -> String {
    format!("already in target registry {}", target.registry)
}
