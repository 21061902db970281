//! A plan as a table that fits the terminal, with the reasons below the rows.

use std::io::{self, Write};

use super::{
    decided::DecidedUses,
    names::{image, workload},
    reasons::{Reasons, conflict},
};
use crate::{
    cli::terminal::{Row, Table, fold},
    model::{Decision, Destination, ImageUse, Verdict, printable},
};

/// Without a width nothing is folded. If the destinations do not fit beside the images, they stand below them.
pub fn write(out: &mut dyn Write, decided: &DecidedUses, timings: bool, width: Option<usize>) -> io::Result<()> {
    let reasons = Reasons { timings, all: false };
    let uses: Vec<_> =
        decided.uses.iter().map(|(image_use, decision)| Use::new(decided, image_use, decision, reasons)).collect();
    let table = Table::new(["WORKLOAD", "CONTAINER", "IMAGE", "GOES TO"], uses.iter().flat_map(Use::rows).collect());
    if table.fits(width) {
        table.write(out, width)?;
    } else {
        let rows = uses.iter().map(Use::row_with_targets_below).collect();
        Table::new(["WORKLOAD", "CONTAINER", "IMAGE"], rows).write(out, width)?;
    }
    fold(&decided.summary(), width.unwrap_or(usize::MAX)).iter().try_for_each(|line| writeln!(out, "{line}"))
}

/// What is printed of an image use.
struct Use {
    /// Workload, container and image.
    cells: [String; 3],
    targets: Vec<String>,
    why: String,
}

impl Use {
    fn new(decided: &DecidedUses, image_use: &ImageUse, decision: &Decision, reasons: Reasons) -> Self {
        let cells = [workload(image_use), image_use.container.name.clone(), image(image_use).to_owned()];
        let (targets, why) = match &decision.verdict {
            Verdict::Mirror { destinations, .. } => {
                let targets = destinations.iter().map(ToString::to_string).collect();
                (targets, why_mirrored(decided, decision, destinations, reasons))
            }
            Verdict::Skip(reason) => (vec!["(skipped)".to_owned()], reasons.why_skipped(decision, reason)),
            Verdict::Error { reason, .. } => (vec!["(undecided)".to_owned()], reason.clone()),
        };
        Self {
            cells: cells.map(|cell| printable(&cell).into_owned()),
            targets: targets.iter().map(|target| printable(target).into_owned()).collect(),
            why: printable(&why).into_owned(),
        }
    }

    /// A row for each target; the cells before it and the reason once.
    fn rows(&self) -> Vec<Row<4>> {
        let mut first_cells = self.cells.clone();
        let row = |target: &String| {
            let [workload, container, image] = std::mem::take(&mut first_cells);
            Row { cells: [workload, container, image, target.clone()], notes: Vec::new() }
        };
        let mut rows: Vec<Row<4>> = self.targets.iter().map(row).collect();
        if let Some(row) = rows.last_mut() {
            row.notes.extend(self.why());
        }
        rows
    }

    fn row_with_targets_below(&self) -> Row<3> {
        let targets = self.targets.iter().map(|target| match target.starts_with('(') {
            true => target.clone(),
            false => format!("-> {target}"),
        });
        Row { cells: self.cells.clone(), notes: targets.chain(self.why()).collect() }
    }

    fn why(&self) -> Option<String> {
        (!self.why.is_empty()).then(|| self.why.clone())
    }
}

/// The conflicts first. With several destinations each conflict names its own.
fn why_mirrored(decided: &DecidedUses, decision: &Decision, destinations: &[Destination], reasons: Reasons) -> String {
    let conflicts = destinations.iter().filter_map(|destination| {
        let text = conflict(decided.conflict(decision, destination)?);
        Some(if destinations.len() > 1 { format!("{text}, {destination}") } else { text })
    });
    let why: Vec<String> = conflicts.chain([reasons.answers(decision)]).filter(|text| !text.is_empty()).collect();
    why.join("; ")
}
