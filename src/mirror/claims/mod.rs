//! Which workloads claim which destinations, and which image owns a destination that several claim.

mod claimant;
mod destination_claims;
mod oldest_pull_secrets;
mod registries_in_use;
mod source_claims;
#[cfg(test)]
mod tests;

use std::{collections::HashMap, sync::Arc};

use crate::model::{Container, Destination, ImageUse, Reference, Running, WorkloadId};

use super::{destination_key::DestinationKey, job::CopyJob};
use claimant::{Claim, Claimant};
use destination_claims::{Assignment, DestinationClaims};

pub use destination_claims::ClaimedImage;

pub use registries_in_use::RegistriesInUse;

/// An image use that the policy decided to mirror.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DesiredImage {
    /// The image use.
    pub image_use: ImageUse,
    /// Its image.
    pub source: Reference,
    /// Where to.
    pub destinations: Vec<Destination>,
}

/// All claims for all destinations.
#[derive(Debug, Default)]
pub struct Claims {
    destinations: HashMap<DestinationKey, DestinationClaims>,
    workloads: HashMap<WorkloadId, Vec<WorkloadClaim>>,
}

/// One claim of a workload.
#[derive(Debug)]
struct WorkloadClaim {
    container: Container,
    image: String,
    key: DestinationKey,
    source: Reference,
    claimant: Claimant,
}

/// What replacing a workload's claims changed.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct ClaimChanges {
    /// Destinations with a new or changed claim, and its source.
    pub requested: Vec<(DestinationKey, Reference)>,
    /// Destinations and sources whose claims name further pull secrets, and are else unchanged.
    pub openable: Vec<(DestinationKey, Reference)>,
    /// Other destinations whose jobs changed.
    pub reassigned: Vec<DestinationKey>,
    /// Destinations without claims.
    pub released: Vec<DestinationKey>,
}

impl Claims {
    /// Replaces all claims of a workload.
    pub fn set(&mut self, workload: &WorkloadId, desired: Vec<DesiredImage>) -> ClaimChanges {
        let old = self.workloads.remove(workload).unwrap_or_default();
        let new = self.claims_for(desired);
        let mut before: HashMap<DestinationKey, Vec<Assignment>> = HashMap::new();
        for WorkloadClaim { key, .. } in old.iter().chain(new.iter().map(|(claimed, _)| claimed)) {
            if !before.contains_key(key) {
                before.insert(key.clone(), self.assignments(key));
            }
        }
        let mut replaced = HashMap::new();
        for WorkloadClaim { container, image, key, source, claimant } in old {
            if let Some(claim) = self.destinations.get_mut(&key).and_then(|claims| claims.remove(&source, &claimant)) {
                replaced.insert((key, container, image), (source, claim));
            }
        }
        let mut changes = ClaimChanges::default();
        let mut kept = Vec::with_capacity(new.len());
        for (claimed, claim) in new {
            let identity = (claimed.key.clone(), claimed.container.clone(), claimed.image.clone());
            let earlier = replaced.get(&identity).filter(|(source, _)| *source == claimed.source);
            let earlier = earlier.map(|(_, earlier)| earlier);
            let is_unchanged = earlier.is_some_and(|earlier| earlier.is_equivalent(&claim));
            let has_further_secrets = earlier.is_some_and(|earlier| claim.has_further_pull_secrets(earlier));
            let request = (claimed.key.clone(), claimed.source.clone());
            if !is_unchanged && !changes.requested.contains(&request) {
                changes.requested.push(request);
            } else if has_further_secrets {
                changes.openable.push(request);
            }
            let claims = self.destinations.entry(claimed.key.clone()).or_default();
            claims.insert(&claimed.source, claimed.claimant.clone(), claim);
            kept.push(claimed);
        }
        for (key, before) in before {
            match self.destinations.get_mut(&key) {
                Some(claims) if !claims.is_empty() => {
                    claims.drop_unclaimed_owner();
                    if claims.assignments(&key) != before && !changes.requested.iter().any(|(other, _)| *other == key) {
                        changes.reassigned.push(key);
                    }
                }
                _ => {
                    self.destinations.remove(&key);
                    changes.released.push(key);
                }
            }
        }
        changes.reassigned.sort_by_cached_key(ToString::to_string);
        changes.released.sort_by_cached_key(ToString::to_string);
        if !kept.is_empty() {
            self.workloads.insert(workload.clone(), kept);
        }
        changes
    }

