//! How images are copied.

use crate::{mirror::job::CopyJob, registry::Backoff};

use super::{
    platforms::{PlatformSettings, RequestedPlatforms},
    referrers::ReferrerSettings,
};

/// How images are copied.
#[derive(Debug)]
pub struct CopySettings {
    /// Pull tags by digest: the one that the newest Pod runs, or that the source resolves the tag to.
    pub digest_pull: bool,
    /// Tags exempt from `digest_pull`, in lower case.
    pub digest_pull_ignored_tags: Vec<String>,
    /// The platforms of an index to copy, with `digest_pull`; none for all.
    pub platforms: Option<PlatformSettings>,
    /// What is copied beside images.
    pub referrers: ReferrerSettings,
    /// Whether a tag at the target may be moved to another digest; `latest` always may.
    pub allow_different_digest_repush: bool,
    /// Do everything except writing to the target.
    pub dry_run: bool,
    /// Contact no registry.
    pub dry_pull: bool,
    /// Blobs of one image that are copied at once; at least 1.
    pub max_concurrent_blobs: usize,
    /// Attempts for a blob whose upload fails, and the pauses between them.
    pub backoff: Backoff,
}

impl CopySettings {
    /// Whether `digest_pull` applies to the job.
    pub(super) fn pulls_by_digest(&self, job: &CopyJob) -> bool {
        let tag = job.source.tag().unwrap_or("latest").to_lowercase();
        let is_ignored = job.source.digest().is_none() && self.digest_pull_ignored_tags.contains(&tag);
        self.digest_pull && !is_ignored
    }

    /// The platforms that the target is to have of a job's image. None if images are always copied whole: then only digests
    /// are compared.
    pub(in crate::mirror) fn requested_platforms(&self, job: &CopyJob) -> Option<RequestedPlatforms> {
        let settings = self.platforms.as_ref()?;
        Some(if self.pulls_by_digest(job) { settings.requested(job) } else { RequestedPlatforms::All })
    }
}
