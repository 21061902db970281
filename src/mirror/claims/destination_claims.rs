//! All claims for one destination, and the rule that decides between different images.

use std::{collections::BTreeMap, sync::Arc};

use crate::{
    mirror::{
        destination_key::DestinationKey,
        job::{CopyJob, Role},
    },
    model::{Destination, Reference, Target, Workload, WorkloadId},
};

use super::{
    claimant::{Claim, Claimant},
    source_claims::SourceClaims,
};

/// By source.
#[derive(Debug, Default)]
pub(super) struct DestinationClaims {
    by_source: BTreeMap<Reference, SourceClaims>,
    /// An image of the repository that the target is known to have the destination from.
    owner: Option<Reference>,
}

/// What a source gets at a destination; compared to detect changes.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Assignment {
    source: Reference,
    target: Option<Arc<Target>>,
    role: Role,
}

/// An image that claims a destination.
#[derive(Debug)]
pub struct ClaimedImage<'a> {
    /// As written by the oldest workload that uses it.
    pub image: &'a str,
    pub source: &'a Reference,
    pub destination: Destination,
    pub role: Role,
    /// Oldest first, without duplicates.
    pub workloads: Vec<Arc<Workload>>,
}

impl DestinationClaims {
    pub fn is_empty(&self) -> bool {
        self.by_source.is_empty()
    }

    pub fn insert(&mut self, source: &Reference, claimant: Claimant, claim: Claim) {
        let claims = self.by_source.entry(source.clone()).or_insert_with(|| SourceClaims::new(source.clone()));
        claims.insert(claimant, claim);
    }

    pub fn remove(&mut self, source: &Reference, claimant: &Claimant) -> Option<Claim> {
        let claims = self.by_source.get_mut(source)?;
        let claim = claims.remove(claimant);
        if claims.is_empty() {
            self.by_source.remove(source);
        }
        claim
    }

    pub fn set_owner(&mut self, source: &Reference) {
        self.owner = Some(source.clone());
        self.drop_unclaimed_owner();
    }

    pub fn has_owner(&self) -> bool {
        self.owner.is_some()
    }

    /// An owner keeps the destination while any workload claims it with an image of its repository.
    pub fn drop_unclaimed_owner(&mut self) {
        self.owner.take_if(|owner| !self.by_source.keys().any(|source| is_same_repository(source, owner)));
    }

    /// The sources of each repository; the oldest claim's first.
    pub fn repositories(&self) -> Vec<Vec<Reference>> {
        let mut repositories: Vec<Vec<Reference>> = Vec::new();
        for SourceClaims { source, .. } in self.oldest_first() {
            match repositories.iter_mut().find(|images| images.iter().any(|image| is_same_repository(source, image))) {
                Some(images) => images.push(source.clone()),
                None => repositories.push(vec![source.clone()]),
            }
        }
        repositories
    }

    /// The source of the owner, or of the oldest claim.
    pub fn first_source(&self, key: &DestinationKey) -> Option<&Reference> {
        self.first(key).map(|claims| &claims.source)
    }

    /// What each source gets, in the order in which it is to be copied.
    pub fn assignments(&self, key: &DestinationKey) -> Vec<Assignment> {
        let assigned = self.assigned(key).into_iter().map(|(claims, role)| {
            let target = claims.oldest().map(|(_, claim)| Arc::clone(claim.key.target()));
            Assignment { source: claims.source.clone(), target, role }
        });
        assigned.collect()
    }

