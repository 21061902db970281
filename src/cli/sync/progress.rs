//! The output of `sync`: each outcome, what is under way, and a summary.

use std::{
    io::{self, Write},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use clap::ValueEnum;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use tokio::time::sleep;

use super::{counts::Counts, json, text, under_way::UnderWay};
use crate::{
    cli::terminal,
    model::{Event, Observer},
};

/// Between two pictures on a terminal.
const REFRESH: Duration = Duration::from_millis(250);
/// Between two lines about what is under way, elsewhere.
const LINE_INTERVAL: Duration = Duration::from_secs(10);

/// The format of the outcomes of `sync`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum SyncFormat {
    /// Lines for people, and progress on a terminal.
    Text,
    /// One JSON object for each outcome and one for the summary, one per line.
    Json,
}

/// Prints outcomes to standard output, and what is under way; of `sync` and `load`.
pub struct Progress {
    format: SyncFormat,
    shown: Shown,
    under_way: Mutex<UnderWay>,
}

/// Where to show what is under way.
enum Shown {
    /// On the terminal that this stream is.
    Terminal { bar: ProgressBar, is_stdout: bool },
    /// As lines between the outcomes, or on standard error beside JSON.
    Lines,
}

impl Progress {
    /// On a terminal, what is under way is shown there: on standard output, or on standard error if standard output has JSON.
    pub fn new(format: SyncFormat) -> Self {
        let is_stdout = format == SyncFormat::Text;
        let is_terminal = if is_stdout { terminal::stdout_width() } else { terminal::stderr_width() }.is_some();
        let shown = if is_terminal {
            let target = if is_stdout { ProgressDrawTarget::stdout() } else { ProgressDrawTarget::stderr() };
            let bar = ProgressBar::with_draw_target(None, target);
            if let Ok(style) = ProgressStyle::with_template("{msg}") {
                bar.set_style(style);
            }
            Shown::Terminal { bar, is_stdout }
        } else {
            Shown::Lines
        };
        Self { format, shown, under_way: Mutex::default() }
    }

    /// Shows what is under way until it is dropped.
    pub async fn show(self: Arc<Self>) {
        let mut last_line = Instant::now();
        loop {
            sleep(REFRESH).await;
            let now = Instant::now();
            match &self.shown {
                Shown::Terminal { bar, is_stdout } => {
                    let width = if *is_stdout { terminal::stdout_width() } else { terminal::stderr_width() };
                    let lines = self.with(|under_way| {
                        under_way.measure(now);
                        // The last column makes some terminals begin a new line.
                        under_way.lines(now, width.unwrap_or(80).saturating_sub(1))
                    });
                    bar.set_message(lines.join("\n"));
                }
                Shown::Lines => {
                    let line = self.with(|under_way| {
                        under_way.measure(now);
                        let is_due = now.duration_since(last_line) >= LINE_INTERVAL && !under_way.is_empty();
                        is_due.then(|| under_way.line(now))
                    });
                    if let Some(line) = line {
                        last_line = now;
                        let line = text::under_way(&line);
                        // A closed pipe does not stop mirroring.
                        let _ = match self.format {
                            SyncFormat::Text => writeln!(io::stdout(), "{line}"),
                            SyncFormat::Json => writeln!(io::stderr(), "{line}"),
                        };
                    }
                }
            }
        }
    }

    /// Removes what is under way from the terminal.
    pub fn finish(&self) {
        if let Shown::Terminal { bar, .. } = &self.shown {
            bar.finish_and_clear();
        }
    }

    /// Prints the summary.
    ///
    /// # Errors
    /// If standard output can't be written.
    pub fn summarize(&self, counts: &Counts, interrupted: Option<&str>) -> io::Result<()> {
        summarize(self.format, Some(counts), interrupted)
    }

    /// Changes what is under way.
    pub fn with<T>(&self, action: impl FnOnce(&mut UnderWay) -> T) -> T {
        action(&mut self.under_way.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Prints a line to standard output.
    pub fn print(&self, line: &str) {
        // As above.
        let print = || drop(writeln!(io::stdout(), "{line}"));
        match &self.shown {
            Shown::Terminal { bar, .. } => bar.suspend(print),
            Shown::Lines => print(),
        }
    }

    /// Prints a line of JSON to standard output.
    pub fn print_json(&self, line: serde_json::Result<String>) {
        match line {
            Ok(line) => self.print(&line),
            Err(error) => tracing::error!(%error, "an outcome can't be written as JSON"),
        }
    }

    /// The width to fold lines to.
    pub fn width(&self) -> Option<usize> {
        matches!(self.shown, Shown::Terminal { is_stdout: true, .. }).then(terminal::stdout_width).flatten()
    }
}

/// Prints a summary; without counts nothing had begun.
///
/// # Errors
/// If standard output can't be written.
pub fn summarize(format: SyncFormat, counts: Option<&Counts>, interrupted: Option<&str>) -> io::Result<()> {
    let line = match format {
        SyncFormat::Text => {
            let summary = counts.map_or_else(|| "nothing was processed yet".to_owned(), Counts::summary);
            match interrupted {
                Some(signal) => format!("interrupted by {signal}: {summary}"),
                None => summary,
            }
        }
        SyncFormat::Json => json::summary(counts.unwrap_or(&Counts::default()), interrupted)?,
    };
    writeln!(io::stdout(), "{line}")
}

impl Observer for Progress {
    fn observe(&self, event: &Event<'_>) {
        match event {
            Event::CopyStarted { source, destination, progress, .. } => {
                self.with(|under_way| under_way.start(source, destination, progress));
            }
            Event::BytesCopied(bytes) => self.with(|under_way| under_way.add_bytes(*bytes)),
            Event::Finished(outcome, _) => {
                self.with(|under_way| under_way.finish(&outcome.source, &outcome.destination));
                match self.format {
                    SyncFormat::Text => self.print(&text::outcome(outcome, self.width())),
                    SyncFormat::Json => self.print_json(json::outcome(outcome)),
                }
            }
            Event::Undecided { workload, image, reason } => match self.format {
                SyncFormat::Text => self.print(&text::undecided(workload, image, reason, self.width())),
                SyncFormat::Json => self.print_json(json::undecided(workload, image, reason)),
            },
            Event::Queue { waiting, .. } => self.with(|under_way| under_way.set_waiting(*waiting)),
            _ => {}
        }
    }
}
