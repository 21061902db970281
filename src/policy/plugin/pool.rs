//! The instances of a plugin. Kept by hand: pools of other crates are asynchronous, these calls block.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

/// A bounded number of instances, each used by one caller at a time.
pub struct Pool<T> {
    max: usize,
    state: Mutex<State<T>>,
    slot_freed: Condvar,
}

struct State<T> {
    idle: Vec<T>,
    /// Idle instances and those in use.
    live: usize,
    /// Callers that wait for a slot. Without any, notifying would be a wasted system call.
    waiting: usize,
}

/// The right to use one instance.
pub enum Slot<T> {
    /// An idle instance.
    Idle(T),
    /// No idle instance, but room for a new one.
    Vacant,
}

impl<T> Pool<T> {
    /// An empty pool for at least one instance.
    pub fn new(max: usize) -> Self {
        Self {
            max: max.max(1),
            state: Mutex::new(State { idle: Vec::new(), live: 0, waiting: 0 }),
            slot_freed: Condvar::new(),
        }
    }

    /// Waits for a slot. The caller returns it with [`Pool::release`] or [`Pool::discard`].
    pub fn take(&self) -> Slot<T> {
        let mut state = self.lock();
        while state.idle.is_empty() && state.live >= self.max {
            state.waiting += 1;
            state = self.slot_freed.wait(state).unwrap_or_else(PoisonError::into_inner);
            state.waiting -= 1;
        }
        match state.idle.pop() {
            Some(instance) => Slot::Idle(instance),
            None => {
                state.live += 1;
                Slot::Vacant
            }
        }
    }

    /// Returns an instance for further calls.
    pub fn release(&self, instance: T) {
        let mut state = self.lock();
        state.idle.push(instance);
        self.notify(&state);
    }

    /// Frees the slot of an instance that failed or was never started.
    pub fn discard(&self) {
        let mut state = self.lock();
        state.live -= 1;
        self.notify(&state);
    }

    /// The number of instances, idle and in use.
    pub fn live(&self) -> usize {
        self.lock().live
    }

    fn notify(&self, state: &State<T>) {
        if state.waiting > 0 {
            self.slot_freed.notify_one();
        }
    }

    fn lock(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::{sync::mpsc, thread};

    use super::*;

    #[test]
    fn waits_for_an_instance() {
        let pool = Pool::new(1);
        assert!(matches!(pool.take(), Slot::Vacant));
        thread::scope(|scope| {
            let (sender, receiver) = mpsc::channel();
            let pool = &pool;
            scope.spawn(move || sender.send(matches!(pool.take(), Slot::Idle("first"))).unwrap());
            assert!(receiver.recv_timeout(std::time::Duration::from_millis(50)).is_err(), "no slot is free");
            pool.release("first");
            assert!(receiver.recv().unwrap());
        });
        pool.discard();
        assert_eq!(pool.live(), 0);
        assert!(matches!(pool.take(), Slot::Vacant), "instead of the discarded one");
    }
}
