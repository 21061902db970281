//! `plan`: where each image would go and why; no registry is asked.

use std::{
    io::{self, BufWriter, Write},
    path::PathBuf,
    process::ExitCode,
    sync::Arc,
};

use serde::Serialize;

use crate::{
    config::Config,
    mirror::{Conflicts, DesiredImage},
    model::{Decision, Destination, ImageUse, TraceEntry, Verdict, printable, printable_json},
};

use super::{
    CommandError,
    args::{FailOn, PlanFormat},
    assemble, gather,
};

/// Decides on the images of the cluster, or of manifest files, and writes what was decided. 1 where something was found
/// of what it is to fail on.
pub async fn plan(
    config: &Config,
    files: &[PathBuf],
    output: PlanFormat,
    fail_on: &[FailOn],
) -> Result<ExitCode, CommandError> {
    let (policy, _) = assemble::policy(config, Arc::new(())).await?;
    let uses = gather::uses(config, files).await?;
    let decisions = policy.decide(uses.clone()).await;
    // What its plugins have to say at the end belongs before the plan's last word.
    drop(policy);
    let plan = Plan::of(uses.into_iter().zip(decisions).collect());
    let mut out = BufWriter::new(io::stdout().lock());
    match plan.write(&mut out, output).and_then(|()| out.flush()) {
        // Who reads only the first lines has got what they wanted.
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => return Err(CommandError::Output(error)),
        _ => {}
    }
    let faults = plan.faults(fail_on);
    if faults.is_empty() {
        return Ok(ExitCode::SUCCESS);
    }
    // Nobody is left to tell when even standard error is closed.
    let _ = writeln!(io::stderr(), "{}", faults.join(", "));
    Ok(ExitCode::FAILURE)
}

/// What was decided, and where that can't all come true.
struct Plan {
    decided: Vec<(ImageUse, Decision)>,
    conflicts: Conflicts,
}

impl Plan {
    fn of(decided: Vec<(ImageUse, Decision)>) -> Self {
        let desired = decided.iter().filter_map(|(image_use, decision)| match &decision.verdict {
            Verdict::Mirror { source, destinations } => Some(DesiredImage {
                image_use: image_use.clone(),
                source: source.clone(),
                destinations: destinations.clone(),
            }),
            _ => None,
        });
        let conflicts = Conflicts::among(desired);
        Self { decided, conflicts }
    }

    /// In words, each thing of `fail_on` that there is.
    fn faults(&self, fail_on: &[FailOn]) -> Vec<String> {
        let undecided = self.decided.iter().filter(|(_, decision)| matches!(decision.verdict, Verdict::Error { .. }));
        let asked = |what| fail_on.contains(&what);
        let faults = [
            self.conflicting_names().filter(|_| asked(FailOn::Conflict)),
            match undecided.count() {
                0 => None,
                1 => Some("1 image is undecided".to_owned()),
                count => Some(format!("{count} images are undecided")),
            }
            .filter(|_| asked(FailOn::Undecided)),
        ];
        faults.into_iter().flatten().collect()
    }

    /// None where every image has its name to itself.
    fn conflicting_names(&self) -> Option<String> {
        match self.conflicts.destinations() {
            0 => None,
            1 => Some("1 name is wanted by different images".to_owned()),
            count => Some(format!("{count} names are wanted by different images")),
        }
    }

    fn conflict(&self, decision: &Decision, destination: &Destination) -> Option<&str> {
        self.conflicts.other(destination, decision.source.as_ref()?)
    }
}

/// One line of a plan.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Line<'a> {
    workload: LineWorkload<'a>,
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
struct LineWorkload<'a> {
    kind: &'static str,
    namespace: &'a str,
    name: &'a str,
}

