//! Stops all plugins when the process shuts down.

use std::sync::atomic::{AtomicBool, Ordering};

/// Global, as the shutdown of the process is.
static STOPPED: AtomicBool = AtomicBool::new(false);

/// Stops all plugins for good: running calls end within some 10 ms, compiling too, and further calls fail. For the
/// shutdown, when no answer is needed any more.
pub fn interrupt_calls() {
    STOPPED.store(true, Ordering::Relaxed);
}

/// Whether [`interrupt_calls`] was called.
pub fn is_stopped() -> bool {
    STOPPED.load(Ordering::Relaxed)
}