    fn claims_for(&self, desired: Vec<DesiredImage>) -> Vec<(WorkloadClaim, Claim)> {
        let mut all: Vec<(WorkloadClaim, Claim)> = Vec::new();
        for (rank, DesiredImage { image_use, source, destinations }) in desired.into_iter().enumerate() {
            let digest = |running: &Running| Some((running.image.digest()?.clone(), running.since));
            let running: Vec<_> = image_use.running.iter().filter_map(digest).collect();
            let first = all.len();
            for destination in destinations {
                let key = self.interned(DestinationKey::of(&destination));
                // If two targets are one repository the first is used.
                if all.iter().skip(first).any(|(claimed, _)| claimed.key == key) {
                    continue;
                }
                let claim = Claim {
                    image: image_use.image.clone(),
                    key: key.clone(),
                    running: running.clone(),
                    platforms: image_use.platforms.clone(),
                    pull_secrets: image_use.pull_secrets.clone(),
                };
                let claimed = WorkloadClaim {
                    container: image_use.container.clone(),
                    image: image_use.image.clone(),
                    key,
                    source: source.clone(),
                    claimant: Claimant { workload: Arc::clone(&image_use.workload), rank },
                };
                all.push((claimed, claim));
            }
        }
        all
    }

    /// The equal key that is already stored, if there is one: saves memory.
    fn interned(&self, key: DestinationKey) -> DestinationKey {
        match self.destinations.get_key_value(&key) {
            Some((stored, _)) if stored.has_same_target(&key) => stored.clone(),
            _ => key,
        }
    }

    /// The destinations that an image use claims.
    pub fn keys_of(&self, image_use: &ImageUse) -> Vec<DestinationKey> {
        self.claims_of(image_use).map(|claimed| claimed.key.clone()).collect()
    }

    /// What was last decided for this container and image, if it was to be mirrored.
    pub fn desired_by(&self, image_use: &ImageUse) -> Option<DesiredImage> {
        let mut claims = self.claims_of(image_use).peekable();
        let source = claims.peek()?.source.clone();
        let destinations = claims.map(|claimed| claimed.key.destination(&claimed.source)).collect();
        Some(DesiredImage { image_use: image_use.clone(), source, destinations })
    }

    fn claims_of(&self, image_use: &ImageUse) -> impl Iterator<Item = &WorkloadClaim> {
        let claims = self.workloads.get(&image_use.workload.id).into_iter().flatten();
        claims.filter(|claimed| claimed.container == image_use.container && claimed.image == image_use.image)
    }

    /// Every claimed destination.
    pub fn keys(&self) -> impl Iterator<Item = &DestinationKey> {
        self.destinations.keys()
    }

    /// The registry of a destination's source; of several that of the owner or of the oldest claim. None without a claim.
    pub fn source_registry(&self, key: &DestinationKey) -> Option<&str> {
        self.destinations.get(key)?.first_source(key).map(Reference::registry)
    }

    /// Records that the target has the destination from this source's repository.
    pub fn set_owner(&mut self, key: &DestinationKey, source: &Reference) {
        if let Some(claims) = self.destinations.get_mut(key).filter(|_| key.has_tag()) {
            claims.set_owner(source);
        }
    }

    /// If images of several repositories claim the destination and its owner is not known: the images of each
    /// repository, the oldest claim's first. The target tells the owner.
    pub fn contenders(&self, key: &DestinationKey) -> Option<Vec<Vec<Reference>>> {
        let claims = self.destinations.get(key).filter(|claims| key.has_tag() && !claims.has_owner())?;
        let repositories = claims.repositories();
        (repositories.len() > 1).then_some(repositories)
    }

    /// The jobs for a destination, in the order in which they are to be done; empty without a claim.
    ///
    /// Of different repositories the known owner has the tag, else the oldest workload's. Within a repository the image
    /// that follows the tag has it; if all name a digest, the newest workload's. The other digests are kept by digest.
    pub fn jobs(&self, key: &DestinationKey) -> Vec<CopyJob> {
        self.destinations.get(key).map(|claims| claims.jobs(key)).unwrap_or_default()
    }

    /// Where else the oldest workload that uses the image at a destination has it.
    pub fn other_destinations(&self, key: &DestinationKey, source: &Reference) -> Vec<Destination> {
        let oldest = self.destinations.get(key).and_then(|claims| claims.oldest_workload(source));
        let claims = oldest.and_then(|workload| self.workloads.get(workload)).into_iter().flatten();
        let others = claims.filter(|claimed| claimed.source == *source && claimed.key != *key);
        others.map(|claimed| claimed.key.destination(source)).collect()
    }

    /// Every image that claims a destination.
    pub fn images(&self) -> impl Iterator<Item = (&DestinationKey, ClaimedImage<'_>)> {
        self.destinations.iter().flat_map(|(key, claims)| claims.images(key).into_iter().map(move |image| (key, image)))
    }

    fn assignments(&self, key: &DestinationKey) -> Vec<Assignment> {
        self.destinations.get(key).map(|claims| claims.assignments(key)).unwrap_or_default()
    }
}
