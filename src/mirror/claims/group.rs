//! Who asks for one and the same source under one name. What a job needs to know of them is kept ready, so that it costs
//! the same for one workload and for all workloads of a cluster.

use std::{
    cmp::{Ordering, Reverse},
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use crate::model::{Digest, Platform, Reference, Workload, WorkloadId, WorkloadKind};

use super::{super::job::MOST_WORKLOADS, Name};

/// A use of a workload. In order: oldest first; what was read from files has no age, and goes by name. Within one
/// workload the template's own image comes first.
#[derive(Clone, Debug)]
pub(super) struct Claimant {
    pub workload: Arc<Workload>,
    /// Its place among the uses of its workload: what the template says comes before what Pods have beyond it.
    pub rank: usize,
}

impl Claimant {
    fn age(&self) -> (i64, &str, &str, WorkloadKind) {
        let WorkloadId { kind, namespace, name } = &self.workload.id;
        (self.workload.created, namespace, name, *kind)
    }

    /// Newest last. Within one workload the template's own image is the newest: what else its Pods run is left over.
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

/// What a use says of its image.
#[derive(Clone, Debug)]
pub(super) struct Claim {
    /// The image as written.
    pub image: String,
    /// The name as its own target has it.
    pub name: Name,
    /// The digests that its Pods run, and since when, in seconds since 1970.
    pub running: Vec<(Digest, i64)>,
    /// The platforms of its nodes, where they are known.
    pub platforms: Option<BTreeSet<Platform>>,
}

impl Claim {
    /// Whether there is nothing new to be done for it. That a newer Pod runs what ran before is nothing new.
    pub fn asks_the_same(&self, other: &Self) -> bool {
        self.image == other.image
            && self.name.is_of_target_of(&other.name)
            && self.platforms == other.platforms
            && self.running.iter().map(|(digest, _)| digest).eq(other.running.iter().map(|(digest, _)| digest))
    }
}

/// All claims on one source under one name; never empty but while claims are exchanged.
#[derive(Debug)]
pub(super) struct Group {
    /// What they ask for.
    pub source: Reference,
    claims: BTreeMap<Claimant, Claim>,
    /// For each digest that Pods run: how many claims say so, by the moment since when.
    running: BTreeMap<Digest, BTreeMap<i64, usize>>,
    platforms: BTreeMap<Platform, usize>,
    /// Claims whose platforms are not known.
    without_platforms: usize,
}

impl Group {
    pub fn new(source: Reference) -> Self {
        Self {
            source,
            claims: BTreeMap::new(),
            running: BTreeMap::new(),
            platforms: BTreeMap::new(),
            without_platforms: 0,
        }
    }

    pub fn is_empty(&self) -> bool {
        self.claims.is_empty()
    }

    pub fn insert(&mut self, claimant: Claimant, claim: Claim) {
        for (digest, since) in &claim.running {
            *self.running.entry(digest.clone()).or_default().entry(*since).or_default() += 1;
        }
        match &claim.platforms {
            Some(platforms) => {
                for platform in platforms {
                    *self.platforms.entry(platform.clone()).or_default() += 1;
                }
            }
            None => self.without_platforms += 1,
        }
        if let Some(replaced) = self.claims.insert(claimant, claim) {
            self.uncount(&replaced);
        }
    }

    pub fn remove(&mut self, claimant: &Claimant) -> Option<Claim> {
        let claim = self.claims.remove(claimant)?;
        self.uncount(&claim);
        Some(claim)
    }

    fn uncount(&mut self, claim: &Claim) {
        for (digest, since) in &claim.running {
            let Some(moments) = self.running.get_mut(digest) else { continue };
            decrement(moments, since);
            if moments.is_empty() {
                self.running.remove(digest);
            }
        }
        match &claim.platforms {
            Some(platforms) => platforms.iter().for_each(|platform| decrement(&mut self.platforms, platform)),
            None => self.without_platforms = self.without_platforms.saturating_sub(1),
        }
    }

    pub fn oldest(&self) -> Option<(&Claimant, &Claim)> {
        self.claims.first_key_value()
    }

    /// The newest, which of the newest workload's is the one that comes first.
    pub fn newest(&self) -> Option<&Claimant> {
        let (last, _) = self.claims.last_key_value()?;
        let first_of_it = Claimant { workload: Arc::clone(&last.workload), rank: 0 };
        self.claims.range(first_of_it..).next().map(|(claimant, _)| claimant)
    }

    /// The oldest users, each once.
    pub fn workloads(&self) -> Vec<WorkloadId> {
        let mut workloads: Vec<WorkloadId> = Vec::new();
        for claimant in self.claims.keys() {
            // The uses of one workload stand side by side.
            if workloads.last() == Some(&claimant.workload.id) {
                continue;
            }
            if workloads.len() == MOST_WORKLOADS {
                break;
            }
            workloads.push(claimant.workload.id.clone());
        }
        workloads
    }

    /// The digests that Pods run, the newest Pod's first.
    pub fn running(&self) -> Vec<Digest> {
        let mut digests: Vec<(&Digest, i64)> =
            self.running.iter().filter_map(|(digest, moments)| Some((digest, *moments.last_key_value()?.0))).collect();
        digests.sort_by_key(|(_, since)| Reverse(*since));
        digests.into_iter().map(|(digest, _)| digest.clone()).collect()
    }

    /// The platforms of all users' nodes; none where they are not known of all.
    pub fn platforms(&self) -> Option<BTreeSet<Platform>> {
        (self.without_platforms == 0).then(|| self.platforms.keys().cloned().collect())
    }
}

fn decrement<K: Ord>(counts: &mut BTreeMap<K, usize>, key: &K) {
    if let Some(count) = counts.get_mut(key) {
        *count -= 1;
        if *count == 0 {
            counts.remove(key);
        }
    }
}
