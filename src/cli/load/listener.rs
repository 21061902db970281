//! Prints what `load` does, and counts it.

use std::{
    io::{self, Write as _},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use super::{counts::Counts, json, text};
use crate::{
    cli::sync::{Progress, SyncFormat},
    mirror::LoadEvent,
};

/// Hears of the names of a layout.
pub struct Listener {
    progress: Arc<Progress>,
    format: SyncFormat,
    numbers: Mutex<Numbers>,
}

#[derive(Default)]
struct Numbers {
    counts: Counts,
    waiting: usize,
}

impl Listener {
    pub fn new(progress: Arc<Progress>, format: SyncFormat) -> Self {
        Self { progress, format, numbers: Mutex::default() }
    }

    pub fn progress(&self) -> &Arc<Progress> {
        &self.progress
    }

    pub fn hear(&self, event: &LoadEvent<'_>) {
        match event {
            LoadEvent::Names(names) => {
                let mut numbers = self.numbers();
                numbers.counts.expect(*names);
                numbers.waiting = *names;
            }
            LoadEvent::Started { name, destination, progress } => {
                let waiting = {
                    let mut numbers = self.numbers();
                    numbers.waiting = numbers.waiting.saturating_sub(1);
                    numbers.waiting
                };
                self.progress.with(|under_way| {
                    under_way.set_waiting(waiting);
                    under_way.start(name, destination, progress);
                });
            }
            LoadEvent::Sent(bytes) => self.progress.with(|under_way| under_way.add_bytes(*bytes)),
            LoadEvent::Loaded(loaded) => {
                self.numbers().counts.add(loaded);
                if let Some(destination) = &loaded.destination {
                    self.progress.with(|under_way| under_way.finish(&loaded.name, destination));
                }
                match self.format {
                    SyncFormat::Text => self.progress.print(&text::loaded(loaded, self.progress.width())),
                    SyncFormat::Json => self.progress.print_json(json::loaded(loaded)),
                }
            }
        }
    }

    /// Prints the summary, and returns whether everything was loaded.
    pub fn summarize(&self, interrupted: Option<&str>) -> io::Result<bool> {
        let counts = self.numbers().counts;
        let line = match (self.format, interrupted) {
            (SyncFormat::Text, None) => counts.summary(),
            (SyncFormat::Text, Some(signal)) => format!("interrupted by {signal}: {}", counts.summary()),
            (SyncFormat::Json, _) => json::summary(&counts, interrupted)?,
        };
        writeln!(io::stdout(), "{line}")?;
        Ok(counts.failed == 0 && counts.not_done == 0)
    }

    fn numbers(&self) -> MutexGuard<'_, Numbers> {
        self.numbers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
