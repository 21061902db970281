//! Decisions of the policy.

use std::{fmt, time::Duration};

use super::{Destination, Reference};

/// The hooks of the plugin contract, in the order in which they are called.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Hook {
    /// Whether to mirror the image use at all.
    Skip,
    /// To which targets.
    TargetSelection,
    /// The repository's path there.
    PathMapping,
    /// The prefix of that path.
    RepositoryPrefix,
}

impl Hook {
    /// Every hook, in call order.
    pub const ALL: [Self; 4] = [Self::Skip, Self::TargetSelection, Self::PathMapping, Self::RepositoryPrefix];

    /// Its interface's name in the plugin contract.
    pub fn name(self) -> &'static str {
        match self {
            Self::Skip => "skip",
            Self::TargetSelection => "target-selection",
            Self::PathMapping => "path-mapping",
            Self::RepositoryPrefix => "repository-prefix",
        }
    }
}

impl fmt::Display for Hook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// One plugin's answer, as part of a decision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TraceEntry {
    /// The hook.
    pub hook: Hook,
    /// The plugin's configured name.
    pub plugin: String,
    /// The answer: `pass`, `keep`, `skip: …`, a list of targets, a path, or an error.
    pub answer: String,
    /// The call's duration.
    pub took: Duration,
}

/// What to do with an image use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Mirror the image.
    Mirror {
        /// The image.
        source: Reference,
        /// Where to; never empty.
        destinations: Vec<Destination>,
    },
    /// Do not mirror it, for this reason.
    Skip(String),
    /// No decision: the image reference is invalid, a plugin failed, or the plugins' answers make no valid repository.
    Error {
        /// What went wrong.
        reason: String,
        /// Whether a retry can succeed without a change of image or configuration, as after a plugin's failure.
        retry: bool,
    },
}

/// A verdict, and the plugins' answers that led to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    /// What to do.
    pub verdict: Verdict,
    /// The plugins' answers, in call order.
    pub trace: Vec<TraceEntry>,
}
