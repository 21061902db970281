//! All known objects by namespace, so that an event in one namespace costs nothing in the others.

use std::{collections::HashMap, sync::Arc};

use super::record::{ObjectKey, Record};

#[derive(Default)]
pub(super) struct Objects {
    by_namespace: HashMap<Arc<str>, HashMap<ObjectKey, Record>>,
    /// Counts the records that were read.
    #[cfg(test)]
    pub reads: std::cell::Cell<usize>,
}

impl Objects {
    pub fn get(&self, key: &ObjectKey) -> Option<&Record> {
        self.count(1);
        self.by_namespace.get(&key.namespace)?.get(key)
    }

    pub fn contains(&self, key: &ObjectKey) -> bool {
        self.get(key).is_some()
    }

    pub fn insert(&mut self, key: ObjectKey, record: Record) -> Option<Record> {
        self.by_namespace.entry(Arc::clone(&key.namespace)).or_default().insert(key, record)
    }

    pub fn remove(&mut self, key: &ObjectKey) -> Option<Record> {
        let records = self.by_namespace.get_mut(&key.namespace)?;
        let record = records.remove(key);
        if records.is_empty() {
            self.by_namespace.remove(&key.namespace);
        }
        record
    }

    pub fn has_any_in(&self, namespace: &str) -> bool {
        self.by_namespace.contains_key(namespace)
    }

    /// The keys in one namespace, or all.
    pub fn keys(&self, namespace: Option<&str>) -> impl Iterator<Item = &ObjectKey> {
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
    fn count(&self, reads: usize) {
        self.reads.set(self.reads.get() + reads);
    }

    #[cfg(not(test))]
    fn count(&self, _: usize) {}
}
