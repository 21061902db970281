//! The keys that readers have read, for the test that compares them with the schema.

use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet},
};

/// By the path of the section, without the indexes of lists: `registries[]`.
type KnownKeys = BTreeMap<String, BTreeSet<&'static str>>;

thread_local! {
    static KNOWN_KEYS: RefCell<KnownKeys> = RefCell::default();
}

pub(super) fn record(path: &str, keys: &[&'static str]) {
    let path: String = path.chars().filter(|character| !character.is_ascii_digit()).collect();
    KNOWN_KEYS.with_borrow_mut(|known| known.entry(path).or_default().extend(keys));
}

/// Of this thread, since the last call.
pub(super) fn take() -> KnownKeys {
    KNOWN_KEYS.take()
}
