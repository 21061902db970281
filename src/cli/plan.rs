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
    model::{Decision, ImageUse, TraceEntry, Verdict, printable, printable_json},
};

use super::{CommandError, args::PlanFormat, assemble, gather};

/// Decides on the images of the cluster, or of manifest files, and writes what was decided.
pub async fn plan(config: &Config, files: &[PathBuf], output: PlanFormat) -> Result<ExitCode, CommandError> {
    let (policy, _) = assemble::policy(config, Arc::new(())).await?;
    let uses = gather::uses(config, files).await?;
    let decisions = policy.decide(uses.clone()).await;
    let plan: Vec<_> = uses.into_iter().zip(decisions).collect();
    let mut out = BufWriter::new(io::stdout().lock());
    match write_plan(&mut out, output, &plan).and_then(|()| out.flush()) {
        // Who reads only the first lines has got what they wanted.
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(CommandError::Output(error)),
        _ => Ok(ExitCode::SUCCESS),
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
}

#[derive(Debug, Serialize)]
struct LineAnswer<'a> {
    hook: &'static str,
    plugin: &'a str,
    answer: &'a str,
    microseconds: u64,
}

impl<'a> Line<'a> {
    fn of(image_use: &'a ImageUse, decision: &'a Decision) -> Self {
        let id = &image_use.workload.id;
        let (word, reason, destinations) = match &decision.verdict {
            Verdict::Mirror(destinations) => ("mirror", None, destinations.as_slice()),
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
                .map(|destination| LineTarget { name: &destination.target.name, reference: destination.to_string() })
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

fn write_plan(out: &mut dyn Write, output: PlanFormat, plan: &[(ImageUse, Decision)]) -> io::Result<()> {
    match output {
        PlanFormat::Json => {
            for (image_use, decision) in plan {
                writeln!(out, "{}", printable_json(&Line::of(image_use, decision))?)?;
            }
            Ok(())
        }
        PlanFormat::Text => write_table(out, plan),
    }
}

fn write_table(out: &mut dyn Write, plan: &[(ImageUse, Decision)]) -> io::Result<()> {
    let mut rows = vec![["WORKLOAD", "CONTAINER", "IMAGE", "GOES TO", "WHY"].map(str::to_owned)];
    for (image_use, decision) in plan {
        let id = &image_use.workload.id;
        let workload = format!("{}/{}/{}", id.namespace, id.kind.name().to_lowercase(), id.name);
        let why = decision
            .trace
            .iter()
            .map(|entry| format!("{}: {} ({} µs)", entry.plugin, entry.answer, microseconds(entry)));
        let why = why.collect::<Vec<_>>().join("; ");
        let image = if image_use.image.is_empty() { "(none)" } else { &image_use.image };
        let start = [workload, image_use.container.name.clone(), image.to_owned()];
        let ends: Vec<[String; 2]> = match &decision.verdict {
            Verdict::Mirror(destinations) => {
                destinations.iter().map(|destination| [destination.to_string(), why.clone()]).collect()
            }
            Verdict::Skip(reason) => vec![["(skipped)".to_owned(), reason.clone()]],
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
