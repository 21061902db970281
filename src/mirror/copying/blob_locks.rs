//! Which blobs are being uploaded to a target, and in which repositories they are.

use std::{
    collections::{HashMap, HashSet},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::{
    sync::OwnedMutexGuard,
    time::{Instant, timeout_at},
};

use super::image_upload::ImageUpload;
use crate::model::{Digest, Failure};

/// The number of blobs to remember before idle ones are dropped; forgetting one costs at most a request.
const MAX_BLOBS: usize = 16_384;

/// For so long nobody uploads a damaged blob again that the target has just kept: many images may share it.
const KEPT: Duration = Duration::from_secs(15 * 60);

/// How long to wait for a blob that another image uploads.
#[derive(Clone, Copy, Debug)]
struct WaitLimits {
    /// In each such interval…
    interval: Duration,
    /// …at least this many bytes must be sent; less than the slowest useful connection sends.
    min_bytes: u64,
    /// For all waits together.
    longest: Duration,
    /// After so many uploaders without progress, every image uploads the blob itself.
    tries: u32,
}

const WAIT_LIMITS: WaitLimits = WaitLimits {
    interval: Duration::from_secs(60),
    min_bytes: 128 * 1024,
    longest: Duration::from_secs(30 * 60),
    tries: 3,
};

/// Lets one of several images that share a blob upload it, while the others wait and then mount it.
#[derive(Debug)]
pub(super) struct BlobLocks {
    blobs: Mutex<HashMap<(String, Digest), Arc<Blob>>>,
    /// Targets that mount no blob even after its image is complete.
    unmountable: Mutex<HashSet<String>>,
    limits: WaitLimits,
}

impl Default for BlobLocks {
    fn default() -> Self {
        Self { blobs: Mutex::default(), unmountable: Mutex::default(), limits: WAIT_LIMITS }
    }
}

/// Where a blob is known to be.
#[derive(Clone, Debug)]
pub(super) struct BlobLocation {
    pub repository: String,
    /// The image that it was found or uploaded for.
    pub upload: Arc<ImageUpload>,
}

/// One blob at one target.
#[derive(Debug, Default)]
struct Blob {
    location: Arc<tokio::sync::Mutex<Option<BlobLocation>>>,
    /// Bytes of it that were sent.
    sent: AtomicU64,
    /// The image that holds the lock while it still uploads other blobs.
    holder: Mutex<Option<Arc<ImageUpload>>>,
    /// When the target took an upload of it to a repository, and kept its own damaged bytes.
    kept: Mutex<Option<Kept>>,
}

/// An upload in vain.
#[derive(Debug)]
struct Kept {
    at: Instant,
    repository: String,
    failure: Failure,
}

/// The right to upload a blob.
#[derive(Debug)]
pub(super) struct BlobLock {
    /// Where it is known to be; to be set once it is found or uploaded.
    pub location: OwnedMutexGuard<Option<BlobLocation>>,
    blob: Arc<Blob>,
}

impl BlobLock {
    fn new(blob: Arc<Blob>, location: OwnedMutexGuard<Option<BlobLocation>>, upload: &Arc<ImageUpload>) -> Self {
        *blob.holder.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::clone(upload));
        Self { location, blob }
    }

    /// The failure of an upload to the repository that the target took and did not keep, if that was not long ago.
    pub fn kept(&self, repository: &str) -> Option<Failure> {
        let kept = self.blob.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let kept = kept.as_ref().filter(|kept| kept.repository == repository && kept.at.elapsed() < KEPT);
        kept.map(|kept| kept.failure.clone())
    }

    /// The target took the upload of the blob to the repository, and kept its own damaged bytes.
    pub fn set_kept(&self, repository: &str, failure: &Failure) {
        let (repository, failure) = (repository.to_owned(), failure.clone());
        let kept = Kept { at: Instant::now(), repository, failure };
        *self.blob.kept.lock().unwrap_or_else(PoisonError::into_inner) = Some(kept);
    }

    /// The upload of the blob itself begins. Returns a function to call with each number of bytes sent.
    pub fn start_upload(&self) -> impl Fn(u64) + Clone + Send + Sync + use<> {
        *self.blob.holder.lock().unwrap_or_else(PoisonError::into_inner) = None;
        let blob = Arc::clone(&self.blob);
        move |bytes| {
            blob.sent.fetch_add(bytes, Ordering::Relaxed);
        }
    }
}

