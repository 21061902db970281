//! The labels of namespaces.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::Arc,
};

use super::{Inventory, ObjectKey};
use crate::workload::object::bounded;

impl Inventory {
    /// From now on, workloads wait for the labels of their namespace.
    pub fn require_namespaces(&mut self) {
        self.namespaces.get_or_insert_default();
    }

    /// Sets the labels of a namespace; none removes it.
    pub fn namespace(&mut self, name: &str, labels: Option<&BTreeMap<String, String>>) {
        let name = self.interner.text(name);
        let namespaces = self.namespaces.get_or_insert_default();
        match labels {
            Some(labels) => {
                let labels: BTreeMap<String, String> =
                    bounded(labels).map(|(key, value)| (key.clone(), value.clone())).collect();
                if namespaces.get(&name).is_some_and(|known| **known == labels) {
                    return;
                }
                namespaces.insert(Arc::clone(&name), Arc::new(labels));
                self.missing_namespaces.remove(&name);
            }
            None => {
                namespaces.remove(&name);
            }
        }
        self.dirty.extend(self.objects.keys(Some(&name)).cloned());
    }

    /// Removes all namespaces that are not in `seen`.
    pub fn retain_namespaces(&mut self, seen: &HashSet<String>) {
        let known = self.namespaces.iter().flat_map(HashMap::keys);
        let gone: Vec<Arc<str>> = known.filter(|name| !seen.contains(name.as_ref())).cloned().collect();
        for name in gone {
            self.namespace(&name, None);
        }
    }

    /// None if namespaces cannot be read.
    pub fn has_namespace(&self, name: &str) -> Option<bool> {
        self.namespaces.as_ref().map(|namespaces| namespaces.contains_key(name))
    }

    /// Whether the labels of the object's namespace are still waited for.
    pub(super) fn is_waiting_for_namespace(&mut self, key: &ObjectKey) -> bool {
        match &self.namespaces {
            Some(namespaces) if !namespaces.contains_key(&key.namespace) => {
                let rounds = self.missing_namespaces.entry(Arc::clone(&key.namespace)).or_insert(0);
                *rounds < self.grace_rounds
            }
            _ => false,
        }
    }
}
