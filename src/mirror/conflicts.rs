//! Destination conflicts, found before anything is copied, by the same rule as when copying.

use std::collections::{BTreeMap, HashMap};

use crate::model::{Destination, Reference, WorkloadId};

use super::{
    claims::{Claims, DesiredImage},
    destination_key::DestinationKey,
    job::{CopyJob, Role},
};

/// Destinations that different images claim.
#[derive(Debug, Default)]
pub struct Conflicts {
    /// For each image with a conflict: another image that claims the destination, as `IMAGE of WORKLOAD`.
    others: HashMap<(DestinationKey, Reference), String>,
    destinations: usize,
}

impl Conflicts {
    /// The conflicts among these images.
    pub fn among(images: impl IntoIterator<Item = DesiredImage>) -> Self {
        let mut by_workload = BTreeMap::<WorkloadId, Vec<DesiredImage>>::new();
        for image in images {
            by_workload.entry(image.image_use.workload.id.clone()).or_default().push(image);
        }
        let mut claims = Claims::default();
        for (workload, images) in by_workload {
            claims.set(&workload, images);
        }
        let mut found = Self::default();
        for key in claims.keys() {
            found.add(key, claims.jobs(key));
        }
        found
    }

    fn add(&mut self, key: &DestinationKey, jobs: Vec<CopyJob>) {
        let owner = jobs.iter().find(|job| job.role == Role::Owner).and_then(|job| job.source.digest().cloned());
        let is_same = |job: &CopyJob| owner.is_some() && job.source.digest() == owner.as_ref();
        // The rest is the owner, and the images of its repository that are kept by digest.
        let (conflicts, rest): (Vec<_>, Vec<_>) =
            jobs.into_iter().partition(|job| matches!(job.role, Role::Conflict { .. }) && !is_same(job));
        let Some(first) = conflicts.first() else { return };
        let mut other = match first.workloads.first() {
            Some(workload) => format!("{} of {workload}", first.image),
            None => first.image.clone(),
        };
        if conflicts.len() > 1 {
            other += &format!(" (and {} more)", conflicts.len() - 1);
        }
        for job in rest {
            self.others.insert((key.clone(), job.source), other.clone());
        }
        for job in conflicts {
            if let Role::Conflict { owner } = job.role {
                self.others.insert((key.clone(), job.source), owner);
            }
        }
        self.destinations += 1;
    }

    /// Another image that claims the destination of `source`; none without a conflict.
    pub fn other(&self, destination: &Destination, source: &Reference) -> Option<&str> {
        if self.others.is_empty() {
            return None;
        }
        self.others.get(&(DestinationKey::of(destination), source.clone())).map(String::as_str)
    }

    /// The number of destinations with a conflict.
    pub fn destinations(&self) -> usize {
        self.destinations
    }
}
