//! Outcomes as JSON: one object a line, and the summary at the end.

use serde::Serialize;

use super::counts::{Counts, OutcomeName};
use crate::{
    cli::outcome_fields::{ReferrerFields, TargetFields, WorkloadFields},
    model::{Outcome, Status, WorkloadId, printable_json},
};

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Line<'a> {
    outcome: &'static str,
    image: &'a str,
    source: Option<String>,
    target: Option<TargetFields<'a>>,
    workloads: Vec<WorkloadFields<'a>>,
    digest: Option<String>,
    bytes: u64,
    milliseconds: u64,
    /// The further sources that gave the image or a part of it.
    copied_from: &'a [String],
    /// Null if they were not looked for.
    referrers: Option<ReferrerFields>,
    /// Which part failed.
    kind: Option<&'static str>,
    reason: Option<&'a str>,
}

/// An outcome.
pub fn outcome(outcome: &Outcome) -> serde_json::Result<String> {
    let digest = match &outcome.status {
        Status::Copied(digest) | Status::AlreadyThere(digest) | Status::WouldCopy(digest) => Some(digest.to_string()),
        Status::WouldPull | Status::Failed(_) => None,
    };
    let failure = match &outcome.status {
        Status::Failed(failure) => Some(failure),
        _ => None,
    };
    printable_json(&Line {
        outcome: OutcomeName::of(outcome).name(),
        image: &outcome.image,
        source: Some(outcome.source.to_string()),
        target: Some((&outcome.destination).into()),
        workloads: outcome.workloads.iter().map(Into::into).collect(),
        digest,
        bytes: outcome.bytes,
        milliseconds: u64::try_from(outcome.took.as_millis()).unwrap_or(u64::MAX),
        copied_from: &outcome.copied_from,
        referrers: outcome.referrers.as_ref().map(Into::into),
        kind: failure.map(|failure| failure.kind.name()),
        reason: failure.map(|failure| failure.message.as_str()),
    })
}

/// An image use that could not be decided.
pub fn undecided(workload: &WorkloadId, image: &str, reason: &str) -> serde_json::Result<String> {
    printable_json(&Line {
        outcome: "undecided",
        image,
        source: None,
        target: None,
        workloads: vec![workload.into()],
        digest: None,
        bytes: 0,
        milliseconds: 0,
        copied_from: &[],
        referrers: None,
        kind: None,
        reason: Some(reason),
    })
}

/// The last line; `interrupted` is the name of the signal that ended the pass.
pub fn summary(counts: &Counts, interrupted: Option<&str>) -> serde_json::Result<String> {
    printable_json(&serde_json::json!({ "summary": counts, "interrupted": interrupted }))
}
