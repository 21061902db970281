//! Things that all who use them share by name, and that are forgotten when nobody does: whoever deploys chooses the
//! names of registries, so that a year brings any number of them.

use std::{
    borrow::Borrow,
    collections::HashMap,
    hash::Hash,
    sync::{Arc, Mutex, PoisonError},
};

/// See the module.
pub(super) struct Shared<K, V> {
    bound: usize,
    may_go: fn(&V) -> bool,
    inner: Mutex<Inner<K, V>>,
}

struct Inner<K, V> {
    known: HashMap<K, Known<V>>,
    uses: u64,
    /// So many are known before it is looked for those that are not in use.
    full: usize,
}

struct Known<V> {
    value: Arc<V>,
    used: u64,
}

impl<K: Eq + Hash, V> Shared<K, V> {
    /// Of so many things half are forgotten, those first that have not been asked for the longest. What is in use is
    /// kept, however many that are.
    pub fn new(bound: usize) -> Self {
        Self::keeping(bound, |_| true)
    }

    /// The same, but what may not go stays as well.
    pub fn keeping(bound: usize, may_go: fn(&V) -> bool) -> Self {
        let inner = Inner { known: HashMap::new(), uses: 0, full: bound };
        Self { bound, may_go, inner: Mutex::new(inner) }
    }

    /// The one of that name: always the same one while somebody has it.
    pub fn get<Q>(&self, name: &Q, make: impl FnOnce() -> V) -> Arc<V>
    where
        K: Borrow<Q>,
        Q: Eq + Hash + ToOwned<Owned = K> + ?Sized,
    {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        inner.uses += 1;
        let used = inner.uses;
        if let Some(known) = inner.known.get_mut(name) {
            known.used = used;
            return Arc::clone(&known.value);
        }
        if inner.known.len() >= inner.full {
            inner.forget(self.may_go);
            // Looked for again when there are twice as many, so that no request pays for all.
            inner.full = self.bound.max(inner.known.len().saturating_mul(2));
        }
        let value = Arc::new(make());
        inner.known.insert(name.to_owned(), Known { value: Arc::clone(&value), used });
        value
    }

    /// All that are known.
    pub fn all(&self) -> Vec<Arc<V>> {
        let inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        inner.known.values().map(|known| Arc::clone(&known.value)).collect()
    }
}

impl<K: Eq + Hash, V> Inner<K, V> {
    fn forget(&mut self, may_go: fn(&V) -> bool) {
        let is_unused = |known: &Known<V>| Arc::strong_count(&known.value) == 1 && may_go(&known.value);
        let mut unused: Vec<u64> =
            self.known.values().filter(|known| is_unused(known)).map(|known| known.used).collect();
        let half = unused.len().div_ceil(2);
        let Some(last) = half.checked_sub(1) else { return };
        let (_, &mut last, _) = unused.select_nth_unstable(last);
        self.known.retain(|_, known| known.used > last || !is_unused(known));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_nobody_uses_is_forgotten_the_longest_unused_first() {
        let shared: Shared<String, u32> = Shared::new(100);
        let kept = shared.get("kept", || 7);
        for number in 0..10_000_u32 {
            shared.get(number.to_string().as_str(), || number);
            shared.get("often", || 8);
            assert!(shared.all().len() <= 101);
        }
        assert!(Arc::ptr_eq(&kept, &shared.get("kept", || 0)), "it is in use");
        assert_eq!(*shared.get("often", || 0), 8, "it is asked for all the time");
        assert_eq!(*shared.get("1", || 99), 99, "it was forgotten");
    }

    #[test]
    fn what_may_not_go_stays() {
        let shared: Shared<String, u32> = Shared::keeping(10, |value| *value != 7);
        shared.get("7", || 7);
        for number in 100..1_000_u32 {
            shared.get(number.to_string().as_str(), || number);
        }
        assert_eq!(*shared.get("7", || 0), 7);
        assert!(shared.all().len() <= 11);
    }

    #[test]
    fn what_is_in_use_is_kept_however_many_that_are() {
        let shared: Shared<String, u32> = Shared::new(10);
        let all: Vec<_> = (0..1_000_u32).map(|number| shared.get(number.to_string().as_str(), || number)).collect();
        for (number, kept) in all.iter().enumerate() {
            assert!(Arc::ptr_eq(kept, &shared.get(number.to_string().as_str(), || 0)));
        }
        drop(all);
        for number in 0..2_000_u32 {
            shared.get(format!("n{number}").as_str(), || number);
        }
        assert!(shared.all().len() <= 2_000, "{}", shared.all().len());
    }
}
