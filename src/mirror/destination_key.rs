//! What identifies a destination.

use std::{
    fmt,
    hash::{Hash, Hasher},
    sync::Arc,
};

use crate::model::{Destination, Digest, Reference, Target};

/// A [`Destination`] without the digest that an image reference adds to its tag. Two keys are equal if they mean the same
/// repository, even at two targets. Cheap to clone.
#[derive(Clone, Debug)]
pub struct DestinationKey(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    destination: Destination,
    canonical_repository: String,
}

impl DestinationKey {
    pub fn of(destination: &Destination) -> Self {
        let mut destination = destination.clone();
        if destination.tag.is_some() {
            destination.digest = None;
        }
        let canonical_repository = destination.target.address().canonical_repository(&destination.repository);
        Self(Arc::new(Inner { destination, canonical_repository }))
    }

    /// The target, or one of them.
    pub fn target(&self) -> &Arc<Target> {
        &self.0.destination.target
    }

    /// The destination of `source`.
    pub fn destination(&self, source: &Reference) -> Destination {
        Destination { digest: source.digest().cloned(), ..self.0.destination.clone() }
    }

    pub fn has_tag(&self) -> bool {
        self.0.destination.tag.is_some()
    }

    /// Whether an equal key also belongs to the same target.
    pub fn has_same_target(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0) || self.0.destination == other.0.destination
    }

    fn identity(&self) -> (&str, Option<&str>, Option<&Digest>) {
        let Inner { destination: Destination { tag, digest, .. }, canonical_repository } = &*self.0;
        (canonical_repository, tag.as_deref(), digest.as_ref())
    }
}

impl PartialEq for DestinationKey {
    fn eq(&self, other: &Self) -> bool {
        self.identity() == other.identity()
    }
}

impl Eq for DestinationKey {}

impl Hash for DestinationKey {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.identity().hash(state);
    }
}

impl fmt::Display for DestinationKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.destination.fmt(f)
    }
}
