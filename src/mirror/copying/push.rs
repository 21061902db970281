//! Uploads an image to the target, and verifies that it arrived.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use futures::future::try_join_all;
use tracing::{info, warn};

use crate::{
    mirror::job::CopyJob,
    model::{CopyProgress, Digest, Event, Failure, FailureKind, Observer, Retry, error_chain},
    registry::{Manifest, ManifestRef, StoreError},
};

use super::{
    blob_locks::BlobLocks,
    endpoints::Endpoints,
    failure::at_target,
    image_upload::UploadGuard,
    inspection::Findings,
    referrers::{PendingReferrers, Referrers},
    settings::CopySettings,
    subsets::SubsetCache,
    target_lookup::is_same,
    transfer::{Transfer, replaced_manifest},
};

/// Pushes one job's image.
pub(super) struct Push<'a> {
    pub job: &'a CopyJob,
    pub settings: &'a CopySettings,
    pub endpoints: &'a Endpoints<'a>,
    pub findings: &'a Findings,
    pub blobs: &'a BlobLocks,
    pub subsets: &'a SubsetCache,
    pub observer: &'a Arc<dyn Observer>,
    /// Grows with each byte of a blob that is uploaded.
    pub sent: &'a Arc<AtomicU64>,
    pub progress: &'a Arc<CopyProgress>,
    /// None if the target gets no referrers.
    pub referrers: Option<&'a Referrers<'a>>,
}

/// What to push: everything that `contents` names, then `root`, which may name more.
#[derive(Clone, Copy)]
struct PushPlan<'a> {
    contents: &'a Manifest,
    root: &'a Manifest,
}

/// The result of pushing a manifest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Root {
    Accepted,
    /// The target rejects it because children are missing.
    NeedsChildren,
}

/// Why a manifest was not pushed.
enum PutError {
    Store(StoreError),
    /// A required referrer was not copied.
    Referrer(Failure),
}

impl From<StoreError> for PutError {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl PushPlan<'_> {
    fn is_sparse(self) -> bool {
        self.contents.digest() != self.root.digest()
    }
}

