//! One copy of each text that thousands of Pods repeat.

use std::{
    collections::{BTreeMap, HashSet},
    sync::Arc,
};

/// Hands out shared copies of texts.
#[derive(Default)]
pub(super) struct Interner {
    texts: HashSet<Arc<str>>,
    /// How many texts there may be before those that nobody holds are looked for.
    limit: usize,
}

impl Interner {
    /// The shared copy of `text`.
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

    /// Labels or annotations of shared texts.
    pub fn pairs<'a>(&mut self, pairs: impl Iterator<Item = (&'a String, &'a String)>) -> Pairs {
        Pairs(pairs.map(|(key, value)| (self.text(key), self.text(value))).collect())
    }
}

/// Labels or annotations, in the order of their keys.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Pairs(Box<[(Arc<str>, Arc<str>)]>);

impl Pairs {
    /// As the model writes them.
    pub fn to_map(&self) -> BTreeMap<String, String> {
        self.0.iter().map(|(key, value)| (key.to_string(), value.to_string())).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_kept_once_and_not_longer_than_needed() {
        let mut interner = Interner::default();
        let first = interner.text("kept");
        for number in 0..10_000 {
            interner.text(&number.to_string());
        }
        assert!(Arc::ptr_eq(&first, &interner.text("kept")));
        assert!(interner.texts.len() <= 1025, "{} texts are kept", interner.texts.len());
    }
}
