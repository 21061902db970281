//! What `plan`, `sync` and `load` print alike: a workload, a target and an image's referrers.

use serde::Serialize;

use crate::model::{Destination, ReferrerOutcome, WorkloadId};

/// A workload in JSON.
#[derive(Debug, Serialize)]
pub struct WorkloadFields<'a> {
    kind: &'static str,
    namespace: &'a str,
    name: &'a str,
}

impl<'a> From<&'a WorkloadId> for WorkloadFields<'a> {
    fn from(id: &'a WorkloadId) -> Self {
        Self { kind: id.kind.name(), namespace: &id.namespace, name: &id.name }
    }
}

/// A destination in JSON.
#[derive(Debug, Serialize)]
pub struct TargetFields<'a> {
    name: &'a str,
    reference: String,
}

impl<'a> From<&'a Destination> for TargetFields<'a> {
    fn from(destination: &'a Destination) -> Self {
        Self { name: &destination.target.name, reference: destination.to_string() }
    }
}

/// What became of an image's referrers, in JSON.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ReferrerFields {
    copied: usize,
    already_there: usize,
    failed: usize,
    /// Of at most five.
    failures: Vec<String>,
}

impl From<&ReferrerOutcome> for ReferrerFields {
    fn from(outcome: &ReferrerOutcome) -> Self {
        Self {
            copied: outcome.copied,
            already_there: outcome.already_there,
            failed: outcome.failed,
            failures: outcome.failures.iter().map(ToString::to_string).collect(),
        }
    }
}

/// The referrers' part of a summary line; empty if there were none.
pub fn referrer_counts(copied: usize, failed: usize) -> String {
    let copied_text = if copied == 1 { "1 referrer copied".to_owned() } else { format!("{copied} referrers copied") };
    match (copied, failed) {
        (0, 0) => String::new(),
        (_, 0) => format!("; {copied_text}"),
        (_, failed) => format!("; {copied_text}, {failed} failed"),
    }
}
