//! What is known of targets that have some platforms of an index, so that the next inspection costs one request.

use std::{
    collections::{HashMap, HashSet},
    sync::{Mutex, PoisonError},
};

use crate::model::Digest;

use super::inspection::PartRequest;

/// How many parts are remembered, twice: parts that are not used while this many others are added are forgotten, which
/// costs a few requests each.
const MAX_PARTS: usize = 16_384;

/// Parts of indexes that are known to be complete.
#[derive(Debug, Default)]
pub(super) struct SubsetCache {
    complete: Mutex<Generations>,
    needs_children: Mutex<HashSet<String>>,
}

#[derive(Debug, Default)]
struct Generations {
    young: HashMap<PartRequest, Digest>,
    old: HashMap<PartRequest, Digest>,
}

impl Generations {
    fn insert(&mut self, part: PartRequest, present: Digest) {
        if self.young.len() >= MAX_PARTS {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(part, present);
    }
}

impl SubsetCache {
    /// Whether the part is known to be complete under the digest `present`.
    pub fn is_complete(&self, part: &PartRequest, present: &Digest) -> bool {
        let mut complete = self.complete.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(seen) = complete.young.get(part) {
            return seen == present;
        }
        let Some((part, seen)) = complete.old.remove_entry(part) else { return false };
        let is_complete = seen == *present;
        complete.insert(part, seen);
        is_complete
    }

    pub fn set_complete(&self, part: &PartRequest, present: &Digest) {
        self.complete.lock().unwrap_or_else(PoisonError::into_inner).insert(part.clone(), present.clone());
    }

    /// Whether the target is known to reject an index with missing children.
    pub fn needs_children(&self, target: &str) -> bool {
        self.needs_children.lock().unwrap_or_else(PoisonError::into_inner).contains(target)
    }

    /// Returns false if it was known.
    pub fn set_needs_children(&self, target: &str) -> bool {
        self.needs_children.lock().unwrap_or_else(PoisonError::into_inner).insert(target.to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mirror::copying::platforms::RequestedPlatforms;

    #[test]
    fn remembers_the_last_digest_of_a_bounded_number_of_parts() {
        let cache = SubsetCache::default();
        let part = |number: usize| PartRequest {
            target: "default".into(),
            repository: format!("app-{number}"),
            digest: Digest::sha256(b"index"),
            platforms: RequestedPlatforms::All,
        };
        let (one, two) = (Digest::sha256(b"1"), Digest::sha256(b"2"));
        assert!(!cache.is_complete(&part(0), &one));
        cache.set_complete(&part(0), &one);
        assert!(cache.is_complete(&part(0), &one));
        assert!(!cache.is_complete(&part(0), &two) && !cache.is_complete(&part(1), &one));
        for number in 1..=3 * MAX_PARTS {
            cache.set_complete(&part(number), &one);
            if number.is_multiple_of(1000) {
                assert!(cache.is_complete(&part(1), &one), "it is used all the time");
            }
        }
        assert!(!cache.is_complete(&part(0), &one), "memory is bounded");
        assert!(cache.is_complete(&part(2 * MAX_PARTS + 100), &one) && cache.is_complete(&part(3 * MAX_PARTS), &one));
    }
}
