//! Images being uploaded. Some registries mount a blob only once a manifest refers to it (Amazon ECR does), so it can pay
//! to wait for the image that uploaded it.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio_util::sync::CancellationToken;

/// After waiting this long for another image, an image uploads the blob itself.
const LONGEST_WAIT: Duration = Duration::from_secs(60);

/// The upload of one image, shared by all that may wait for it. It ends when its [`UploadGuard`] is dropped.
#[derive(Debug, Default)]
pub(super) struct ImageUpload {
    ended: CancellationToken,
    completed: AtomicBool,
    /// Bytes of its blobs that were sent.
    sent: AtomicU64,
    /// A wait for it has timed out.
    is_slow: AtomicBool,
    edges: Mutex<WaitEdges>,
}

/// Who waits for whom. An upload that waits is not waited for, and vice versa, so there are no deadlocks.
#[derive(Debug, Default)]
struct WaitEdges {
    outgoing: usize,
    incoming: usize,
}

/// Held by the image's own task.
#[derive(Debug, Default)]
pub(super) struct UploadGuard {
    upload: Arc<ImageUpload>,
}

impl UploadGuard {
    pub fn upload(&self) -> &Arc<ImageUpload> {
        &self.upload
    }

    /// Records that the manifest is at the target: others need not wait any more.
    pub fn complete(&self) {
        self.upload.completed.store(true, Ordering::Release);
        self.upload.ended.cancel();
    }
}

impl Drop for UploadGuard {
    fn drop(&mut self) {
        self.upload.ended.cancel();
    }
}

impl ImageUpload {
    pub fn has_ended(&self) -> bool {
        self.ended.is_cancelled()
    }

    pub fn add_sent(&self, bytes: u64) {
        self.sent.fetch_add(bytes, Ordering::Relaxed);
    }

    pub fn sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }

    /// Waits at most a minute for the end of another upload, and returns whether it completed. Returns false at once if the
    /// other waits itself, if another waits for this one, or if a wait for the other has timed out before.
    pub async fn wait_for(&self, other: &Self) -> bool {
        self.wait_at_most(other, LONGEST_WAIT).await
    }

    async fn wait_at_most(&self, other: &Self, longest: Duration) -> bool {
        if !other.has_ended() {
            // An image with many blobs to mount would wait for each of them.
            if other.is_slow.load(Ordering::Relaxed) {
                return false;
            }
            let Some(_edge) = WaitEdge::add(self, other) else { return false };
            let ended = tokio::time::timeout(longest, other.ended.cancelled()).await;
            if ended.is_err() {
                other.is_slow.store(true, Ordering::Relaxed);
                return false;
            }
        }
        other.completed.load(Ordering::Acquire)
    }

    fn edges(&self) -> std::sync::MutexGuard<'_, WaitEdges> {
        self.edges.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct WaitEdge<'a> {
    from: &'a ImageUpload,
    to: &'a ImageUpload,
}

impl<'a> WaitEdge<'a> {
    fn add(from: &'a ImageUpload, to: &'a ImageUpload) -> Option<Self> {
        if std::ptr::eq(from, to) {
            return None;
        }
        // Each end has its own lock: the edge is added at one end, and removed again if the other end refuses it.
        {
            let mut edges = from.edges();
            if edges.incoming > 0 {
                return None;
            }
            edges.outgoing += 1;
        }
        {
            let mut edges = to.edges();
            if edges.outgoing == 0 {
                edges.incoming += 1;
                return Some(Self { from, to });
            }
        }
        from.edges().outgoing -= 1;
        None
    }
}

impl Drop for WaitEdge<'_> {
    fn drop(&mut self) {
        self.from.edges().outgoing -= 1;
        self.to.edges().incoming -= 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn waits_for_the_end_of_an_upload() {
        for completes in [true, false] {
            let (first, second) = (UploadGuard::default(), UploadGuard::default());
            let first_upload = Arc::clone(first.upload());
            let wait = second.upload().wait_for(&first_upload);
            tokio::pin!(wait);
            assert!(futures::poll!(&mut wait).is_pending());
            if completes {
                first.complete();
            }
            drop(first);
            assert_eq!(wait.await, completes);
            assert_eq!(second.upload().wait_for(&first_upload).await, completes, "it has ended before");
        }
    }

    #[tokio::test]
    async fn does_not_wait_again_after_a_timeout() {
        let [stuck, first, second] = [(); 3].map(|()| UploadGuard::default());
        assert!(!first.upload().wait_at_most(stuck.upload(), Duration::from_millis(10)).await);
        let upload = Arc::clone(stuck.upload());
        {
            let wait = second.upload().wait_for(&upload);
            tokio::pin!(wait);
            assert_eq!(futures::poll!(&mut wait), std::task::Poll::Ready(false));
        }
        stuck.complete();
        drop(stuck);
        assert!(second.upload().wait_for(&upload).await, "it has completed all the same");
    }

    #[tokio::test]
    async fn uploads_never_wait_for_each_other() {
        let [first, second, third] = [(); 3].map(|()| UploadGuard::default());
        let first_upload = Arc::clone(first.upload());
        let wait = second.upload().wait_for(&first_upload);
        tokio::pin!(wait);
        assert!(futures::poll!(&mut wait).is_pending());
        assert!(!first.upload().wait_for(second.upload()).await, "another waits for it");
        assert!(!first.upload().wait_for(third.upload()).await, "another waits for it");
        assert!(!third.upload().wait_for(second.upload()).await, "the other waits");
        assert!(!third.upload().wait_for(third.upload()).await, "no upload waits for itself");
        drop(first);
        wait.await;
        let wait = third.upload().wait_for(second.upload());
        tokio::pin!(wait);
        assert!(futures::poll!(&mut wait).is_pending(), "the edge was removed");
    }
}
