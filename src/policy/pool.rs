//! The instances of a plugin that wait to be asked, and how many there are.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

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
    /// Callers that wait for a place. To wake nobody costs a system call as well.
    waiting: usize,
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
        Self {
            most: most.max(1),
            state: Mutex::new(State { idle: Vec::new(), live: 0, waiting: 0 }),
            freed: Condvar::new(),
        }
    }

    /// Waits for a place. Whoever has it gives it back with [`Pool::put_back`] or [`Pool::lost`].
    pub fn take(&self) -> Place<T> {
        let mut state = self.lock();
        while state.idle.is_empty() && state.live >= self.most {
            state.waiting += 1;
            state = self.freed.wait(state).unwrap_or_else(PoisonError::into_inner);
            state.waiting -= 1;
        }
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
        let mut state = self.lock();
        state.idle.push(instance);
        self.tell(&state);
    }

    /// An instance broke down, or was never started.
    pub fn lost(&self) {
        let mut state = self.lock();
        state.live -= 1;
        self.tell(&state);
    }

    /// How many instances there are.
    pub fn live(&self) -> usize {
        self.lock().live
    }

    fn tell(&self, state: &State<T>) {
        if state.waiting > 0 {
            self.freed.notify_one();
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
