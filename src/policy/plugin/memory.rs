//! Limits the memory of an instance.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use wasmtime::ResourceLimiter;

use crate::policy::error::MemoryLimitExceeded;

/// The size of an element of a table.
const ELEMENT_BYTES: usize = size_of::<usize>();
/// Interpreters have some ten thousand functions.
const MAX_TABLE_ELEMENTS: usize = 200_000;
/// Core instances, memories and tables of one component: interpreters are linked from more than 20 modules.
const MAX_MODULES: usize = 100;

/// Counts the memory of one instance.
#[derive(Debug)]
pub struct MemoryLimiter {
    limit: usize,
    used: usize,
    /// Bytes of all instances of the plugin.
    total: Arc<AtomicUsize>,
}

impl MemoryLimiter {
    /// Allows `limit` bytes in all linear memories and tables together. `total` includes them while the instance
    /// exists.
    pub fn new(limit: usize, total: Arc<AtomicUsize>) -> Self {
        Self { limit, used: 0, total }
    }

    fn reserve(&mut self, more: usize) -> Result<(), MemoryLimitExceeded> {
        let requested = self.used.saturating_add(more);
        if requested > self.limit {
            return Err(MemoryLimitExceeded { requested, limit: self.limit });
        }
        self.total.fetch_add(more, Ordering::Relaxed);
        self.used = requested;
        Ok(())
    }
}

impl Drop for MemoryLimiter {
    fn drop(&mut self) {
        self.total.fetch_sub(self.used, Ordering::Relaxed);
    }
}

impl ResourceLimiter for MemoryLimiter {
    fn memory_growing(&mut self, current: usize, desired: usize, maximum: Option<usize>) -> wasmtime::Result<bool> {
        // The guest expects that it can't grow beyond its own maximum: no error.
        if maximum.is_some_and(|maximum| desired > maximum) {
            return Ok(false);
        }
        self.reserve(desired.saturating_sub(current))?;
        Ok(true)
    }

    fn table_growing(&mut self, current: usize, desired: usize, maximum: Option<usize>) -> wasmtime::Result<bool> {
        if desired > MAX_TABLE_ELEMENTS || maximum.is_some_and(|maximum| desired > maximum) {
            return Ok(false);
        }
        self.reserve(desired.saturating_sub(current).saturating_mul(ELEMENT_BYTES))?;
        Ok(true)
    }

    fn instances(&self) -> usize {
        MAX_MODULES
    }

    fn tables(&self) -> usize {
        MAX_MODULES
    }

    fn memories(&self) -> usize {
        MAX_MODULES
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_all_memories_together() {
        let total = Arc::new(AtomicUsize::new(1));
        let mut limits = MemoryLimiter::new(100, Arc::clone(&total));
        assert!(limits.memory_growing(0, 60, None).unwrap());
        assert!(limits.memory_growing(0, 40, None).unwrap());
        let error = limits.memory_growing(60, 61, None).unwrap_err();
        assert_eq!(
            error.downcast_ref::<MemoryLimitExceeded>(),
            Some(&MemoryLimitExceeded { requested: 101, limit: 100 })
        );
        assert_eq!(total.load(Ordering::Relaxed), 101);
        drop(limits);
        assert_eq!(total.load(Ordering::Relaxed), 1);
    }

    #[test]
    fn a_guest_may_reach_its_own_maximum() {
        assert!(!MemoryLimiter::new(100, Arc::default()).memory_growing(0, 60, Some(50)).unwrap());
    }

    #[test]
    fn limits_the_size_of_tables() {
        assert!(MemoryLimiter::new(64 << 20, Arc::default()).table_growing(0, MAX_TABLE_ELEMENTS, None).unwrap());
        assert!(!MemoryLimiter::new(64 << 20, Arc::default()).table_growing(0, MAX_TABLE_ELEMENTS + 1, None).unwrap());
    }

    #[test]
    fn tables_count_as_memory() {
        let mut limits = MemoryLimiter::new(10 * ELEMENT_BYTES + 3, Arc::default());
        assert!(limits.table_growing(0, 6, None).unwrap());
        assert!(limits.table_growing(6, 10, None).unwrap());
        assert!(limits.memory_growing(0, 3, None).unwrap());
        let error = limits.table_growing(0, 1, None).unwrap_err();
        let exceeded = MemoryLimitExceeded { requested: 11 * ELEMENT_BYTES + 3, limit: 10 * ELEMENT_BYTES + 3 };
        assert_eq!(error.downcast_ref::<MemoryLimitExceeded>(), Some(&exceeded));
    }
}
