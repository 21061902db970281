//! All claims for one source at one destination. Aggregates are kept up to date, so that creating a job costs the same
//! however many workloads use the image.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use crate::{
    mirror::job::{MAX_PULL_SECRET_REFS, MAX_WORKLOADS},
    model::{Digest, Platform, PullSecretRefs, Reference, Workload, WorkloadId},
};

use super::{
    claimant::{Claim, Claimant},
    oldest_pull_secrets::OldestPullSecrets,
};

/// Empty only while claims are being replaced.
#[derive(Debug)]
pub(super) struct SourceClaims {
    pub source: Reference,
    claims: BTreeMap<Claimant, Claim>,
    /// For each digest that Pods run: the number of claims that report it, by the time since when.
    pod_digests: BTreeMap<Digest, BTreeMap<i64, usize>>,
    platforms: BTreeMap<Platform, usize>,
    /// Claims with unknown platforms.
    without_platforms: usize,
    pull_secrets: OldestPullSecrets,
}

impl SourceClaims {
    pub fn new(source: Reference) -> Self {
        Self {
            source,
            claims: BTreeMap::new(),
            pod_digests: BTreeMap::new(),
            platforms: BTreeMap::new(),
            without_platforms: 0,
            pull_secrets: OldestPullSecrets::default(),
        }
    }

    pub fn is_empty(&self) -> bool {
        self.claims.is_empty()
    }

    pub fn insert(&mut self, claimant: Claimant, claim: Claim) {
        for (digest, since) in &claim.running {
            *self.pod_digests.entry(digest.clone()).or_default().entry(*since).or_default() += 1;
        }
        match &claim.platforms {
            Some(platforms) => {
                for platform in platforms {
                    *self.platforms.entry(platform.clone()).or_default() += 1;
                }
            }
            None => self.without_platforms += 1,
        }
        self.pull_secrets.add(&claimant, &claim.pull_secrets);
        if let Some(replaced) = self.claims.insert(claimant.clone(), claim) {
            self.subtract(&claimant, &replaced);
        }
    }

    pub fn remove(&mut self, claimant: &Claimant) -> Option<Claim> {
        let claim = self.claims.remove(claimant)?;
        self.subtract(claimant, &claim);
        Some(claim)
    }

    fn subtract(&mut self, claimant: &Claimant, claim: &Claim) {
        self.pull_secrets.subtract(claimant, &claim.pull_secrets);
        for (digest, since) in &claim.running {
            let Some(times) = self.pod_digests.get_mut(digest) else { continue };
            decrement(times, since);
            if times.is_empty() {
                self.pod_digests.remove(digest);
            }
        }
        match &claim.platforms {
            Some(platforms) => platforms.iter().for_each(|platform| decrement(&mut self.platforms, platform)),
            None => self.without_platforms = self.without_platforms.saturating_sub(1),
        }
    }

    /// The pull secrets of the oldest claims, without duplicates.
    pub fn pull_secrets(&self) -> Vec<Arc<PullSecretRefs>> {
        self.pull_secrets.first(MAX_PULL_SECRET_REFS)
    }

    pub fn oldest(&self) -> Option<(&Claimant, &Claim)> {
        self.claims.first_key_value()
    }

    /// The first claimant of the newest workload.
    pub fn newest(&self) -> Option<&Claimant> {
        let (last, _) = self.claims.last_key_value()?;
        let first_of_workload = Claimant { workload: Arc::clone(&last.workload), rank: 0 };
        self.claims.range(first_of_workload..).next().map(|(claimant, _)| claimant)
    }

    /// The oldest workloads, without duplicates.
    pub fn workloads(&self) -> Vec<WorkloadId> {
        let mut workloads: Vec<WorkloadId> = Vec::new();
        for claimant in self.claims.keys() {
            // The claims of a workload are adjacent.
            if workloads.last() == Some(&claimant.workload.id) {
                continue;
            }
            if workloads.len() == MAX_WORKLOADS {
                break;
            }
            workloads.push(claimant.workload.id.clone());
        }
        workloads
    }

    /// All workloads, oldest first, without duplicates.
    pub fn all_workloads(&self) -> Vec<Arc<Workload>> {
        let mut workloads: Vec<Arc<Workload>> = Vec::new();
        for claimant in self.claims.keys() {
            if workloads.last().is_none_or(|last| last.id != claimant.workload.id) {
                workloads.push(Arc::clone(&claimant.workload));
            }
        }
        workloads
    }

    /// The digests that Pods run, the newest Pod's first.
    pub fn pod_digests(&self) -> Vec<Digest> {
        let mut digests: Vec<(&Digest, i64)> =
            self.pod_digests.iter().filter_map(|(digest, times)| Some((digest, *times.last_key_value()?.0))).collect();
        digests.sort_by_key(|(_, since)| Reverse(*since));
        digests.into_iter().map(|(digest, _)| digest.clone()).collect()
    }

    /// The platforms of all nodes; none if some claim's are unknown.
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
