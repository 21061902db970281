//! A plan as a table.

use std::io::{self, Write};

use super::decided::{DecidedUses, microseconds};
use crate::model::{Decision, Destination, Verdict, printable};

pub fn write(out: &mut dyn Write, decided: &DecidedUses) -> io::Result<()> {
    let rows = rows(decided);
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
    decided.conflicts_summary().map_or(Ok(()), |summary| writeln!(out, "{summary}"))
}

fn rows(decided: &DecidedUses) -> Vec<[String; 5]> {
    let mut rows = vec![["WORKLOAD", "CONTAINER", "IMAGE", "GOES TO", "WHY"].map(str::to_owned)];
    for (image_use, decision) in &decided.uses {
        let id = &image_use.workload.id;
        let workload = format!("{}/{}/{}", id.namespace, id.kind.name().to_lowercase(), id.name);
        let image = if image_use.image.is_empty() { "(none)" } else { &image_use.image };
        let first_cells = [workload, image_use.container.name.clone(), image.to_owned()];
        let last_cells: Vec<[String; 2]> = match &decision.verdict {
            Verdict::Mirror { destinations, .. } => {
                let why = answers(decision);
                let cells = |destination: &Destination| match decided.conflict(decision, destination) {
                    None => [destination.to_string(), why.clone()],
                    Some(other) => {
                        [destination.to_string(), format!("conflict: {other} has the same destination; {why}")]
                    }
                };
                destinations.iter().map(cells).collect()
            }
            Verdict::Skip(reason) => vec![["(skipped)".to_owned(), why_skipped(decision, reason)]],
            Verdict::Error { reason, .. } => vec![["(error)".to_owned(), reason.clone()]],
        };
        for [target, why] in last_cells {
            let [workload, container, image] = first_cells.clone();
            rows.push([workload, container, image, target, why].map(|cell| printable(&cell).into_owned()));
        }
    }
    rows
}

/// The answers of all called plugins.
fn answers(decision: &Decision) -> String {
    let answers = decision.trace.iter();
    let answers = answers.map(|entry| format!("{}: {} ({} µs)", entry.plugin, entry.answer, microseconds(entry)));
    answers.collect::<Vec<_>>().join("; ")
}

/// The answers, and the reason unless it is the last answer.
fn why_skipped(decision: &Decision, reason: &str) -> String {
    let is_answer = decision.trace.last().is_some_and(|entry| entry.answer.strip_prefix("skip: ") == Some(reason));
    match (is_answer, decision.trace.is_empty()) {
        (true, _) => answers(decision),
        (false, true) => reason.to_owned(),
        (false, false) => format!("{}; {reason}", answers(decision)),
    }
}
