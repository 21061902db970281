//! Reading blobs and comparing their digests, within a budget of bytes and a rate.

use std::{
    collections::{BTreeMap, HashSet},
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use futures::StreamExt as _;
use tokio::{
    sync::Mutex as AsyncMutex,
    time::{Instant, sleep_until},
};

use super::content::PartState;
use crate::{
    model::{Digest, PartProblemKind},
    registry::{Descriptor, StoreRepository},
};

/// Blobs that were read in this or in an earlier verification, with their targets.
pub type ReadBlobs = HashSet<(String, Digest)>;

/// How much is read, and how fast.
pub struct DeepReading {
    /// Bytes in all; none without a limit.
    budget: Option<u64>,
    /// Bytes of the budget that are left.
    left: AtomicU64,
    /// Bytes per second; none without a limit.
    rate: Option<u64>,
    /// When the next bytes may be read.
    next: AsyncMutex<Instant>,
    blobs: Mutex<Blobs>,
}

#[derive(Default)]
struct Blobs {
    read: ReadBlobs,
    /// With their sizes.
    not_read: BTreeMap<(String, Digest), u64>,
}

/// What the budget was too small for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NotRead {
    /// The number of blobs.
    pub blobs: usize,
    /// Their bytes.
    pub bytes: u64,
    /// The number of those that are larger than the whole budget: they are never read with it.
    pub larger_than_budget: usize,
    /// The largest one, if it is larger than the whole budget, with its size.
    pub largest: Option<(Digest, u64)>,
}

impl NotRead {
    /// Whether the next verification with this budget reads more.
    pub fn is_continued(&self) -> bool {
        self.blobs > self.larger_than_budget
    }
}

impl DeepReading {
    /// At most `bytes` in all, and `rate` bytes per second. Blobs in `read` are not read again.
    pub fn new(bytes: Option<u64>, rate: Option<u64>, read: ReadBlobs) -> Self {
        Self {
            budget: bytes,
            left: bytes.unwrap_or(u64::MAX).into(),
            rate: rate.filter(|rate| *rate > 0),
            next: AsyncMutex::new(Instant::now()),
            blobs: Mutex::new(Blobs { read, not_read: BTreeMap::new() }),
        }
    }

    /// The blobs that were read so far, earlier ones included.
    pub fn read_blobs(&self) -> ReadBlobs {
        self.blobs().read.clone()
    }

    /// How many these are.
    pub fn read_count(&self) -> usize {
        self.blobs().read.len()
    }

    /// What was not read so far.
    pub fn not_read(&self) -> NotRead {
        let blobs = self.blobs();
        let larger = |size: u64| self.budget.is_some_and(|budget| size > budget);
        let largest = blobs.not_read.iter().max_by_key(|(_, size)| **size).filter(|(_, size)| larger(**size));
        NotRead {
            blobs: blobs.not_read.len(),
            bytes: blobs.not_read.values().fold(0, |sum, size| sum.saturating_add(*size)),
            larger_than_budget: blobs.not_read.values().filter(|size| larger(**size)).count(),
            largest: largest.map(|((_, digest), size)| (digest.clone(), *size)),
        }
    }

    /// Reads a blob that is there, if the budget allows it.
    pub(super) async fn read(&self, target: &str, repository: &StoreRepository, blob: &Descriptor) -> PartState {
        let key = (target.to_owned(), blob.digest.clone());
        if self.blobs().read.contains(&key) {
            return PartState::Present { read: 0 };
        }
        if !self.take(blob.size) {
            self.blobs().not_read.insert(key, blob.size);
            return PartState::Present { read: 0 };
        }
        let mut bytes = repository.read_blob(blob).await;
        let mut read = 0_u64;
        while let Some(chunk) = bytes.next().await {
            match chunk {
                Ok(chunk) => {
                    let length = chunk.len() as u64;
                    read += length;
                    self.wait_for(length).await;
                }
                Err(error) if error.is_wrong_content() => {
                    return PartState::Problem(PartProblemKind::Corrupt, error.to_string());
                }
                Err(error) => return PartState::Problem(PartProblemKind::Unknown, error.to_string()),
            }
        }
        let mut blobs = self.blobs();
        blobs.not_read.remove(&key);
        blobs.read.insert(key);
        PartState::Present { read }
    }

    fn blobs(&self) -> MutexGuard<'_, Blobs> {
        self.blobs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take(&self, bytes: u64) -> bool {
        if self.budget.is_none() {
            return true;
        }
        self.left.try_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(bytes)).is_ok()
    }

    async fn wait_for(&self, bytes: u64) {
        let Some(rate) = self.rate else { return };
        let moment = {
            let mut next = self.next.lock().await;
            let start = (*next).max(Instant::now());
            *next = start + Duration::from_secs_f64(bytes as f64 / rate as f64);
            start
        };
        sleep_until(moment).await;
    }
}
