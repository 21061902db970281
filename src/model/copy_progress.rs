//! How far a copy is.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// How far the copy of one image to one destination is. The copy writes it, and others read it at any time.
#[derive(Debug, Default)]
pub struct CopyProgress {
    has_begun: AtomicBool,
    done: AtomicU64,
    total: AtomicU64,
    unread_manifests: AtomicU64,
}

impl CopyProgress {
    /// Bytes of blobs that have been sent to the target; those of a failed upload count no more.
    pub fn done(&self) -> u64 {
        self.done.load(Ordering::Relaxed)
    }

    /// Bytes of all blobs that the copy sends, sent ones included. None before the transfer begins, and for a copy that
    /// transfers nothing. Shrinks when a blob turns out to be at the target, and grows with each child manifest that is
    /// read: see [`CopyProgress::is_total_final`].
    pub fn total(&self) -> Option<u64> {
        self.has_begun.load(Ordering::Acquire).then(|| self.total.load(Ordering::Relaxed))
    }

    /// Whether all manifests of the image have been read, so that the total can't grow any more.
    pub fn is_total_final(&self) -> bool {
        self.has_begun.load(Ordering::Acquire) && self.unread_manifests.load(Ordering::Relaxed) == 0
    }

    /// Something is missing at the target, and the transfer begins.
    pub fn begin(&self) {
        self.has_begun.store(true, Ordering::Release);
    }

    /// An index was read that names this many manifests.
    pub fn add_unread_manifests(&self, count: u64) {
        self.unread_manifests.fetch_add(count, Ordering::Relaxed);
    }

    /// One of the manifests of an index was read, or need not be read.
    pub fn manifest_read(&self) {
        subtract(&self.unread_manifests, 1);
    }

    /// A manifest names blobs of this length.
    pub fn add_total(&self, bytes: u64) {
        add(&self.total, bytes);
    }

    /// A blob of this length need not be sent.
    pub fn remove_from_total(&self, bytes: u64) {
        subtract(&self.total, bytes);
    }

    /// This many further bytes were sent.
    pub fn add_done(&self, bytes: u64) {
        add(&self.done, bytes);
    }

    /// This many bytes were sent in vain.
    pub fn remove_done(&self, bytes: u64) {
        subtract(&self.done, bytes);
    }
}

/// Lengths come from manifests, whose authors may write any number.
fn add(value: &AtomicU64, bytes: u64) {
    let _ = value.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |now| Some(now.saturating_add(bytes)));
}

fn subtract(value: &AtomicU64, bytes: u64) {
    let _ = value.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |now| Some(now.saturating_sub(bytes)));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_total_is_known_once_the_transfer_begins_and_final_once_all_manifests_are_read() {
        let progress = CopyProgress::default();
        assert_eq!((progress.total(), progress.is_total_final()), (None, false));
        progress.begin();
        progress.add_unread_manifests(2);
        progress.manifest_read();
        progress.add_total(300);
        assert_eq!((progress.total(), progress.is_total_final()), (Some(300), false));
        progress.manifest_read();
        progress.add_total(700);
        progress.remove_from_total(200);
        assert_eq!((progress.total(), progress.is_total_final()), (Some(800), true));
    }

    #[test]
    fn bytes_of_a_failed_upload_do_not_count() {
        let progress = CopyProgress::default();
        progress.add_done(70);
        progress.remove_done(30);
        assert_eq!(progress.done(), 40);
    }

    #[test]
    fn lengths_that_no_blob_has_overflow_nothing() {
        let progress = CopyProgress::default();
        progress.begin();
        progress.add_total(u64::MAX);
        progress.add_total(u64::MAX);
        assert_eq!(progress.total(), Some(u64::MAX));
        progress.remove_done(1);
        progress.manifest_read();
        assert_eq!((progress.done(), progress.is_total_final()), (0, true));
    }
}