impl Blob {
    /// Changes with each byte that is sent by the lock's holder.
    fn progress(&self) -> u64 {
        let holder = self.holder.lock().unwrap_or_else(PoisonError::into_inner);
        let of_holder = holder.as_ref().map_or(0, |upload| upload.sent());
        self.sent.load(Ordering::Relaxed).wrapping_add(of_holder)
    }

    /// Waits for the lock; none if its holder makes no progress, or the deadline has passed.
    async fn wait(&self, limits: WaitLimits, deadline: Instant) -> Option<OwnedMutexGuard<Option<BlobLocation>>> {
        let lock = Arc::clone(&self.location).lock_owned();
        tokio::pin!(lock);
        let mut before = self.progress();
        loop {
            let until = deadline.min(Instant::now() + limits.interval);
            if let Ok(lock) = timeout_at(until, &mut lock).await {
                return Some(lock);
            }
            let now = self.progress();
            if Instant::now() >= deadline || now.abs_diff(before) < limits.min_bytes {
                return None;
            }
            before = now;
        }
    }
}

impl BlobLocks {
    /// Waits until no other image than that of `upload` uploads the blob to the target. A holder without progress loses
    /// the lock: the next one then uploads the blob too.
    pub async fn lock(&self, target: &str, digest: &Digest, upload: &Arc<ImageUpload>) -> BlobLock {
        let key = (target.to_owned(), digest.clone());
        let deadline = Instant::now() + self.limits.longest;
        for _ in 0..self.limits.tries {
            let blob = self.blob(&key);
            if let Some(location) = blob.wait(self.limits, deadline).await {
                return BlobLock::new(blob, location, upload);
            }
            tracing::debug!(target, %digest, "the upload of the blob by another image makes no progress; not waiting for it");
            let mut blobs = self.blobs();
            // Another waiting image may have replaced it already, and be uploading now.
            if blobs.get(&key).is_some_and(|now| Arc::ptr_eq(now, &blob)) {
                blobs.insert(key.clone(), Arc::default());
            }
        }
        let blob = Arc::new(Blob::default());
        let location = Arc::clone(&blob.location).lock_owned().await;
        BlobLock::new(blob, location, upload)
    }

    fn blob(&self, key: &(String, Digest)) -> Arc<Blob> {
        let mut blobs = self.blobs();
        if blobs.len() >= MAX_BLOBS {
            blobs.retain(|_, blob| Arc::strong_count(blob) > 1);
        }
        Arc::clone(blobs.entry(key.clone()).or_default())
    }

    fn blobs(&self) -> std::sync::MutexGuard<'_, HashMap<(String, Digest), Arc<Blob>>> {
        self.blobs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Forgets which damaged blobs targets have kept: somebody may have deleted them.
    pub fn forget_kept(&self) {
        for blob in self.blobs().values() {
            *blob.kept.lock().unwrap_or_else(PoisonError::into_inner) = None;
        }
    }

    /// Whether the target may mount a blob once the image that it was uploaded for is complete.
    pub fn may_mount_later(&self, target: &str) -> bool {
        !self.unmountable.lock().unwrap_or_else(PoisonError::into_inner).contains(target)
    }

    /// Records that a target refused to mount a blob that a manifest refers to.
    pub fn set_unmountable(&self, target: &str) {
        self.unmountable.lock().unwrap_or_else(PoisonError::into_inner).insert(target.to_owned());
    }
}

#[cfg(test)]
mod tests {
    use futures::future::join_all;

    use super::*;
    use crate::model::{FailureKind, Retry};

    fn short_limits() -> BlobLocks {
        let limits = WaitLimits {
            interval: Duration::from_millis(200),
            min_bytes: 100,
            longest: Duration::from_secs(60),
            tries: 3,
        };
        BlobLocks { limits, ..BlobLocks::default() }
    }

    /// With a timeout far above what any test needs.
    async fn soon<T>(future: impl Future<Output = T>) -> T {
        tokio::time::timeout(Duration::from_secs(30), future).await.expect("it waits without a deadline")
    }

