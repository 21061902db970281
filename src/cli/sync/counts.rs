//! What a pass did, in numbers.

use serde::Serialize;

use crate::{
    cli::{outcome_fields::referrer_counts, terminal::bytes},
    mirror::PassReport,
    model::{FailureKind, Outcome, Status, StatusKind},
};

/// The names of outcomes; a conflict is not counted as a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OutcomeName {
    Of(StatusKind),
    Conflict,
}

impl OutcomeName {
    pub fn of(outcome: &Outcome) -> Self {
        match &outcome.status {
            Status::Failed(failure) if failure.kind == FailureKind::Conflict => Self::Conflict,
            status => Self::Of(status.kind()),
        }
    }

    /// In JSON.
    pub fn name(self) -> &'static str {
        match self {
            Self::Of(kind) => kind.name(),
            Self::Conflict => "conflict",
        }
    }

    /// At the start of a line.
    pub fn words(self) -> String {
        self.name().replace('_', " ")
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
    /// Signatures and other referrers.
    referrers_copied: usize,
    referrers_failed: usize,
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
                OutcomeName::Of(StatusKind::Copied) => &mut counts.copied,
                OutcomeName::Of(StatusKind::AlreadyThere) => &mut counts.already_there,
                OutcomeName::Of(StatusKind::WouldCopy) => &mut counts.would_copy,
                OutcomeName::Of(StatusKind::WouldPull) => &mut counts.would_pull,
                OutcomeName::Of(StatusKind::Failed) => &mut counts.failed,
                OutcomeName::Conflict => &mut counts.conflicts,
            };
            *count += 1;
            if let Some(referrers) = &outcome.referrers {
                counts.referrers_copied += referrers.copied;
                counts.referrers_failed += referrers.failed;
            }
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
        let referrers = referrer_counts(self.referrers_copied, self.referrers_failed);
        format!("{images}{referrers}; {} workloads{left}, {} sent", self.workloads, bytes(self.bytes))
    }
}
