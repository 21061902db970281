//! What an instance may take of the program's memory.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use wasmtime::ResourceLimiter;

/// What an element of a table takes.
const ELEMENT_BYTES: usize = size_of::<usize>();
/// Room for the tables of large guests: an interpreter has some ten thousand functions.
const TABLE_ELEMENTS: usize = 200_000;
/// Core instances, memories and tables in one component: an interpreter is linked from more than 20.
const PARTS: usize = 100;

/// More memory was asked for than is allowed. It travels through the guest's trap, which would otherwise look like a
/// panic.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("it asked for {asked} bytes of memory, and may have {limit}")]
pub struct OverLimit {
    /// All of its memories and tables with what it asked for, in bytes.
    pub asked: usize,
    /// The limit, in bytes.
    pub limit: usize,
}

/// Counts what one instance has.
#[derive(Debug)]
pub struct Limits {
    memory: usize,
    used: usize,
    /// What all instances of the plugin have.
    all: Arc<AtomicUsize>,
}

impl Limits {
    /// At most `memory` bytes in all linear memories and tables together; they are added to `all` while the instance
    /// lives.
    pub fn new(memory: usize, all: Arc<AtomicUsize>) -> Self {
        Self { memory, used: 0, all }
    }
}

impl Limits {
    fn take(&mut self, more: usize) -> Result<(), OverLimit> {
        let asked = self.used.saturating_add(more);
        if asked > self.memory {
            return Err(OverLimit { asked, limit: self.memory });
        }
        self.all.fetch_add(more, Ordering::Relaxed);
        self.used = asked;
        Ok(())
    }
}

impl Drop for Limits {
    fn drop(&mut self) {
        self.all.fetch_sub(self.used, Ordering::Relaxed);
    }
}

impl ResourceLimiter for Limits {
    fn memory_growing(&mut self, current: usize, desired: usize, maximum: Option<usize>) -> wasmtime::Result<bool> {
        // The guest's own maximum: refusing is what it expects, and not an excess.
        if maximum.is_some_and(|maximum| desired > maximum) {
            return Ok(false);
        }
        self.take(desired.saturating_sub(current))?;
        Ok(true)
    }

    fn table_growing(&mut self, current: usize, desired: usize, maximum: Option<usize>) -> wasmtime::Result<bool> {
        if desired > TABLE_ELEMENTS || maximum.is_some_and(|maximum| desired > maximum) {
            return Ok(false);
        }
        self.take(desired.saturating_sub(current).saturating_mul(ELEMENT_BYTES))?;
        Ok(true)
    }

    fn instances(&self) -> usize {
        PARTS
    }

    fn tables(&self) -> usize {
        PARTS
    }

    fn memories(&self) -> usize {
        PARTS
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_memories_count_together() {
        let all = Arc::new(AtomicUsize::new(1));
        let mut limits = Limits::new(100, Arc::clone(&all));
        assert!(limits.memory_growing(0, 60, None).unwrap());
        assert!(limits.memory_growing(0, 40, None).unwrap());
        let error = limits.memory_growing(60, 61, None).unwrap_err();
        assert_eq!(error.downcast_ref::<OverLimit>(), Some(&OverLimit { asked: 101, limit: 100 }));
        assert_eq!(all.load(Ordering::Relaxed), 101);
        drop(limits);
        assert_eq!(all.load(Ordering::Relaxed), 1);
    }

    #[test]
    fn a_guest_may_run_into_its_own_maximum() {
        assert!(!Limits::new(100, Arc::default()).memory_growing(0, 60, Some(50)).unwrap());
    }

    #[test]
    fn tables_end_somewhere() {
        assert!(Limits::new(64 << 20, Arc::default()).table_growing(0, TABLE_ELEMENTS, None).unwrap());
        assert!(!Limits::new(64 << 20, Arc::default()).table_growing(0, TABLE_ELEMENTS + 1, None).unwrap());
    }

    #[test]
    fn tables_count_as_memory() {
        let mut limits = Limits::new(10 * ELEMENT_BYTES + 3, Arc::default());
        assert!(limits.table_growing(0, 6, None).unwrap());
        assert!(limits.table_growing(6, 10, None).unwrap());
        assert!(limits.memory_growing(0, 3, None).unwrap());
        let error = limits.table_growing(0, 1, None).unwrap_err();
        let over = OverLimit { asked: 11 * ELEMENT_BYTES + 3, limit: 10 * ELEMENT_BYTES + 3 };
        assert_eq!(error.downcast_ref::<OverLimit>(), Some(&over));
    }
}
