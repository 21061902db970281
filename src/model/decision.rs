//! What the policy said of one image use.

use std::{fmt, time::Duration};

use super::{Destination, Reference};

/// The questions that plugins answer, in the order in which they are asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Hook {
    /// Shall this use be mirrored at all?
    Skip,
    /// To which targets?
    TargetSelection,
    /// What is the repository's path called there?
    PathMapping,
    /// What comes before the path?
    RepositoryPrefix,
}

impl Hook {
    /// Every hook, in the order asked.
    pub const ALL: [Self; 4] = [Self::Skip, Self::TargetSelection, Self::PathMapping, Self::RepositoryPrefix];

    /// The name of its interface in the plugin contract.
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

/// One answer of one plugin on the way to a decision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TraceEntry {
    /// The question.
    pub hook: Hook,
    /// Who was asked.
    pub plugin: String,
    /// What was answered, in words: `pass`, `keep`, `skip: …`, a list of targets, a path, an error.
    pub answer: String,
    /// How long the answer took.
    pub took: Duration,
}

/// What is to be done with an image use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is to be at each of these; never empty.
    Mirror(Vec<Destination>),
    /// It is not mirrored, for this reason.
    Skip(String),
    /// It could not be decided: the image's name is malformed, a plugin failed, or a name could not be made.
    Error {
        /// What happened.
        reason: String,
        /// Whether asking again can end otherwise without a change of image or configuration (a plugin's failure).
        retry: bool,
    },
}

/// A verdict and how it came about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    /// The image's fully qualified name; none when it is malformed.
    pub source: Option<Reference>,
    /// What is to be done.
    pub verdict: Verdict,
    /// Who was asked and what was answered, in order.
    pub trace: Vec<TraceEntry>,
}
