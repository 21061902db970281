//! What a pass did, in numbers.

use serde::Serialize;

use crate::{
    cli::terminal::bytes,
    mirror::PassReport,
    model::{FailureKind, Outcome, Status},
};

/// The names of outcomes; a conflict is not counted as a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OutcomeName {
    Copied,
    AlreadyThere,
    WouldCopy,
    WouldPull,
    Failed,
    Conflict,
}

impl OutcomeName {
    pub fn of(outcome: &Outcome) -> Self {
        match &outcome.status {
            Status::Copied(_) => Self::Copied,
            Status::AlreadyThere(_) => Self::AlreadyThere,
            Status::WouldCopy(_) => Self::WouldCopy,
            Status::WouldPull => Self::WouldPull,
            Status::Failed(failure) if failure.kind == FailureKind::Conflict => Self::Conflict,
            Status::Failed(_) => Self::Failed,
        }
    }

    /// In JSON.
    pub fn name(self) -> &'static str {
        match self {
            Self::Copied => "copied",
            Self::AlreadyThere => "already_there",
            Self::WouldCopy => "would_copy",
            Self::WouldPull => "would_pull",
            Self::Failed => "failed",
            Self::Conflict => "conflict",
        }
    }

    /// At the start of a line.
    pub fn words(self) -> &'static str {
        match self {
            Self::Copied => "copied",
            Self::AlreadyThere => "already there",
            Self::WouldCopy => "would copy",
            Self::WouldPull => "would pull",
            Self::Failed => "failed",
            Self::Conflict => "conflict",
        }
    }
}

/// The numbers of a pass.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Counts {
    copied: usize,
    already_there: usize,
    would_copy: usize,
    would_pull: usize,
    failed: usize,
    conflicts: usize,
    undecided: usize,
    /// Destinations that were not done before the end.
    not_done: usize,
    workloads: usize,
    /// Workloads that were not decided before the end.
    workloads_not_decided: usize,
    /// Bytes of blobs that were sent.
    bytes: u64,
}

impl Counts {
    pub fn of(report: &PassReport) -> Self {
        let mut counts = Self {
            undecided: report.undecided,
            not_done: report.remaining.destinations,
            workloads: report.workloads,
            workloads_not_decided: report.remaining.workloads,
            ..Self::default()
        };
        for outcome in &report.outcomes {
            let count = match OutcomeName::of(outcome) {
                OutcomeName::Copied => &mut counts.copied,
                OutcomeName::AlreadyThere => &mut counts.already_there,
                OutcomeName::WouldCopy => &mut counts.would_copy,
                OutcomeName::WouldPull => &mut counts.would_pull,
                OutcomeName::Failed => &mut counts.failed,
                OutcomeName::Conflict => &mut counts.conflicts,
            };
            *count += 1;
            counts.bytes = counts.bytes.saturating_add(outcome.bytes);
        }
        counts
    }

    /// In one line, without zeros.
    pub fn summary(&self) -> String {
        let words = [
            (self.copied, "copied"),
            (self.already_there, "already there"),
            (self.would_copy, "would be copied"),
            (self.would_pull, "would be pulled"),
            (self.failed, "failed"),
            (self.conflicts, "in conflict"),
            (self.undecided, "undecided"),
            (self.not_done, "not done"),
        ];
        let parts: Vec<String> =
            words.iter().filter(|(count, _)| *count > 0).map(|(count, word)| format!("{count} {word}")).collect();
        let images = match (parts.is_empty(), self.workloads_not_decided) {
            (false, _) => parts.join(", "),
            (true, 0) => "no images to mirror".to_owned(),
            (true, _) => "nothing done".to_owned(),
        };
        let left = match self.workloads_not_decided {
            0 => String::new(),
            workloads => format!(", {workloads} not processed"),
        };
        format!("{images}; {} workloads{left}, {} sent", self.workloads, bytes(self.bytes))
    }
}
