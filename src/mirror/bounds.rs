//! How much the manifests of one image may ask for. No real image comes near it: what goes beyond was made to keep us
//! busy, or to fill our memory.

use std::sync::atomic::{AtomicUsize, Ordering};

use crate::model::{Failure, FailureKind, Retry};

/// Indexes within indexes; real images have one level.
const DEEPEST: usize = 4;

/// Blobs and children that all manifests of an image name together. An index of 50 platforms with 100 layers each has
/// half of it.
const MOST_PARTS: usize = 10_000;

/// Bytes of all manifests of an image together: eight of the longest that are read.
const MOST_BYTES: usize = 32 * 1024 * 1024;

/// What the manifests of one image have asked for so far.
#[derive(Default)]
pub struct Bounds {
    parts: AtomicUsize,
    bytes: AtomicUsize,
}

impl Bounds {
    /// Takes in a manifest of so many bytes that names so many parts, so many indexes below the image's own.
    pub fn take_in(&self, bytes: usize, parts: usize, depth: usize) -> Result<(), Failure> {
        if depth > DEEPEST {
            return Err(beyond(&format!("it has indexes within indexes, more than {DEEPEST} deep")));
        }
        if grown(&self.parts, parts) > MOST_PARTS {
            return Err(beyond(&format!("its manifests name more than {MOST_PARTS} layers and other parts")));
        }
        if grown(&self.bytes, bytes) > MOST_BYTES {
            return Err(beyond(&format!("its manifests have more than {MOST_BYTES} bytes together")));
        }
        Ok(())
    }
}

fn grown(sum: &AtomicUsize, by: usize) -> usize {
    sum.fetch_add(by, Ordering::Relaxed).saturating_add(by)
}

fn beyond(what: &str) -> Failure {
    let message = format!("the image is like no real one, and is not copied: {what}");
    Failure { kind: FailureKind::Source, message, retry: Retry::Later }
}
