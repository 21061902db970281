//! Reading blobs and comparing their digests, within a budget of bytes and a rate.

use std::{
    collections::HashSet,
    sync::{
        Mutex, PoisonError,
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
    /// Bytes that are left; none without a limit.
    left: Option<AtomicU64>,
    /// Bytes per second; none without a limit.
    rate: Option<u64>,
    /// When the next bytes may be read.
    next: AsyncMutex<Instant>,
    read: Mutex<ReadBlobs>,
    was_cut: std::sync::atomic::AtomicBool,
}

impl DeepReading {
    /// At most `bytes` in all, and `rate` bytes per second. Blobs in `read` are not read again.
    pub fn new(bytes: Option<u64>, rate: Option<u64>, read: ReadBlobs) -> Self {
        Self {
            left: bytes.map(AtomicU64::new),
            rate: rate.filter(|rate| *rate > 0),
            next: AsyncMutex::new(Instant::now()),
            read: Mutex::new(read),
            was_cut: false.into(),
        }
    }

    /// The blobs that were read, earlier ones included, and whether the budget was too small to read all.
    pub fn into_read(self) -> (ReadBlobs, bool) {
        (self.read.into_inner().unwrap_or_else(PoisonError::into_inner), self.was_cut.load(Ordering::Relaxed))
    }

    /// Reads a blob that is there, if the budget allows it.
    pub(super) async fn read(&self, target: &str, repository: &StoreRepository, blob: &Descriptor) -> PartState {
        let key = (target.to_owned(), blob.digest.clone());
        if self.read.lock().unwrap_or_else(PoisonError::into_inner).contains(&key) {
            return PartState::Present { read: 0 };
        }
        if !self.take(blob.size) {
            self.was_cut.store(true, Ordering::Relaxed);
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
        self.read.lock().unwrap_or_else(PoisonError::into_inner).insert(key);
        PartState::Present { read }
    }

    fn take(&self, bytes: u64) -> bool {
        let Some(left) = &self.left else { return true };
        left.try_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(bytes)).is_ok()
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
