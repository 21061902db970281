//! A plan as JSON: one object per image use and line.

use std::io::{self, Write};

use serde::Serialize;

use super::decided::{DecidedUses, microseconds};
use crate::{
    cli::outcome_fields::{TargetFields, WorkloadFields},
    model::{Decision, ImageUse, Reference, Verdict, printable_json},
};

pub fn write(out: &mut dyn Write, decided: &DecidedUses) -> io::Result<()> {
    decided.uses.iter().try_for_each(|(image_use, decision)| {
        writeln!(out, "{}", printable_json(&Line::new(decided, image_use, decision))?)
    })
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Line<'a> {
    workload: WorkloadFields<'a>,
    container: &'a str,
    container_type: &'static str,
    image: &'a str,
    source: Option<String>,
    decision: &'static str,
    reason: Option<&'a str>,
    targets: Vec<LineTarget<'a>>,
    trace: Vec<LineAnswer<'a>>,
}

#[derive(Debug, Serialize)]
struct LineTarget<'a> {
    #[serde(flatten)]
    target: TargetFields<'a>,
    /// The other image that claims the destination, with its workload.
    #[serde(skip_serializing_if = "Option::is_none")]
    conflict: Option<&'a str>,
}

#[derive(Debug, Serialize)]
struct LineAnswer<'a> {
    hook: &'static str,
    plugin: &'a str,
    answer: &'a str,
    microseconds: u64,
}

impl<'a> Line<'a> {
    fn new(decided: &'a DecidedUses, image_use: &'a ImageUse, decision: &'a Decision) -> Self {
        let (word, reason, destinations) = match &decision.verdict {
            Verdict::Mirror { destinations, .. } => ("mirror", None, destinations.as_slice()),
            Verdict::Skip(reason) => ("skip", Some(reason.as_str()), [].as_slice()),
            Verdict::Error { reason, .. } => ("error", Some(reason.as_str()), [].as_slice()),
        };
        Self {
            workload: (&image_use.workload.id).into(),
            container: &image_use.container.name,
            container_type: image_use.container.kind.name(),
            image: &image_use.image,
            source: image_use.image.parse().ok().map(|source: Reference| source.to_string()),
            decision: word,
            reason,
            targets: destinations
                .iter()
                .map(|destination| LineTarget {
                    target: destination.into(),
                    conflict: decided.conflict(decision, destination),
                })
                .collect(),
            trace: decision
                .trace
                .iter()
                .map(|entry| LineAnswer {
                    hook: entry.hook.name(),
                    plugin: &entry.plugin,
                    answer: &entry.answer,
                    microseconds: microseconds(entry),
                })
                .collect(),
        }
    }
}
