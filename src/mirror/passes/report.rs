//! The result of a pass.

use crate::model::{Outcome, WorkloadId};

/// What a pass did.
#[derive(Clone, Debug, Default)]
pub struct PassReport {
    /// Workloads with at least one image that is not skipped.
    pub workloads: usize,
    /// Image uses whose image is at all of its destinations.
    pub images: usize,
    /// Image uses that the policy could not decide.
    pub undecided: usize,
    /// Failures by workload, one line each, without duplicates.
    pub failures: Vec<(WorkloadId, String)>,
    /// The outcome of each copy, ordered by destination and source.
    pub outcomes: Vec<Outcome>,
    /// What was not done; empty unless the pass was stopped or timed out.
    pub remaining: Remaining,
}

/// What an unfinished pass has not done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Remaining {
    /// Destinations.
    pub destinations: usize,
    /// Workloads without a decision, whose images may have further destinations.
    pub workloads: usize,
}
