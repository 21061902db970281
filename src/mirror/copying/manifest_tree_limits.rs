//! Limits for the manifests of one image, far above those of real images: an image beyond them was made to exhaust memory
//! or time.

use std::sync::atomic::{AtomicUsize, Ordering};

use crate::model::{Failure, FailureKind, Retry};

/// Nesting of indexes; real images have one level.
const MAX_DEPTH: usize = 4;

/// Blobs and children of all manifests together; an index of 50 platforms with 100 layers each has half of it.
const MAX_DESCRIPTORS: usize = 10_000;

/// Bytes of all manifests together: eight of the longest that are read.
const MAX_BYTES: usize = 32 * 1024 * 1024;

/// Counts the manifests of one image.
#[derive(Default)]
pub(in crate::mirror) struct ManifestTreeLimits {
    descriptors: AtomicUsize,
    bytes: AtomicUsize,
}

impl ManifestTreeLimits {
    /// Counts a manifest with this many bytes and descriptors; `depth` is the number of indexes above it.
    pub fn count(&self, bytes: usize, descriptors: usize, depth: usize) -> Result<(), Failure> {
        if depth > MAX_DEPTH {
            return Err(exceeded(&format!("indexes are nested more than {MAX_DEPTH} deep")));
        }
        if add(&self.descriptors, descriptors) > MAX_DESCRIPTORS {
            return Err(exceeded(&format!("its manifests name more than {MAX_DESCRIPTORS} layers and other parts")));
        }
        if add(&self.bytes, bytes) > MAX_BYTES {
            return Err(exceeded(&format!("its manifests have more than {MAX_BYTES} bytes together")));
        }
        Ok(())
    }
}

fn add(sum: &AtomicUsize, count: usize) -> usize {
    sum.fetch_add(count, Ordering::Relaxed).saturating_add(count)
}

fn exceeded(limit: &str) -> Failure {
    let message = format!("the image exceeds a limit and is not copied: {limit}");
    Failure { kind: FailureKind::Source, message, retry: Retry::Later }
}
