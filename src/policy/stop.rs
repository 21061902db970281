//! The end of the process: no plugin stands in its way.

use std::sync::atomic::{AtomicBool, Ordering};

/// Of the whole process, as its end is.
static STOPPED: AtomicBool = AtomicBool::new(false);

/// From now on no plugin gets to work: calls under way are broken off within some 10 ms, and so is compiling. For the
/// program's end, when nobody waits for an answer any more.
pub fn stop() {
    STOPPED.store(true, Ordering::Relaxed);
}

/// Whether [`stop`] was called.
pub fn is_stopped() -> bool {
    STOPPED.load(Ordering::Relaxed)
}
