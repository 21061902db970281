//! Who claims a destination, and with what.

use std::{
    cmp::{Ordering, Reverse},
    collections::BTreeSet,
    sync::Arc,
};

use crate::{
    mirror::destination_key::DestinationKey,
    model::{Digest, Platform, PullSecretRefs, Workload, WorkloadId, WorkloadKind},
};

/// One image use. Ordered oldest workload first; workloads from manifest files have no age and are ordered by name. Within
/// a workload the image of its template comes first.
#[derive(Clone, Debug)]
pub(super) struct Claimant {
    pub workload: Arc<Workload>,
    /// Its index in the workload's image uses: those of the template precede those that only Pods still run.
    pub rank: usize,
}

impl Claimant {
    fn age(&self) -> (i64, &str, &str, WorkloadKind) {
        let WorkloadId { kind, namespace, name } = &self.workload.id;
        (self.workload.created, namespace, name, *kind)
    }

    /// Orders newest last. Within a workload the template's own image is the newest: other images of its Pods are
    /// leftovers of earlier templates.
    pub fn newness(&self) -> (i64, &str, &str, WorkloadKind, Reverse<usize>) {
        let (created, namespace, name, kind) = self.age();
        (created, namespace, name, kind, Reverse(self.rank))
    }
}

impl Ord for Claimant {
    fn cmp(&self, other: &Self) -> Ordering {
        (self.age(), self.rank).cmp(&(other.age(), other.rank))
    }
}

impl PartialOrd for Claimant {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Claimant {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Claimant {}

/// What an image use requires of its destination.
#[derive(Clone, Debug)]
pub(super) struct Claim {
    /// The image as written.
    pub image: String,
    /// The destination at its own target.
    pub key: DestinationKey,
    /// The digests that its Pods run, and since when, in seconds since 1970.
    pub running: Vec<(Digest, i64)>,
    /// The platforms of its nodes, if known.
    pub platforms: Option<BTreeSet<Platform>>,
    /// The pull secrets that may open the image.
    pub pull_secrets: Vec<Arc<PullSecretRefs>>,
}

impl Claim {
    /// Whether it names pull secrets that `earlier` does not: an image that could not be read may be readable now.
    pub fn has_further_pull_secrets(&self, earlier: &Self) -> bool {
        self.pull_secrets.iter().any(|refs| !earlier.pull_secrets.contains(refs))
    }

    /// Whether `other` requires no further work. A newer Pod that runs the same digest does not.
    pub fn is_equivalent(&self, other: &Self) -> bool {
        self.image == other.image
            && self.key.has_same_target(&other.key)
            && self.platforms == other.platforms
            && self.running.iter().map(|(digest, _)| digest).eq(other.running.iter().map(|(digest, _)| digest))
    }
}
