//! Captures what plugins log during test cases.

use std::{
    io::{self, Write},
    sync::{Arc, Mutex, PoisonError},
};

use tracing::level_filters::LevelFilter;

#[derive(Clone, Default)]
struct LogBuffer(Arc<Mutex<Vec<u8>>>);

impl Write for LogBuffer {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Runs `action`, and returns its result and the log lines of this thread, of all levels.
pub fn capture_logs<T>(action: impl FnOnce() -> T) -> (T, Vec<String>) {
    let buffer = LogBuffer::default();
    let writer = buffer.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(LevelFilter::TRACE)
        .with_writer(move || writer.clone())
        .with_ansi(false)
        .with_target(false)
        .without_time()
        .finish();
    let value = tracing::subscriber::with_default(subscriber, action);
    let bytes = buffer.0.lock().unwrap_or_else(PoisonError::into_inner);
    (value, String::from_utf8_lossy(&bytes).lines().map(|line| line.trim().to_owned()).collect())
}
