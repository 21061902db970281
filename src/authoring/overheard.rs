//! What plugins log while they are tried, kept beside the answers instead of going to the program's log.

use std::{
    io::{self, Write},
    sync::{Arc, Mutex, PoisonError},
};

use tracing::level_filters::LevelFilter;

/// Lines, as they are written.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The value of `act`, and what was logged in this thread meanwhile, at all levels.
pub fn overheard<T>(act: impl FnOnce() -> T) -> (T, Vec<String>) {
    let lines = Lines::default();
    let writer = lines.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(LevelFilter::TRACE)
        .with_writer(move || writer.clone())
        .with_ansi(false)
        .with_target(false)
        .without_time()
        .finish();
    let value = tracing::subscriber::with_default(subscriber, act);
    let bytes = lines.0.lock().unwrap_or_else(PoisonError::into_inner);
    (value, String::from_utf8_lossy(&bytes).lines().map(|line| line.trim().to_owned()).collect())
}
