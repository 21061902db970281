//! What is known of targets that have some of an index's platforms, so that the next look at them costs one request.

use std::{
    collections::{HashMap, HashSet},
    sync::{Mutex, PoisonError},
};

use crate::model::Digest;

use super::platforms::Wanted;

/// How many looks are remembered, twice: those that were not asked for while as many others came are forgotten, which
/// costs a few requests for each.
const REMEMBERED: usize = 16_384;

/// What was wanted where.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Wish {
    /// The target's name.
    pub target: String,
    /// The repository there.
    pub repository: String,
    /// The digest that is wanted, whether the source or a Pod named it.
    pub digest: Digest,
    /// The part of it.
    pub wanted: Wanted,
}

/// What was found out so far.
#[derive(Debug, Default)]
pub struct Subsets {
    granted: Mutex<Granted>,
    strict: Mutex<HashSet<String>>,
}

#[derive(Debug, Default)]
struct Granted {
    young: HashMap<Wish, Digest>,
    old: HashMap<Wish, Digest>,
}

impl Granted {
    fn insert(&mut self, wish: Wish, present: Digest) {
        if self.young.len() >= REMEMBERED {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(wish, present);
    }
}

impl Subsets {
    /// Whether what the target calls `present` was seen to have all that is wished.
    pub fn grants(&self, wish: &Wish, present: &Digest) -> bool {
        let mut granted = self.granted.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(seen) = granted.young.get(wish) {
            return seen == present;
        }
        let Some((wish, seen)) = granted.old.remove_entry(wish) else { return false };
        let grants = seen == *present;
        granted.insert(wish, seen);
        grants
    }

    /// What the target calls `present` has all that is wished.
    pub fn grant(&self, wish: &Wish, present: &Digest) {
        self.granted.lock().unwrap_or_else(PoisonError::into_inner).insert(wish.clone(), present.clone());
    }

    /// Whether a target is known to take no index before everything that it names is there.
    pub fn is_strict(&self, target: &str) -> bool {
        self.strict.lock().unwrap_or_else(PoisonError::into_inner).contains(target)
    }

    /// It is one of those; false where that was known.
    pub fn set_strict(&self, target: &str) -> bool {
        self.strict.lock().unwrap_or_else(PoisonError::into_inner).insert(target.to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wish_is_granted_by_what_was_seen_last() {
        let subsets = Subsets::default();
        let wish = |number: usize| Wish {
            target: "default".into(),
            repository: format!("app-{number}"),
            digest: Digest::sha256(b"index"),
            wanted: Wanted::All,
        };
        let (one, two) = (Digest::sha256(b"1"), Digest::sha256(b"2"));
        assert!(!subsets.grants(&wish(0), &one));
        subsets.grant(&wish(0), &one);
        assert!(subsets.grants(&wish(0), &one) && !subsets.grants(&wish(0), &two) && !subsets.grants(&wish(1), &one));
        for number in 1..=3 * REMEMBERED {
            subsets.grant(&wish(number), &one);
            if number.is_multiple_of(1000) {
                assert!(subsets.grants(&wish(1), &one), "it is asked for all the time");
            }
        }
        assert!(!subsets.grants(&wish(0), &one), "memory has a bound");
        assert!(subsets.grants(&wish(2 * REMEMBERED + 100), &one) && subsets.grants(&wish(3 * REMEMBERED), &one));
    }
}
