//! Outcomes as JSON, with the fields of `sync`: one object a line, and the summary at the end.

use serde::Serialize;

use super::counts::Counts;
use crate::{
    cli::outcome_fields::{ReferrerFields, TargetFields},
    mirror::Loaded,
    model::{Status, printable_json},
};

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Line<'a> {
    outcome: &'static str,
    /// The name in the layout.
    image: &'a str,
    target: Option<TargetFields<'a>>,
    digest: Option<String>,
    bytes: u64,
    milliseconds: u64,
    /// Null if the name is no list of referrers.
    referrers: Option<ReferrerFields>,
    /// Which part failed.
    kind: Option<&'static str>,
    reason: Option<&'a str>,
}

pub fn loaded(loaded: &Loaded) -> serde_json::Result<String> {
    let (digest, failure) = match &loaded.status {
        Status::Copied(digest) | Status::AlreadyThere(digest) | Status::WouldCopy(digest) => (Some(digest), None),
        Status::WouldPull => (None, None),
        Status::Failed(failure) => (None, Some(failure)),
    };
    printable_json(&Line {
        outcome: loaded.status.name(),
        image: &loaded.name,
        target: loaded.destination.as_ref().map(Into::into),
        digest: digest.map(ToString::to_string),
        bytes: loaded.bytes,
        milliseconds: u64::try_from(loaded.took.as_millis()).unwrap_or(u64::MAX),
        referrers: loaded.referrers.as_ref().map(Into::into),
        kind: failure.map(|failure| failure.kind.name()),
        reason: failure.map(|failure| failure.message.as_str()),
    })
}

/// The last line; `interrupted` is the name of the signal that ended the run.
pub fn summary(counts: &Counts, interrupted: Option<&str>) -> serde_json::Result<String> {
    printable_json(&serde_json::json!({ "summary": counts, "interrupted": interrupted }))
}
