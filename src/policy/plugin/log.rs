//! The log interface, the only import of plugins: writes lines to the program's log, limited in number and length.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use crate::policy::{
    bindings::log::{Host, Level},
    text::shortened,
};

const WINDOW: Duration = Duration::from_secs(1);
/// In bytes.
const MAX_LINE: usize = 4096;

/// The log of one plugin, shared by its instances.
#[derive(Debug)]
pub struct PluginLog {
    plugin: String,
    /// Per window.
    max_lines: u32,
    window: Mutex<Window>,
}

#[derive(Debug)]
struct Window {
    start: Instant,
    lines: u32,
    dropped: u64,
}

#[derive(Debug, PartialEq, Eq)]
enum Admission {
    /// With the number of lines dropped before it.
    Write {
        dropped: u64,
    },
    Drop,
}

impl Window {
    fn admit(&mut self, now: Instant, max_lines: u32) -> Admission {
        let mut dropped = 0;
        if now.duration_since(self.start) >= WINDOW {
            dropped = self.dropped;
            *self = Self { start: now, lines: 0, dropped: 0 };
        }
        if self.lines < max_lines {
            self.lines += 1;
            return Admission::Write { dropped };
        }
        self.dropped += 1;
        Admission::Drop
    }
}

impl PluginLog {
    /// A log for at most `max_lines` lines per second.
    pub fn new(plugin: &str, max_lines: u32) -> Arc<Self> {
        let window = Window { start: Instant::now(), lines: 0, dropped: 0 };
        Arc::new(Self { plugin: plugin.to_owned(), max_lines, window: Mutex::new(window) })
    }

    fn write(&self, level: Level, message: &str) {
        let admission =
            self.window.lock().unwrap_or_else(PoisonError::into_inner).admit(Instant::now(), self.max_lines);
        let Admission::Write { dropped } = admission else { return };
        let plugin = self.plugin.as_str();
        if dropped > 0 {
            tracing::warn!(plugin, dropped, "the plugin logs too many lines; some were dropped");
        }
        let message = shortened(message, MAX_LINE);
        match level {
            Level::Trace => tracing::trace!(plugin, "{message}"),
            Level::Debug => tracing::debug!(plugin, "{message}"),
            Level::Info => tracing::info!(plugin, "{message}"),
            Level::Warn => tracing::warn!(plugin, "{message}"),
            Level::Error => tracing::error!(plugin, "{message}"),
        }
    }
}

impl Host for Arc<PluginLog> {
    fn log(&mut self, level: Level, message: String) {
        self.write(level, &message);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn drops_lines_beyond_the_limit_and_reports_them_in_the_next_window() {
        let start = Instant::now();
        let mut window = Window { start, lines: 0, dropped: 0 };
        for _ in 0..3 {
            assert_eq!(window.admit(start, 3), Admission::Write { dropped: 0 });
        }
        assert_eq!(window.admit(start, 3), Admission::Drop);
        assert_eq!(window.admit(start, 3), Admission::Drop);
        assert_eq!(window.admit(start + WINDOW, 3), Admission::Write { dropped: 2 });
        assert_eq!(window.admit(start + WINDOW, 3), Admission::Write { dropped: 0 });
    }
}
