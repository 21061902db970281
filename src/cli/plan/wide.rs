//! A plan with one line for each destination, however long it is.

use std::io::{self, Write};

use super::{
    decided::DecidedUses,
    names::{image, workload},
    reasons::{Reasons, conflict},
};
use crate::{
    cli::terminal::text_width,
    model::{Destination, Verdict, printable},
};

pub fn write(out: &mut dyn Write, decided: &DecidedUses, timings: bool) -> io::Result<()> {
    let rows = rows(decided, Reasons { timings, all: true });
    let mut widths = [0; 4];
    for row in &rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(text_width(cell));
        }
    }
    for row in &rows {
        for (cell, width) in row.iter().zip(widths) {
            write!(out, "{cell}{:1$}", "", width.saturating_sub(text_width(cell)) + 2)?;
        }
        writeln!(out, "{}", row.last().map(String::as_str).unwrap_or_default())?;
    }
    writeln!(out, "{}", decided.summary())
}

fn rows(decided: &DecidedUses, reasons: Reasons) -> Vec<[String; 5]> {
    let mut rows = vec![["WORKLOAD", "CONTAINER", "IMAGE", "GOES TO", "WHY"].map(str::to_owned)];
    for (image_use, decision) in &decided.uses {
        let first_cells = [workload(image_use), image_use.container.name.clone(), image(image_use).to_owned()];
        let last_cells: Vec<[String; 2]> = match &decision.verdict {
            Verdict::Mirror { destinations, .. } => {
                let why = reasons.answers(decision);
                let cells = |destination: &Destination| match decided.conflict(decision, destination) {
                    None => [destination.to_string(), why.clone()],
                    Some(other) => [destination.to_string(), format!("{}; {why}", conflict(other))],
                };
                destinations.iter().map(cells).collect()
            }
            Verdict::Skip(reason) => vec![["(skipped)".to_owned(), reasons.why_skipped(decision, reason)]],
            Verdict::Error { reason, .. } => vec![["(error)".to_owned(), reason.clone()]],
        };
        for [target, why] in last_cells {
            let [workload, container, image] = first_cells.clone();
            rows.push([workload, container, image, target, why].map(|cell| printable(&cell).into_owned()));
        }
    }
    rows
}
