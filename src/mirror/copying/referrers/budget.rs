//! Bounds for what belongs to one image, far above those of real images.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::registry::{Contents, Manifest};

/// Referrers of an image, of its platforms, and of its referrers together.
pub(in crate::mirror) const MAX_REFERRERS_OF_IMAGE: usize = 1000;

/// Referrers of referrers of an image: a signature of an SBOM of the image is the second level.
pub(in crate::mirror) const MAX_LEVELS: usize = 3;

/// Bytes of all referrers together: SBOMs of large images have tens of megabytes.
const MAX_BYTES: u64 = 2 << 30;

/// Counts the bytes of the referrers of one image.
#[derive(Default)]
pub(super) struct ByteBudget(AtomicU64);

impl ByteBudget {
    /// Counts what a manifest names. Returns why it is too much.
    pub fn count(&self, manifest: &Manifest) -> Result<(), String> {
        let contents = manifest.contents().map_err(|error| error.to_string())?;
        let Contents::Image { blobs } = contents else {
            return Err("it is an index, and not copied: what it lists is no part of the image".to_owned());
        };
        let bytes = blobs.iter().fold(0_u64, |sum, part| sum.saturating_add(part.size));
        let before = self.0.load(Ordering::Relaxed);
        if before.saturating_add(bytes) > MAX_BYTES {
            let gib = MAX_BYTES >> 30;
            return Err(format!(
                "the referrers of the image have more than {gib} GiB together; this one is not copied"
            ));
        }
        self.0.fetch_add(bytes, Ordering::Relaxed);
        Ok(())
    }
}
