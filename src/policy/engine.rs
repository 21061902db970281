//! The engine that all plugins run in, and their deadlines in its terms.

use std::{io, sync::Arc, time::Duration};

use wasmtime::Engine;

use super::{
    clock::{Clock, TICK},
    engine_config::engine_config,
};

/// What the operating system or the processor can't do.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// The engine refuses the host.
    #[error("WebAssembly can't run here: {0}")]
    Engine(String),
    /// There is no thread to be had.
    #[error("the clock of the plugins' deadlines can't be started")]
    Clock(#[source] io::Error),
}

/// What plugins run in.
pub struct Runtime {
    pub engine: Engine,
    /// Advances the engine's epoch while it runs.
    pub clock: Arc<Clock>,
}

/// An engine, and the clock that interrupts what runs in it.
pub fn start() -> Result<Runtime, EngineError> {
    let engine = Engine::new(&engine_config()).map_err(|error| EngineError::Engine(format!("{error:#}")))?;
    let timed = engine.clone();
    let clock = Clock::start(move || timed.increment_epoch()).map_err(EngineError::Clock)?;
    Ok(Runtime { engine, clock: Arc::new(clock) })
}

/// The number of epochs after which `timeout` has surely passed.
pub fn epochs(timeout: Duration) -> u64 {
    let ticks = timeout.as_millis().div_ceil(TICK.as_millis()).saturating_add(1);
    u64::try_from(ticks).unwrap_or(u64::MAX / 2).min(u64::MAX / 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deadlines_are_rounded_up() {
        assert_eq!(epochs(Duration::ZERO), 1);
        assert_eq!(epochs(Duration::from_millis(1)), 2);
        assert_eq!(epochs(Duration::from_secs(1)), 101);
        assert_eq!(epochs(Duration::MAX), u64::MAX / 2);
    }
}
