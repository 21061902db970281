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
    /// Blobs that earlier verifications have read.
    earlier: ReadBlobs,
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
            earlier: read.clone(),
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

    /// Reads a blob that is there, if the budget allows it. One that was read in another repository of the target is not read
    /// again, if `has_length` tells that it has the same length here: registries store the bytes once.
    pub(super) async fn read(
        &self,
        target: &str,
        repository: &StoreRepository,
        blob: &Descriptor,
        has_length: bool,
    ) -> PartState {
        let key = (target.to_owned(), blob.digest.clone());
        let was_read = if has_length { self.blobs().read.contains(&key) } else { self.earlier.contains(&key) };
        if was_read {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::Layout;

    /// A repository of a store with these bytes under the digest of others.
    fn repository(folder: &std::path::Path, digest: &Digest, bytes: &[u8]) -> StoreRepository {
        let blobs = folder.join("blobs/sha256");
        std::fs::create_dir_all(&blobs).unwrap();
        std::fs::write(blobs.join(digest.hex()), bytes).unwrap();
        StoreRepository::Layout(Layout::new(folder.to_owned()).repository("app"))
    }

    #[tokio::test]
    async fn a_blob_is_read_once_unless_a_repository_does_not_tell_its_length() {
        let (content, digest) = (b"layer", Digest::sha256(b"layer"));
        let (whole, cut) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let whole = repository(whole.path(), &digest, content);
        let cut = repository(cut.path(), &digest, b"lay");
        let blob = Descriptor { media_type: "m".into(), digest: digest.clone(), size: 5, foreign: false };
        let deep = DeepReading::new(None, None, ReadBlobs::default());
        assert_eq!(deep.read("target", &whole, &blob, true).await, PartState::Present { read: 5 });
        assert_eq!(deep.read("target", &whole, &blob, true).await, PartState::Present { read: 0 });
        let silent = deep.read("target", &cut, &blob, false).await;
        assert!(matches!(silent, PartState::Problem(PartProblemKind::Corrupt, _)), "{silent:?}");
        let earlier = DeepReading::new(None, None, deep.read_blobs());
        assert_eq!(earlier.read("target", &cut, &blob, false).await, PartState::Present { read: 0 }, "in this round");
    }

    #[tokio::test]
    async fn what_the_budget_is_too_small_for_is_counted_once() {
        let folder = tempfile::tempdir().unwrap();
        let deep = DeepReading::new(Some(10), None, ReadBlobs::default());
        for (content, times) in [(&b"sixsix"[..], 1), (b"five5", 2), (b"more than ten", 2)] {
            let digest = Digest::sha256(content);
            let repository = repository(folder.path(), &digest, content);
            let blob = Descriptor { media_type: "m".into(), digest, size: content.len() as u64, foreign: false };
            for _ in 0..times {
                deep.read("target", &repository, &blob, true).await;
            }
        }
        let largest = Some((Digest::sha256(b"more than ten"), 13));
        let expected = NotRead { blobs: 2, bytes: 18, larger_than_budget: 1, largest };
        assert_eq!((deep.not_read(), deep.read_count()), (expected, 1));
        assert!(deep.not_read().is_continued());
    }
}
