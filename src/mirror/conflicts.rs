//! Which names are wanted by images that are not the same, before anything is copied: by the rule of the copying.

use std::collections::{BTreeMap, HashMap};

use crate::model::{Destination, ImageUse, Reference, WorkloadId};

use super::{
    claims::{Claims, Name},
    job::{CopyJob, Role},
};

/// A use's image, and where it is to go.
pub type Wish = (ImageUse, Reference, Vec<Destination>);

/// Names that one image can have, and several are to.
#[derive(Debug, Default)]
pub struct Conflicts {
    /// For each image that has such a name to itself no more: another one, as `IMAGE of WORKLOAD`.
    others: HashMap<(Name, Reference), String>,
    names: usize,
}

impl Conflicts {
    /// Among all that is wished for.
    pub fn among(wishes: impl IntoIterator<Item = Wish>) -> Self {
        let mut of_workload = BTreeMap::<WorkloadId, Vec<Wish>>::new();
        for wish in wishes {
            of_workload.entry(wish.0.workload.id.clone()).or_default().push(wish);
        }
        let mut claims = Claims::default();
        for (workload, wishes) in of_workload {
            claims.set(&workload, wishes);
        }
        let mut found = Self::default();
        for name in claims.names() {
            let jobs = claims.jobs(name);
            let holder = jobs.iter().find(|job| job.role == Role::Holder).and_then(|job| job.source.digest().cloned());
            let is_same = |job: &CopyJob| holder.is_some() && job.source.digest() == holder.as_ref();
            // Who has the name, and those of the same repository that are kept by digest.
            let (rivals, having): (Vec<_>, Vec<_>) =
                jobs.into_iter().partition(|job| matches!(job.role, Role::Rival { .. }) && !is_same(job));
            let Some(first) = rivals.first() else { continue };
            let told = first.workloads.first().map(|workload| format!("{} of {workload}", first.image));
            let mut told = told.unwrap_or_default();
            if rivals.len() > 1 {
                told += &format!(" (and {} more)", rivals.len() - 1);
            }
            for job in having {
                found.others.insert((name.clone(), job.source), told.clone());
            }
            for job in rivals {
                if let Role::Rival { holder } = job.role {
                    found.others.insert((name.clone(), job.source), holder);
                }
            }
            found.names += 1;
        }
        found
    }

    /// Another image that is to have the same name; none where `source` has it to itself.
    pub fn other(&self, destination: &Destination, source: &Reference) -> Option<&str> {
        if self.others.is_empty() {
            return None;
        }
        self.others.get(&(Name::of(destination), source.clone())).map(String::as_str)
    }

    /// How many names there are of which that is so.
    pub fn names(&self) -> usize {
        self.names
    }
}
