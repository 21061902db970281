//! How a layout is loaded.

use crate::registry::Backoff;

/// How a layout is loaded.
#[derive(Clone, Debug)]
pub struct LoadSettings {
    /// Whether a tag at the target may be moved to another digest; `latest` always may.
    pub allow_different_digest_repush: bool,
    /// Whether the tag of an image is put only if all that belongs to it (signatures and other referrers) was loaded.
    pub referrers_required: bool,
    /// Read the layout and the target, and write nothing.
    pub dry_run: bool,
    /// Read the names of the layout alone, and contact no registry.
    pub dry_pull: bool,
    /// Blobs of one image that are uploaded at once; at least 1.
    pub max_concurrent_blobs: usize,
    /// Attempts for a blob whose upload fails, and the pauses between them.
    pub backoff: Backoff,
}
