//! Timers by key. Every operation costs at most the logarithm of their number; `tokio_util::time::DelayQueue` has a clock
//! of its own.

use std::{
    collections::{BTreeMap, HashMap},
    hash::Hash,
};

use tokio::time::Instant;

/// At most one timer for each key.
#[derive(Debug)]
pub struct Timers<K> {
    moments: HashMap<K, (Instant, u64)>,
    by_moment: BTreeMap<(Instant, u64), K>,
    /// Orders keys with the same time.
    sequence: u64,
}

impl<K> Default for Timers<K> {
    fn default() -> Self {
        Self { moments: HashMap::new(), by_moment: BTreeMap::new(), sequence: 0 }
    }
}

impl<K: Clone + Eq + Hash> Timers<K> {
    /// Sets the key's timer, replacing a previous one.
    pub fn set(&mut self, key: &K, moment: Instant) {
        self.remove(key);
        self.sequence += 1;
        self.moments.insert(key.clone(), (moment, self.sequence));
        self.by_moment.insert((moment, self.sequence), key.clone());
    }

    /// Removes the key's timer.
    pub fn remove(&mut self, key: &K) {
        if let Some(moment) = self.moments.remove(key) {
            self.by_moment.remove(&moment);
        }
    }

    /// Whether the key has a timer.
    pub fn contains(&self, key: &K) -> bool {
        self.moments.contains_key(key)
    }

    /// The earliest time.
    pub fn next(&self) -> Option<Instant> {
        self.by_moment.first_key_value().map(|((moment, _), _)| *moment)
    }

    /// Removes one key that is due, the earliest first.
    pub fn pop(&mut self, now: Instant) -> Option<K> {
        let entry = self.by_moment.first_entry()?;
        if entry.key().0 > now {
            return None;
        }
        let key = entry.remove();
        self.moments.remove(&key);
        Some(key)
    }

    /// The number of timers.
    pub fn len(&self) -> usize {
        self.moments.len()
    }

    /// Whether no timer is set.
    pub fn is_empty(&self) -> bool {
        self.moments.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn pops_each_key_once_when_it_is_due() {
        let now = Instant::now();
        let second = Duration::from_secs(1);
        let mut timers = Timers::default();
        for (key, seconds) in [("c", 3), ("a", 1), ("b", 1), ("gone", 2), ("a", 2)] {
            timers.set(&key, now + seconds * second);
        }
        timers.remove(&"gone");
        assert_eq!((timers.next(), timers.pop(now)), (Some(now + second), None));
        let later = now + 2 * second;
        assert_eq!([timers.pop(later), timers.pop(later), timers.pop(later)], [Some("b"), Some("a"), None]);
        assert_eq!(timers.next(), Some(now + 3 * second));
        assert!(!timers.is_empty());
        assert_eq!(timers.pop(now + 3 * second), Some("c"));
        assert!(timers.is_empty() && timers.by_moment.is_empty());
    }
}