impl Push<'_> {
    /// Pushes the image, and returns the digest that the target has then. `part` is an index of the requested platforms of `whole`, if these are
    /// not all; `may_make_index`: the target may get that index.
    pub async fn run(
        &self,
        whole: &Manifest,
        part: Option<&Manifest>,
        may_make_index: bool,
    ) -> Result<Digest, Failure> {
        let upload = UploadGuard::default();
        let transfer = self.transfer(&upload);
        let all = PushPlan { contents: whole, root: whole };
        let Some(part) = part else {
            self.push_manifest(&transfer, &upload, all).await?;
            return Ok(self.findings.wanted.clone());
        };
        let target = &self.job.destination.target.name;
        let needs_children = self.subsets.needs_children(target);
        let sparse = PushPlan { contents: part, root: whole };
        if !needs_children && self.push_manifest(&transfer, &upload, sparse).await? == Root::Accepted {
            return Ok(self.findings.wanted.clone());
        }
        let plan = if may_make_index { PushPlan { contents: part, root: part } } else { all };
        self.push_manifest(&transfer, &upload, plan).await?;
        // Only now is it known that the missing children were the cause.
        if !needs_children && self.subsets.set_needs_children(target) {
            warn!(
                target = target,
                "the target takes no index before all of its images are there; for some platforms it gets an index of its \
                 own, with another digest"
            );
        }
        let (workload, source, destination) = (self.job.workload(), &self.job.source, &self.job.destination);
        if plan.root.digest() == whole.digest() {
            info!(workload, %source, target = %destination, "copied all platforms: the image is referenced by its digest");
            return Ok(self.findings.wanted.clone());
        }
        info!(
            workload,
            %source,
            target = %destination,
            digest = %part.digest(),
            from = %self.findings.wanted,
            "made an index of the requested platforms; signatures of the source's index do not hold for it"
        );
        Ok(part.digest().clone())
    }

    fn transfer<'b>(&'b self, upload: &'b UploadGuard) -> Transfer<'b> {
        let (observer, sent) = (Arc::clone(self.observer), Arc::clone(self.sent));
        let on_sent = Arc::new(move |bytes| {
            sent.fetch_add(bytes, Ordering::Relaxed);
            observer.observe(&Event::BytesCopied(bytes));
        });
        Transfer::new(self.endpoints, self.job, self.blobs, upload.upload(), self.settings, self.progress, on_sent)
    }

    /// Pushes the contents, then the root, then its referrers; the tag is moved last.
    async fn push_manifest(
        &self,
        transfer: &Transfer<'_>,
        upload: &UploadGuard,
        plan: PushPlan<'_>,
    ) -> Result<Root, Failure> {
        let digest = plan.root.digest();
        let needs_keep_alive = self.job.tag().is_none() || self.job.source.digest().is_some();
        let keep_alive = needs_keep_alive.then_some(ManifestRef::KeptDigest(digest));
        // The tag is what others pull by, and is moved last.
        let references = || keep_alive.into_iter().chain(self.job.tag().map(ManifestRef::Tag));
        let mut referrers = PendingReferrers::new(self.referrers);
        let mut has_repeated = false;
        loop {
            let copy = transfer.copy_contents(plan.contents);
            referrers.discover_during(copy, plan.root, plan.contents).await?;
            let put = self.put(plan.root, references(), &mut referrers, upload).await;
            match put {
                Ok(()) => {
                    upload.complete();
                    match try_join_all(references().map(|reference| self.verify(reference, digest))).await {
                        // Accepted, and lost.
                        Err(failure) if failure.kind == FailureKind::Verification && !has_repeated => {
                            has_repeated = true;
                        }
                        verified => {
                            verified?;
                            if self.job.is_damaged {
                                replaced_manifest(self.endpoints, self.job, digest).await?;
                            }
                            return Ok(Root::Accepted);
                        }
                    }
                }
                Err(PutError::Store(error)) if error.is_immutable_tag() => {
                    return Err(self.immutable_tag(digest, &error));
                }
                Err(PutError::Store(error)) if error.is_rejection() && plan.is_sparse() => {
                    return Ok(Root::NeedsChildren);
                }
                // A blob or child may have been deleted since it was found: all are looked up once more.
                Err(PutError::Store(error)) if error.is_rejection() && !has_repeated => has_repeated = true,
                Err(PutError::Store(error)) => return Err(at_target(&error)),
                Err(PutError::Referrer(failure)) => return Err(failure),
            }
        }
    }

    /// Referrers need the manifest that they refer to, and whoever pulls by the tag needs them: they come between.
    async fn put(
        &self,
        root: &Manifest,
        references: impl Iterator<Item = ManifestRef<'_>>,
        referrers: &mut PendingReferrers<'_>,
        upload: &UploadGuard,
    ) -> Result<(), PutError> {
        let target = &self.endpoints.target;
        if referrers.wait_for_subject() {
            target.put(ManifestRef::Child(root.digest()), root).await?;
            upload.complete();
        }
        referrers.copy_before_tag().await.map_err(PutError::Referrer)?;
        for reference in references {
            target.put(reference, root).await?;
        }
        Ok(())
    }

    fn immutable_tag(&self, digest: &Digest, error: &StoreError) -> Failure {
        Failure {
            kind: FailureKind::DifferentDigest,
            message: format!(
                "{} has another digest than the source, {digest}, and tags at the target are immutable: {}",
                self.job.destination,
                error_chain(error)
            ),
            retry: Retry::Later,
        }
    }

    async fn verify(&self, reference: ManifestRef<'_>, pushed: &Digest) -> Result<(), Failure> {
        let target = &self.endpoints.target;
        let destination = &self.job.destination;
        let message = match target.find(reference).await.map_err(|error| at_target(&error))? {
            Some(present) if is_same(target, &present, pushed).await? => return Ok(()),
            Some(present) => format!("after the push {destination} has digest {present} instead of {pushed}"),
            None => format!("after the push {destination} is missing"),
        };
        Err(Failure { kind: FailureKind::Verification, message, retry: Retry::Soon })
    }
}
