//! A cache of shared instances that removes unused ones: image references choose the names of registries, so there is no
//! bound on their number. Kept by hand: caching crates also evict entries that are in use.

use std::{
    borrow::Borrow,
    collections::HashMap,
    hash::Hash,
    sync::{Arc, Mutex, PoisonError},
};

pub(super) struct SharedCache<K, V> {
    capacity: usize,
    can_evict: fn(&V) -> bool,
    inner: Mutex<Inner<K, V>>,
}

struct Inner<K, V> {
    entries: HashMap<K, Entry<V>>,
    uses: u64,
    /// The number of entries at which unused ones are evicted.
    evict_at: usize,
}

struct Entry<V> {
    value: Arc<V>,
    last_use: u64,
}

impl<K: Eq + Hash, V> SharedCache<K, V> {
    /// At `capacity` entries, the least recently used half of the unused ones is evicted. Entries in use are kept, even
    /// beyond the capacity.
    pub fn new(capacity: usize) -> Self {
        Self::with_filter(capacity, |_| true)
    }

    /// Evicts only entries for which `can_evict` is true.
    pub fn with_filter(capacity: usize, can_evict: fn(&V) -> bool) -> Self {
        let inner = Inner { entries: HashMap::new(), uses: 0, evict_at: capacity };
        Self { capacity, can_evict, inner: Mutex::new(inner) }
    }

    /// The instance for a key; the same one while it is in use.
    pub fn get<Q>(&self, key: &Q, make: impl FnOnce() -> V) -> Arc<V>
    where
        K: Borrow<Q>,
        Q: Eq + Hash + ToOwned<Owned = K> + ?Sized,
    {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        inner.uses += 1;
        let last_use = inner.uses;
        if let Some(entry) = inner.entries.get_mut(key) {
            entry.last_use = last_use;
            return Arc::clone(&entry.value);
        }
        if inner.entries.len() >= inner.evict_at {
            inner.evict(self.can_evict);
            // Twice as many before the next eviction, so that its cost is spread over many calls.
            inner.evict_at = self.capacity.max(inner.entries.len().saturating_mul(2));
        }
        let value = Arc::new(make());
        inner.entries.insert(key.to_owned(), Entry { value: Arc::clone(&value), last_use });
        value
    }

    pub fn all(&self) -> Vec<Arc<V>> {
        let inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        inner.entries.values().map(|entry| Arc::clone(&entry.value)).collect()
    }
}

impl<K: Eq + Hash, V> Inner<K, V> {
    fn evict(&mut self, can_evict: fn(&V) -> bool) {
        let is_unused = |entry: &Entry<V>| Arc::strong_count(&entry.value) == 1 && can_evict(&entry.value);
        let mut unused: Vec<u64> =
            self.entries.values().filter(|entry| is_unused(entry)).map(|entry| entry.last_use).collect();
        let half = unused.len().div_ceil(2);
        let Some(last) = half.checked_sub(1) else { return };
        let (_, &mut last, _) = unused.select_nth_unstable(last);
        self.entries.retain(|_, entry| entry.last_use > last || !is_unused(entry));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn evicts_the_least_recently_used() {
        let cache: SharedCache<String, u32> = SharedCache::new(100);
        let kept = cache.get("kept", || 7);
        for number in 0..10_000_u32 {
            cache.get(number.to_string().as_str(), || number);
            cache.get("often", || 8);
            assert!(cache.all().len() <= 101);
        }
        assert!(Arc::ptr_eq(&kept, &cache.get("kept", || 0)), "it is in use");
        assert_eq!(*cache.get("often", || 0), 8, "it is used all the time");
        assert_eq!(*cache.get("1", || 99), 99, "it was evicted");
    }

    #[test]
    fn keeps_entries_that_can_not_be_evicted() {
        let cache: SharedCache<String, u32> = SharedCache::with_filter(10, |value| *value != 7);
        cache.get("7", || 7);
        for number in 100..1_000_u32 {
            cache.get(number.to_string().as_str(), || number);
        }
        assert_eq!(*cache.get("7", || 0), 7);
        assert!(cache.all().len() <= 11);
    }

    #[test]
    fn keeps_entries_in_use_beyond_the_capacity() {
        let cache: SharedCache<String, u32> = SharedCache::new(10);
        let all: Vec<_> = (0..1_000_u32).map(|number| cache.get(number.to_string().as_str(), || number)).collect();
        for (number, kept) in all.iter().enumerate() {
            assert!(Arc::ptr_eq(kept, &cache.get(number.to_string().as_str(), || 0)));
        }
        drop(all);
        for number in 0..2_000_u32 {
            cache.get(format!("n{number}").as_str(), || number);
        }
        assert!(cache.all().len() <= 2_000, "{}", cache.all().len());
    }
}
