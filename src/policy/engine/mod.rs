//! The WebAssembly engine that runs all plugins, and its epochs, which end calls at their deadlines.

mod clock;
pub mod config;

use std::{io, sync::Arc, time::Duration};

use wasmtime::Engine;

use clock::TICK;
use config::engine_config;

pub use clock::Clock;

/// Why no plugin can run on this host.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// The engine does not support the host.
    #[error("WebAssembly can't run here: {0}")]
    Engine(String),
    /// The thread for deadlines can't be started.
    #[error("the thread for the deadlines of plugins can't be started: {0}")]
    Clock(io::Error),
}

/// The engine and its clock.
pub struct Runtime {
    pub engine: Engine,
    /// Advances the engine's epoch while calls run.
    pub clock: Arc<Clock>,
}

/// Starts the engine and its clock.
pub fn start() -> Result<Runtime, EngineError> {
    let engine = Engine::new(&engine_config()).map_err(|error| EngineError::Engine(format!("{error:#}")))?;
    let clock_engine = engine.clone();
    let clock = Clock::start(move || clock_engine.increment_epoch()).map_err(EngineError::Clock)?;
    Ok(Runtime { engine, clock: Arc::new(clock) })
}

/// The number of epochs after which `timeout` has certainly passed.
pub fn epochs(timeout: Duration) -> u64 {
    let ticks = timeout.as_millis().div_ceil(TICK.as_millis()).saturating_add(1);
    u64::try_from(ticks).unwrap_or(u64::MAX / 2).min(u64::MAX / 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rounds_deadlines_up() {
        assert_eq!(epochs(Duration::ZERO), 1);
        assert_eq!(epochs(Duration::from_millis(1)), 2);
        assert_eq!(epochs(Duration::from_secs(1)), 101);
        assert_eq!(epochs(Duration::MAX), u64::MAX / 2);
    }
}
