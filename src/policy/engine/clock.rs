//! The clock for the deadlines of plugin calls. It is stopped while no call runs, so that an idle program sleeps.

use std::{
    io,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread,
    time::Duration,
};

/// The interval of ticks, and so the precision of deadlines.
pub const TICK: Duration = Duration::from_millis(10);

/// Ticks in a thread, which ends when this is dropped.
pub struct Clock(Arc<Shared>);

/// The clock ticks while this exists.
pub struct RunningClock<'a>(&'a Shared);

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    calls: usize,
    dropped: bool,
}

impl Clock {
    /// A stopped clock that calls `tick` at each tick.
    ///
    /// # Errors
    /// The thread can't be started.
    pub fn start(tick: impl Fn() + Send + 'static) -> io::Result<Self> {
        let shared = Arc::new(Shared::default());
        let clock = Self(Arc::clone(&shared));
        thread::Builder::new().name("plugin-clock".to_owned()).spawn(move || {
            while shared.wait_for_calls() {
                thread::sleep(TICK);
                tick();
            }
        })?;
        Ok(clock)
    }

    /// Runs the clock. The first tick may come early: it may belong to an earlier call.
    pub fn run(&self) -> RunningClock<'_> {
        let mut state = self.0.lock();
        state.calls += 1;
        // The thread waits only while there are no calls.
        if state.calls == 1 {
            self.0.changed.notify_one();
        }
        RunningClock(&self.0)
    }
}

impl Shared {
    /// Waits for a call. False: the clock was dropped.
    fn wait_for_calls(&self) -> bool {
        let wait = self.changed.wait_while(self.lock(), |state| state.calls == 0 && !state.dropped);
        !wait.unwrap_or_else(PoisonError::into_inner).dropped
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for RunningClock<'_> {
    fn drop(&mut self) {
        self.0.lock().calls -= 1;
    }
}

impl Drop for Clock {
    fn drop(&mut self) {
        self.0.lock().dropped = true;
        self.0.changed.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    #[test]
    fn ticks_during_calls() {
        let (sender, ticks) = mpsc::channel();
        let clock = Clock::start(move || sender.send(()).unwrap_or_default()).unwrap();
        for _ in 0..2 {
            let (first, second) = (clock.run(), clock.run());
            drop(first);
            ticks.recv().unwrap();
            ticks.recv().unwrap();
            drop(second);
            let _ = ticks.try_iter().count();
            thread::sleep(TICK * 10);
            assert!(ticks.try_iter().count() <= 1, "at most the tick that had begun");
        }
        drop(clock);
        // The channel is closed once the thread has ended.
        while ticks.recv().is_ok() {}
    }
}