    /// The images that claim the destination.
    pub fn images(&self, key: &DestinationKey) -> Vec<ClaimedImage<'_>> {
        let images = self.assigned(key).into_iter().filter_map(|(claims, role)| {
            let (_, oldest) = claims.oldest()?;
            Some(ClaimedImage {
                image: &oldest.image,
                source: &claims.source,
                destination: destination(claims, oldest, &role),
                role,
                workloads: claims.all_workloads(),
            })
        });
        images.collect()
    }

    /// The oldest workload that claims the destination for an image.
    pub fn oldest_workload(&self, source: &Reference) -> Option<&WorkloadId> {
        let (claimant, _) = self.by_source.get(source)?.oldest()?;
        Some(&claimant.workload.id)
    }

    /// The jobs, in the order in which they are to be done.
    pub fn jobs(&self, key: &DestinationKey) -> Vec<CopyJob> {
        let jobs = self.assigned(key).into_iter().filter_map(|(claims, role)| {
            let (_, oldest) = claims.oldest()?;
            Some(CopyJob {
                image: oldest.image.clone(),
                source: claims.source.clone(),
                destination: destination(claims, oldest, &role),
                workloads: claims.workloads(),
                running: claims.pod_digests(),
                platforms: claims.platforms(),
                pull_secrets: claims.pull_secrets(),
                role,
                resolve_tag: false,
                other_destinations: Vec::new(),
                is_damaged: false,
                repair_pause: None,
                look_for_referrers: false,
                source_unavailable: None,
                owns_tag: self.owner.as_ref().is_some_and(|owner| is_same_repository(owner, &claims.source)),
            })
        });
        jobs.collect()
    }

    fn oldest_first(&self) -> Vec<&SourceClaims> {
        let mut all: Vec<&SourceClaims> = self.by_source.values().collect();
        all.sort_by_key(|claims| claims.oldest().map(|(claimant, _)| claimant));
        all
    }

    fn first(&self, key: &DestinationKey) -> Option<&SourceClaims> {
        let oldest = self.by_source.values().min_by_key(|claims| claims.oldest().map(|(claimant, _)| claimant));
        let owner = self.owner.as_ref().filter(|_| key.has_tag());
        let owned =
            owner.and_then(|owner| self.by_source.values().find(|claims| is_same_repository(&claims.source, owner)));
        owned.or(oldest)
    }

    fn assigned(&self, key: &DestinationKey) -> Vec<(&SourceClaims, Role)> {
        if self.by_source.len() == 1 || !key.has_tag() {
            // One digest is the same bytes from every source.
            return self.oldest_first().into_iter().map(|claims| (claims, Role::Owner)).collect();
        }
        let Some(first) = self.first(key) else { return Vec::new() };
        let (same_repository, conflicts): (Vec<&SourceClaims>, Vec<&SourceClaims>) =
            self.oldest_first().into_iter().partition(|claims| is_same_repository(&claims.source, &first.source));
        let newest = || same_repository.iter().max_by_key(|claims| claims.newest().map(Claimant::newness));
        // A workload that names a digest pulls by it: the tag is for workloads that follow it.
        let follower = same_repository.iter().find(|claims| claims.source.digest().is_none());
        let Some(owner) = follower.or_else(newest).copied() else { return Vec::new() };
        let others = same_repository.iter().filter(|claims| claims.source != owner.source);
        let owner_name = owner.oldest().or(first.oldest());
        let owner_name = owner_name
            .map_or_else(String::new, |(claimant, claim)| format!("{} of {}", claim.image, claimant.workload.id));
        // Other digests are kept by digest before the tag is moved away from them.
        let mut assigned: Vec<(&SourceClaims, Role)> = others.map(|claims| (*claims, Role::ByDigest)).collect();
        assigned.push((owner, Role::Owner));
        assigned.extend(conflicts.into_iter().map(|claims| (claims, Role::Conflict { owner: owner_name.clone() })));
        assigned
    }
}

fn destination(claims: &SourceClaims, oldest: &Claim, role: &Role) -> Destination {
    let mut destination = oldest.key.destination(&claims.source);
    if *role == Role::ByDigest {
        destination.tag = None;
    }
    destination
}

fn is_same_repository(one: &Reference, other: &Reference) -> bool {
    one.registry() == other.registry() && one.repository() == other.repository()
}
