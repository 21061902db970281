//! The clock of the plugins' deadlines. It stands still while no plugin is asked, so that an idle program sleeps.

use std::{
    io,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread,
    time::Duration,
};

/// The time between two ticks: how exactly deadlines are kept.
pub const TICK: Duration = Duration::from_millis(10);

/// Ticks in a thread of its own, which ends when this is dropped.
pub struct Clock(Arc<Shared>);

/// As long as this is there, the clock ticks.
pub struct Running<'a>(&'a Shared);

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    calls: usize,
    over: bool,
}

impl Clock {
    /// A clock that stands still; `tick` is called at each of its ticks.
    ///
    /// # Errors
    /// When there is no thread to be had.
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

    /// Lets the clock tick. The first tick may be that of a call before.
    pub fn run(&self) -> Running<'_> {
        let mut state = self.0.lock();
        state.calls += 1;
        // The thread waits for the first call alone.
        if state.calls == 1 {
            self.0.changed.notify_one();
        }
        Running(&self.0)
    }
}

impl Shared {
    /// Returns when there is a call to time: true; or when there will never be one again: false.
    fn wait_for_calls(&self) -> bool {
        let wait = self.changed.wait_while(self.lock(), |state| state.calls == 0 && !state.over);
        !wait.unwrap_or_else(PoisonError::into_inner).over
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.0.lock().calls -= 1;
    }
}

impl Drop for Clock {
    fn drop(&mut self) {
        self.0.lock().over = true;
        self.0.changed.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    #[test]
    fn it_ticks_while_somebody_asks() {
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
            assert!(ticks.try_iter().count() <= 1, "more comes than the tick that was under way");
        }
        drop(clock);
        // The thread has ended, and with it the sender.
        while ticks.recv().is_ok() {}
    }
}
