//! The instances of a plugin that wait to be asked, and how many there are.

use std::sync::{Condvar, Mutex, PoisonError};

/// At most so many instances, each used by one caller at a time.
pub struct Pool<T> {
    most: usize,
    state: Mutex<State<T>>,
    freed: Condvar,
}

struct State<T> {
    idle: Vec<T>,
    /// Those that are being asked, too.
    live: usize,
}

/// What a caller gets.
pub enum Place<T> {
    /// An instance that is ready.
    Ready(T),
    /// The right to start one more.
    Free,
}

impl<T> Pool<T> {
    /// An empty pool for at least one instance.
    pub fn new(most: usize) -> Self {
        Self { most: most.max(1), state: Mutex::new(State { idle: Vec::new(), live: 0 }), freed: Condvar::new() }
    }

    /// Waits for a place. Whoever has it gives it back with [`Pool::put_back`] or [`Pool::lost`].
    pub fn take(&self) -> Place<T> {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self.freed.wait_while(state, |state| state.idle.is_empty() && state.live >= self.most);
        let mut state = waited.unwrap_or_else(PoisonError::into_inner);
        match state.idle.pop() {
            Some(instance) => Place::Ready(instance),
            None => {
                state.live += 1;
                Place::Free
            }
        }
    }

    /// An instance that can be asked again.
    pub fn put_back(&self, instance: T) {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).idle.push(instance);
        self.freed.notify_one();
    }

    /// An instance broke down, or was never started.
    pub fn lost(&self) {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).live -= 1;
        self.freed.notify_one();
    }

    /// How many instances there are.
    pub fn live(&self) -> usize {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).live
    }
}

#[cfg(test)]
mod tests {
    use std::{sync::mpsc, thread};

    use super::*;

    #[test]
    fn who_comes_late_waits_for_an_instance() {
        let pool = Pool::new(1);
        assert!(matches!(pool.take(), Place::Free));
        thread::scope(|scope| {
            let (sender, receiver) = mpsc::channel();
            let pool = &pool;
            scope.spawn(move || sender.send(matches!(pool.take(), Place::Ready("first"))).unwrap());
            assert!(receiver.recv_timeout(std::time::Duration::from_millis(50)).is_err(), "there is none to be had");
            pool.put_back("first");
            assert!(receiver.recv().unwrap());
        });
        pool.lost();
        assert_eq!(pool.live(), 0);
        assert!(matches!(pool.take(), Place::Free), "in place of the one that was lost");
    }
}
