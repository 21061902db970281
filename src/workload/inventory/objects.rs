//! All objects that are known, by namespace: what happens in one namespace costs nothing in the others.

use std::{collections::HashMap, sync::Arc};

use super::record::{Key, Record};

/// The records of all objects.
#[derive(Default)]
pub(super) struct Objects {
    by_namespace: HashMap<Arc<str>, HashMap<Key, Record>>,
    /// How often a record was looked at or passed by.
    #[cfg(test)]
    pub looks: std::cell::Cell<usize>,
}

impl Objects {
    pub fn get(&self, key: &Key) -> Option<&Record> {
        self.count(1);
        self.by_namespace.get(&key.namespace)?.get(key)
    }

    pub fn contains(&self, key: &Key) -> bool {
        self.get(key).is_some()
    }

    pub fn insert(&mut self, key: Key, record: Record) -> Option<Record> {
        self.by_namespace.entry(Arc::clone(&key.namespace)).or_default().insert(key, record)
    }

    pub fn remove(&mut self, key: &Key) -> Option<Record> {
        let of_namespace = self.by_namespace.get_mut(&key.namespace)?;
        let record = of_namespace.remove(key);
        if of_namespace.is_empty() {
            self.by_namespace.remove(&key.namespace);
        }
        record
    }

    /// Whether there is an object in that namespace.
    pub fn has_any_in(&self, namespace: &str) -> bool {
        self.by_namespace.contains_key(namespace)
    }

    /// Those in that namespace, or all.
    pub fn keys(&self, namespace: Option<&str>) -> impl Iterator<Item = &Key> {
        let one = namespace.and_then(|namespace| self.by_namespace.get(namespace));
        let all = namespace.is_none().then_some(&self.by_namespace);
        let keys = one.into_iter().chain(all.into_iter().flat_map(HashMap::values)).flat_map(HashMap::keys);
        keys.inspect(|_| self.count(1))
    }

    #[cfg(test)]
    pub fn is_empty(&self) -> bool {
        self.by_namespace.is_empty()
    }

    #[cfg(test)]
    fn count(&self, looks: usize) {
        self.looks.set(self.looks.get() + looks);
    }

    #[cfg(not(test))]
    fn count(&self, _: usize) {}
}