#[derive(Debug, Serialize)]
struct LineTarget<'a> {
    name: &'a str,
    reference: String,
    /// Another image that is to have this name, and whose it is.
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
    fn of(plan: &'a Plan, image_use: &'a ImageUse, decision: &'a Decision) -> Self {
        let id = &image_use.workload.id;
        let (word, reason, destinations) = match &decision.verdict {
            Verdict::Mirror { destinations, .. } => ("mirror", None, destinations.as_slice()),
            Verdict::Skip(reason) => ("skip", Some(reason.as_str()), [].as_slice()),
            Verdict::Error { reason, .. } => ("error", Some(reason.as_str()), [].as_slice()),
        };
        Self {
            workload: LineWorkload { kind: id.kind.name(), namespace: &id.namespace, name: &id.name },
            container: &image_use.container.name,
            container_type: image_use.container.kind.name(),
            image: &image_use.image,
            source: decision.source.as_ref().map(ToString::to_string),
            decision: word,
            reason,
            targets: destinations
                .iter()
                .map(|destination| LineTarget {
                    name: &destination.target.name,
                    reference: destination.to_string(),
                    conflict: plan.conflict(decision, destination),
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

fn microseconds(entry: &TraceEntry) -> u64 {
    u64::try_from(entry.took.as_micros()).unwrap_or(u64::MAX)
}

impl Plan {
    fn write(&self, out: &mut dyn Write, output: PlanFormat) -> io::Result<()> {
        match output {
            PlanFormat::Json => self.decided.iter().try_for_each(|(image_use, decision)| {
                writeln!(out, "{}", printable_json(&Line::of(self, image_use, decision))?)
            }),
            PlanFormat::Text => {
                write_table(out, self)?;
                self.conflicting_names().map_or(Ok(()), |told| writeln!(out, "{told}"))
            }
        }
    }
}

/// Each plugin that was asked, and its answer.
fn answers(decision: &Decision) -> String {
    let answers = decision.trace.iter();
    let answers = answers.map(|entry| format!("{}: {} ({} µs)", entry.plugin, entry.answer, microseconds(entry)));
    answers.collect::<Vec<_>>().join("; ")
}

/// Why an image is skipped: the answers, and the reason where it is not one of them.
fn why_skipped(decision: &Decision, reason: &str) -> String {
    let is_told = decision.trace.last().is_some_and(|entry| entry.answer.strip_prefix("skip: ") == Some(reason));
    match (is_told, decision.trace.is_empty()) {
        (true, _) => answers(decision),
        (false, true) => reason.to_owned(),
        (false, false) => format!("{}; {reason}", answers(decision)),
    }
}

fn write_table(out: &mut dyn Write, plan: &Plan) -> io::Result<()> {
    let mut rows = vec![["WORKLOAD", "CONTAINER", "IMAGE", "GOES TO", "WHY"].map(str::to_owned)];
    for (image_use, decision) in &plan.decided {
        let id = &image_use.workload.id;
        let workload = format!("{}/{}/{}", id.namespace, id.kind.name().to_lowercase(), id.name);
        let image = if image_use.image.is_empty() { "(none)" } else { &image_use.image };
        let start = [workload, image_use.container.name.clone(), image.to_owned()];
        let ends: Vec<[String; 2]> = match &decision.verdict {
            Verdict::Mirror { destinations, .. } => {
                let why = answers(decision);
                let end = |destination: &Destination| match plan.conflict(decision, destination) {
                    None => [destination.to_string(), why.clone()],
                    Some(other) => [destination.to_string(), format!("conflict: {other} has the same name; {why}")],
                };
                destinations.iter().map(end).collect()
            }
            Verdict::Skip(reason) => vec![["(skipped)".to_owned(), why_skipped(decision, reason)]],
            Verdict::Error { reason, .. } => vec![["(error)".to_owned(), reason.clone()]],
        };
        for [target, why] in ends {
            let [workload, container, image] = start.clone();
            rows.push([workload, container, image, target, why].map(|cell| printable(&cell).into_owned()));
        }
    }
    let mut widths = [0; 4];
    for row in &rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    for row in &rows {
        for (cell, width) in row.iter().zip(widths) {
            write!(out, "{cell:width$}  ")?;
        }
        writeln!(out, "{}", row.last().map(String::as_str).unwrap_or_default())?;
    }
    Ok(())
}