    #[tokio::test]
    async fn one_image_uploads_a_blob_and_the_next_gets_its_location() {
        let (blobs, upload) = (BlobLocks::default(), Arc::default());
        let digest = Digest::sha256(b"layer");
        let mut first = blobs.lock("default", &digest, &upload).await;
        assert!(first.location.is_none());
        let second = blobs.lock("default", &digest, &upload);
        tokio::pin!(second);
        assert!(futures::poll!(&mut second).is_pending(), "the blob is being uploaded");
        *first.location = Some(BlobLocation { repository: "library/base".into(), upload: Arc::default() });
        drop(first);
        let second = second.await;
        assert_eq!(second.location.as_ref().map(|location| location.repository.as_str()), Some("library/base"));
        assert!(blobs.lock("other", &digest, &upload).await.location.is_none(), "targets do not share blobs");
    }

    #[tokio::test]
    async fn does_not_wait_for_a_holder_without_progress() {
        let (blobs, digest) = (short_limits(), Digest::sha256(b"layer"));
        let stuck = blobs.lock("default", &digest, &Arc::default()).await;
        let second = soon(blobs.lock("default", &digest, &Arc::default())).await;
        assert!(second.location.is_none());
        // Later images wait for the second.
        let upload = Arc::default();
        let third = soon(blobs.lock("default", &digest, &upload));
        tokio::pin!(third);
        assert!(futures::poll!(&mut third).is_pending());
        drop(second);
        third.await;
        drop(stuck);
    }

    #[tokio::test]
    async fn no_image_waits_forever_even_if_all_holders_are_stuck() {
        let (blobs, digest) = (short_limits(), Digest::sha256(b"layer"));
        let upload = Arc::default();
        let locks = soon(join_all((0..8).map(|_| blobs.lock("default", &digest, &upload)))).await;
        assert_eq!(locks.len(), 8, "all of them at once, none released");
    }

    #[tokio::test]
    async fn waits_for_a_holder_with_progress() {
        let (blobs, digest) = (short_limits(), Digest::sha256(b"layer"));
        // First with the image's other blobs, then with this one.
        let upload: Arc<ImageUpload> = Arc::default();
        let mut first = blobs.lock("default", &digest, &upload).await;
        let waiting = Arc::default();
        let second = soon(blobs.lock("default", &digest, &waiting));
        let uploading = async {
            for _ in 0..40 {
                tokio::time::sleep(Duration::from_millis(25)).await;
                upload.add_sent(50);
            }
            let add_sent = first.start_upload();
            for _ in 0..40 {
                tokio::time::sleep(Duration::from_millis(25)).await;
                add_sent(50);
            }
            *first.location = Some(BlobLocation { repository: "library/base".into(), upload: upload.clone() });
            drop(first);
        };
        let (second, ()) = tokio::join!(second, uploading);
        assert!(second.location.is_some(), "it was worth the wait");
    }

    #[tokio::test]
    async fn what_a_target_keeps_is_known_to_all_images_for_a_while() {
        let (blobs, digest, upload) = (BlobLocks::default(), Digest::sha256(b"layer"), Arc::default());
        let kept = Failure { kind: FailureKind::Verification, message: "kept".into(), retry: Retry::Later };
        let first = blobs.lock("default", &digest, &upload).await;
        assert_eq!(first.kept("app"), None);
        first.set_kept("app", &kept);
        drop(first);
        let second = blobs.lock("default", &digest, &Arc::default()).await;
        assert_eq!((second.kept("app"), second.kept("other")), (Some(kept), None));
        drop(second);
        assert_eq!(blobs.lock("other", &digest, &upload).await.kept("app"), None);
        blobs.forget_kept();
        assert_eq!(blobs.lock("default", &digest, &upload).await.kept("app"), None);
    }

    #[tokio::test]
    async fn a_dropped_wait_does_not_keep_the_lock() {
        let (blobs, digest) = (BlobLocks::default(), Digest::sha256(b"layer"));
        let upload = Arc::default();
        let first = blobs.lock("default", &digest, &upload).await;
        {
            let waiting = blobs.lock("default", &digest, &upload);
            tokio::pin!(waiting);
            assert!(futures::poll!(&mut waiting).is_pending());
        }
        drop(first);
        soon(blobs.lock("default", &digest, &upload)).await;
    }
}
