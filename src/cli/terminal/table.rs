//! A table that fits a width: cells are folded, and notes to a row stand below it.

use std::io::{self, Write};

use super::fold::{fold, text_width};

/// Between two columns.
const GAP: usize = 2;
/// Before each line of a note.
const INDENT: usize = 4;
/// No column is folded to less.
const MIN_COLUMN: usize = 8;

/// Rows of cells below a header.
pub struct Table<const N: usize> {
    header: [&'static str; N],
    rows: Vec<Row<N>>,
}

/// The cells of a row, and the lines below it.
pub struct Row<const N: usize> {
    pub cells: [String; N],
    pub notes: Vec<String>,
}

impl<const N: usize> Table<N> {
    pub fn new(header: [&'static str; N], rows: Vec<Row<N>>) -> Self {
        Self { header, rows }
    }

    /// Writes it; without a width nothing is folded.
    pub fn write(&self, out: &mut dyn Write, width: Option<usize>) -> io::Result<()> {
        let widths = self.widths(width);
        write_cells(out, &self.header, &widths)?;
        for row in &self.rows {
            write_cells(out, &row.cells.each_ref().map(String::as_str), &widths)?;
            let width = width.map_or(usize::MAX, |width| width.saturating_sub(INDENT).max(MIN_COLUMN));
            for line in row.notes.iter().flat_map(|note| fold(note, width)) {
                writeln!(out, "{:INDENT$}{line}", "")?;
            }
        }
        Ok(())
    }

    /// Whether no cell has to be folded.
    pub fn fits(&self, width: Option<usize>) -> bool {
        let needed = self.widths_of_content().iter().sum::<usize>() + GAP * N.saturating_sub(1);
        width.is_none_or(|width| needed <= width)
    }

    fn widths_of_content(&self) -> [usize; N] {
        let mut widths = self.header.map(text_width);
        for row in &self.rows {
            for (width, cell) in widths.iter_mut().zip(&row.cells) {
                *width = (*width).max(text_width(cell));
            }
        }
        widths
    }

    /// The widths of the columns: as wide as their content, and if that does not fit, the widest ones less.
    fn widths(&self, width: Option<usize>) -> [usize; N] {
        let widths = self.widths_of_content();
        let Some(available) = width.map(|width| width.saturating_sub(GAP * N.saturating_sub(1))) else { return widths };
        let capped = |cap: usize| widths.map(|width| width.min(cap));
        let mut cap = widths.iter().copied().max().unwrap_or_default();
        while cap > MIN_COLUMN && capped(cap).iter().sum::<usize>() > available {
            cap -= 1;
        }
        let mut fitting = capped(cap);
        // What the cap leaves goes to the last column that is still folded.
        let left = available.saturating_sub(fitting.iter().sum());
        if let Some((fitting, width)) = fitting.iter_mut().zip(widths).rev().find(|(fitting, width)| **fitting < *width)
        {
            *fitting = width.min(*fitting + left);
        }
        fitting
    }
}

fn write_cells<const N: usize>(out: &mut dyn Write, cells: &[&str; N], widths: &[usize; N]) -> io::Result<()> {
    let columns: Vec<Vec<String>> = cells.iter().zip(widths).map(|(cell, width)| fold(cell, (*width).max(1))).collect();
    let height = columns.iter().map(Vec::len).max().unwrap_or_default();
    for number in 0..height {
        let mut line = String::new();
        for (column, width) in columns.iter().zip(widths) {
            let cell = column.get(number).map(String::as_str).unwrap_or_default();
            line += cell;
            line += &" ".repeat((width + GAP).saturating_sub(text_width(cell)));
        }
        writeln!(out, "{}", line.trim_end())?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(width: Option<usize>) -> String {
        let row = |cells: [&str; 3], notes: &[&str]| Row {
            cells: cells.map(str::to_owned),
            notes: notes.iter().map(|note| (*note).to_owned()).collect(),
        };
        let table = Table::new(
            ["WORKLOAD", "IMAGE", "GOES TO"],
            vec![
                row(
                    ["shop/deployment/web", "nginx:1.27", "registry.example.com/mirror/library/nginx:1.27"],
                    &["skip: pass"],
                ),
                row(["a/pod/b", "busybox", "(skipped)"], &[]),
            ],
        );
        let mut out = Vec::new();
        table.write(&mut out, width).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn without_a_width_nothing_is_folded() {
        assert_eq!(
            written(None),
            "\
WORKLOAD             IMAGE       GOES TO
shop/deployment/web  nginx:1.27  registry.example.com/mirror/library/nginx:1.27
    skip: pass
a/pod/b              busybox     (skipped)
"
        );
        assert_eq!(written(Some(80)), written(None));
    }

    #[test]
    fn a_table_fits_its_width() {
        assert_eq!(
            written(Some(60)),
            "\
WORKLOAD             IMAGE       GOES TO
shop/deployment/web  nginx:1.27  registry.example.com/
                                 mirror/library/nginx:1.27
    skip: pass
a/pod/b              busybox     (skipped)
"
        );
        for width in 40..100 {
            let written = written(Some(width));
            assert!(written.lines().all(|line| text_width(line) <= width), "{width}:\n{written}");
        }
    }
}
