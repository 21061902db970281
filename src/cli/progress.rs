//! The progress of `sync`: a bar on a terminal, else lines.

use std::io::{IsTerminal, Write};

use indicatif::{ProgressBar, ProgressStyle};

use crate::model::{Event, Observer, Outcome, Status, printable};

/// Prints each outcome to standard output.
pub struct Progress {
    bar: ProgressBar,
}

impl Progress {
    /// With a bar if standard output is a terminal.
    pub fn new() -> Self {
        let bar = if std::io::stdout().is_terminal() {
            let bar = ProgressBar::no_length();
            if let Ok(style) = ProgressStyle::with_template("{spinner} {pos} images  {msg}  {elapsed}") {
                bar.set_style(style);
            }
            bar
        } else {
            ProgressBar::hidden()
        };
        Self { bar }
    }

    pub fn finish(&self) {
        self.bar.finish_and_clear();
    }

    fn print(&self, line: &str) {
        // A closed pipe does not stop mirroring.
        self.bar.suspend(|| drop(writeln!(std::io::stdout(), "{}", printable(line))));
    }
}

impl Observer for Progress {
    fn observe(&self, event: &Event<'_>) {
        match event {
            Event::Finished(outcome, _) => {
                self.bar.inc(1);
                self.print(&line(outcome));
            }
            Event::Undecided { workload, image, reason } => {
                let image = if image.is_empty() { "(none)" } else { image };
                self.print(&format!("undecided      {image} of {workload}: {reason}"));
            }
            Event::Queue { waiting, active, cooling } => {
                self.bar.set_message(format!("{active} active, {waiting} waiting, {cooling} failed"));
            }
            _ => {}
        }
    }
}

fn line(outcome: &Outcome) -> String {
    let (source, destination) = (&outcome.source, &outcome.destination);
    match &outcome.status {
        Status::Copied(_) => format!("copied         {source} -> {destination} ({} bytes)", outcome.bytes),
        Status::AlreadyThere(_) => format!("already there  {source} -> {destination}"),
        Status::WouldCopy(_) => format!("would copy     {source} -> {destination}"),
        Status::WouldPull => format!("would pull     {source} -> {destination}"),
        Status::Failed(failure) => format!("failed         {source} -> {destination}: {failure}"),
    }
}
