//! One copy of everything that thousands of Pods repeat.

use std::{
    collections::{BTreeMap, HashSet},
    sync::Arc,
};

use crate::model::PullSecretRefs;

/// Shared copies of strings and of lists of pull secrets.
#[derive(Default)]
pub(super) struct Interner {
    texts: HashSet<Arc<str>>,
    /// At this many texts, unused ones are dropped.
    limit: usize,
    refs: HashSet<Arc<PullSecretRefs>>,
    refs_limit: usize,
}

impl Interner {
    pub fn text(&mut self, text: &str) -> Arc<str> {
        if let Some(shared) = self.texts.get(text) {
            return Arc::clone(shared);
        }
        if self.texts.len() >= self.limit {
            self.texts.retain(|text| Arc::strong_count(text) > 1);
            self.limit = (self.texts.len() * 2).max(1024);
        }
        let shared: Arc<str> = text.into();
        self.texts.insert(Arc::clone(&shared));
        shared
    }

    pub fn refs(&mut self, refs: PullSecretRefs) -> Arc<PullSecretRefs> {
        if let Some(shared) = self.refs.get(&refs) {
            return Arc::clone(shared);
        }
        if self.refs.len() >= self.refs_limit {
            self.refs.retain(|refs| Arc::strong_count(refs) > 1);
            self.refs_limit = (self.refs.len() * 2).max(1024);
        }
        let shared = Arc::new(refs);
        self.refs.insert(Arc::clone(&shared));
        shared
    }

    pub fn pairs<'a>(&mut self, pairs: impl Iterator<Item = (&'a String, &'a String)>) -> Pairs {
        Pairs(pairs.map(|(key, value)| (self.text(key), self.text(value))).collect())
    }
}

/// Labels or annotations, in the order of their keys.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Pairs(Box<[(Arc<str>, Arc<str>)]>);

impl Pairs {
    pub fn to_map(&self) -> BTreeMap<String, String> {
        self.0.iter().map(|(key, value)| (key.to_string(), value.to_string())).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_shared_and_unused_ones_are_dropped() {
        let mut interner = Interner::default();
        let first = interner.text("kept");
        for number in 0..10_000 {
            interner.text(&number.to_string());
        }
        assert!(Arc::ptr_eq(&first, &interner.text("kept")));
        assert!(interner.texts.len() <= 1025, "{} texts are kept", interner.texts.len());
    }
}
