//! The verifications at one target: one at a time, those that somebody waits for first.

use tokio::time::Instant;

use crate::mirror::{destination_key::DestinationKey, queue::Timers};

/// At most one timer for each destination.
#[derive(Debug, Default)]
pub(super) struct Lane {
    /// Those whose damage was repaired, or is likely: an alarm depends on them.
    first: Timers<DestinationKey>,
    others: Timers<DestinationKey>,
    running: Option<Running>,
}

/// The verification that runs.
#[derive(Debug)]
pub(super) struct Running {
    pub key: DestinationKey,
    /// Whether it came first.
    pub is_first: bool,
    /// The destination has changed since it began: what it finds may be what was before.
    pub is_outdated: bool,
}

impl Lane {
    pub fn contains(&self, key: &DestinationKey) -> bool {
        self.first.contains(key) || self.others.contains(key) || self.is_running(key)
    }

    pub fn set(&mut self, key: &DestinationKey, moment: Instant) {
        self.first.remove(key);
        self.others.set(key, moment);
    }

    /// The same, before all others that are due. A verification of the destination that runs now does not count.
    pub fn set_first(&mut self, key: &DestinationKey, moment: Instant) {
        if !self.set_outdated(key) {
            self.others.remove(key);
            self.first.set(key, moment);
        }
    }

    /// The destination has changed. Returns false if no verification of it runs.
    pub fn set_outdated(&mut self, key: &DestinationKey) -> bool {
        let running = self.running.as_mut().filter(|running| running.key == *key);
        running.map(|running| running.is_outdated = true).is_some()
    }

    pub fn remove(&mut self, key: &DestinationKey) {
        self.first.remove(key);
        self.others.remove(key);
    }

    pub fn is_idle(&self) -> bool {
        self.running.is_none()
    }

    pub fn is_running(&self, key: &DestinationKey) -> bool {
        self.running.as_ref().is_some_and(|running| running.key == *key)
    }

    /// When the next one is due.
    pub fn next(&self) -> Option<Instant> {
        self.first.next().into_iter().chain(self.others.next()).min()
    }

    /// Whether one of those that come first is due, and since when.
    pub fn due(&self, now: Instant) -> Option<(bool, Instant)> {
        let is_due = |moment: &Instant| *moment <= now;
        let first = self.first.next().filter(is_due).map(|moment| (true, moment));
        first.or_else(|| self.others.next().filter(is_due).map(|moment| (false, moment)))
    }

    /// Begins the next one that is due, unless one runs.
    pub fn begin(&mut self, now: Instant) -> Option<DestinationKey> {
        if self.running.is_some() {
            return None;
        }
        let (key, is_first) = match self.first.pop(now) {
            Some(key) => (key, true),
            None => (self.others.pop(now)?, false),
        };
        self.running = Some(Running { key: key.clone(), is_first, is_outdated: false });
        Some(key)
    }

    /// The verification of this destination runs no more.
    pub fn end(&mut self, key: &DestinationKey) -> Option<Running> {
        self.running.take_if(|running| running.key == *key)
    }
}
