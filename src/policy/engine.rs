//! The engine that all plugins run in, and the clock of their deadlines.

use std::{io, thread, time::Duration};

use wasmtime::Engine;

use super::engine_config::engine_config;

/// How often the epoch advances: how exactly deadlines are kept.
const TICK: Duration = Duration::from_millis(10);

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

/// Starts an engine whose epoch advances for as long as it lives.
pub fn start() -> Result<Engine, EngineError> {
    let engine = Engine::new(&engine_config()).map_err(|error| EngineError::Engine(format!("{error:#}")))?;
    let weak = engine.weak();
    let tick = move || {
        while let Some(engine) = weak.upgrade() {
            engine.increment_epoch();
            drop(engine);
            thread::sleep(TICK);
        }
    };
    thread::Builder::new().name("plugin-clock".to_owned()).spawn(tick).map_err(EngineError::Clock)?;
    Ok(engine)
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
