//! The result as a table for people: what is not whole, and a summary.

use std::io::{self, Write};

use super::{UndecidedUse, Verified, not_read::not_read};
use crate::{
    cli::terminal::{Row, Table, bytes},
    model::{VerifiedImage, Wholeness, printable},
};

/// Workloads that are named.
const MAX_WORKLOADS: usize = 3;

pub fn write(out: &mut dyn Write, verified: &Verified, width: Option<usize>) -> io::Result<()> {
    let mut listed: Vec<&VerifiedImage> =
        verified.images.iter().filter(|image| image.wholeness != Wholeness::Whole).collect();
    listed.sort_by_key(|image| image.wholeness);
    let mut rows: Vec<Row<2>> = listed.into_iter().map(row).collect();
    rows.extend(verified.undecided.iter().map(undecided));
    if !rows.is_empty() {
        Table::new(["RESULT", "DESTINATION"], rows).write(out, width)?;
        writeln!(out)?;
    }
    // With a registry down these are many.
    let mut not_compared =
        verified.images.iter().filter(|image| image.wholeness == Wholeness::Whole && image.reason.is_some());
    if let Some(first) = not_compared.next() {
        let reason = first.reason.as_deref().unwrap_or_default();
        let count = not_compared.count() + 1;
        writeln!(
            out,
            "{count} whole, but {}; --output json names all",
            printable(&format!("{reason} ({})", first.source))
        )?;
    }
    writeln!(out, "{}", summary(verified))
}

fn row(image: &VerifiedImage) -> Row<2> {
    let mut notes: Vec<String> = image.reason.iter().cloned().collect();
    // The first problem is in the reason.
    notes.extend(image.problems.iter().skip(1).map(|problem| {
        format!("{} {} {}: {}", problem.kind.name(), problem.part.text(), problem.digest, problem.message)
    }));
    let more = image.problem_count.saturating_sub(image.problems.len());
    if more > 0 {
        notes.push(format!("and {more} more"));
    }
    let mut workloads: Vec<String> = image.workloads.iter().take(MAX_WORKLOADS).map(ToString::to_string).collect();
    if image.workloads.len() > MAX_WORKLOADS {
        workloads.push("others".to_owned());
    }
    notes.push(format!("from {}, used by {}", image.source, workloads.join(", ")));
    let cells = [image.wholeness.name().to_owned(), image.destination.to_string()];
    Row {
        cells: cells.map(|cell| printable(&cell).into_owned()),
        notes: notes.iter().map(|note| printable(note).into_owned()).collect(),
    }
}

fn undecided(undecided: &UndecidedUse) -> Row<2> {
    let UndecidedUse { image, workload, reason } = undecided;
    let notes = [reason.clone(), format!("used by {workload}")];
    Row {
        cells: ["undecided".to_owned(), printable(image).into_owned()],
        notes: notes.map(|note| printable(&note).into_owned()).to_vec(),
    }
}

fn summary(verified: &Verified) -> String {
    let counts = Wholeness::ALL.into_iter().rev().filter_map(|result| {
        let count = verified.count(result);
        (count > 0).then(|| format!("{count} {}", result.name()))
    });
    let mut counts: Vec<String> = counts.collect();
    if !verified.undecided.is_empty() {
        counts.push(format!("{} undecided", verified.undecided.len()));
    }
    if counts.is_empty() {
        return "no images to verify".to_owned();
    }
    let parts: usize = verified.images.iter().map(|image| image.parts).sum();
    let read: u64 = verified.images.iter().map(|image| image.bytes_read).sum();
    let read = if read > 0 { format!(", {} read", bytes(read)) } else { String::new() };
    let not_read = not_read(&verified.not_read).map_or_else(String::new, |text| format!("; {text}"));
    format!("{}; {parts} parts looked at{read}{not_read}", counts.join(", "))
}
