//! Writers of one process take turns at the lists of referrers that targets do not maintain by themselves.

use std::hash::{BuildHasher, RandomState};

use tokio::sync::{Mutex, MutexGuard};

use crate::{mirror::job::CopyJob, model::Digest};

/// Subjects share locks: their number does not grow with the number of images.
const LOCKS: usize = 64;

#[derive(Debug)]
pub(in crate::mirror::copying) struct SubjectLocks {
    locks: Vec<Mutex<()>>,
    hasher: RandomState,
}

impl Default for SubjectLocks {
    fn default() -> Self {
        Self { locks: (0..LOCKS).map(|_| Mutex::default()).collect(), hasher: RandomState::new() }
    }
}

impl SubjectLocks {
    /// Waits for other writers of the list of the referrers of `subject` at the job's destination.
    pub async fn lock(&self, job: &CopyJob, subject: &Digest) -> Option<MutexGuard<'_, ()>> {
        let destination = &job.destination;
        let hash = self.hasher.hash_one((&destination.target.name, &destination.repository, subject));
        let index = usize::try_from(hash % LOCKS as u64).ok()?;
        Some(self.locks.get(index)?.lock().await)
    }
}
