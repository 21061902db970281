//! Why an image use is decided as it is.

use super::decided::microseconds;
use crate::model::{Decision, TraceEntry};

/// Which answers of plugins to show, and how.
#[derive(Clone, Copy)]
pub struct Reasons {
    /// With the time that each answer took, which no two plans have in common.
    pub timings: bool,
    /// With answers that change nothing: `pass`, which leaves the question to the next plugin, and an empty prefix.
    pub all: bool,
}

impl Reasons {
    /// The answers of all called plugins.
    pub fn answers(self, decision: &Decision) -> String {
        let shown = decision.trace.iter().filter(|entry| {
            let changes_nothing = entry.answer == "pass" || entry.answer.ends_with(": ");
            self.all || self.timings || !changes_nothing
        });
        shown.map(|entry| self.answer(entry)).collect::<Vec<_>>().join("; ")
    }

    fn answer(self, entry: &TraceEntry) -> String {
        let (plugin, answer) = (&entry.plugin, &entry.answer);
        if self.timings {
            format!("{plugin}: {answer} ({} µs)", microseconds(entry))
        } else {
            format!("{plugin}: {answer}")
        }
    }

    /// The answers, and the reason unless it is the last answer.
    pub fn why_skipped(self, decision: &Decision, reason: &str) -> String {
        let is_answer = decision.trace.last().is_some_and(|entry| entry.answer.strip_prefix("skip: ") == Some(reason));
        let answers = self.answers(decision);
        match (is_answer, answers.is_empty()) {
            (true, _) => answers,
            (false, true) => reason.to_owned(),
            (false, false) => format!("{answers}; {reason}"),
        }
    }
}

/// What a conflict is said to be.
pub fn conflict(other: &str) -> String {
    format!("conflict: {other} has the same destination")
}
