//! Copies everything that a manifest names to a target, so that the manifest may follow.

use std::{
    collections::HashSet,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use futures::{FutureExt, Stream, StreamExt, future::BoxFuture, pin_mut, stream};
use tokio::{sync::Semaphore, time::Instant};
use tracing::{debug, warn};

use crate::{
    mirror::job::CopyJob,
    model::{CopyProgress, Digest, Failure, FailureKind, Retry, error_chain},
    registry::{Contents, Descriptor, MAX_THROTTLED_TIME, Manifest, ManifestRef, StoreError, StoreUploadError},
};

use super::{
    blob_locks::{BlobLocation, BlobLock, BlobLocks},
    endpoints::{Endpoints, Origin},
    failure::{at_source, at_source_blob, at_target},
    further_sources::with_answers,
    image_upload::ImageUpload,
    manifest_tree_limits::ManifestTreeLimits,
    repair_tally::RepairTally,
    settings::CopySettings,
};

/// Lookups of one image at once: the next blobs are looked up at the target while others are being uploaded.
const CONCURRENT_LOOKUPS: usize = 4;

/// The transfer of one image.
pub(super) struct Transfer<'a> {
    endpoints: &'a Endpoints<'a>,
    job: &'a CopyJob,
    blobs: &'a BlobLocks,
    upload: &'a Arc<ImageUpload>,
    settings: &'a CopySettings,
    upload_permits: Semaphore,
    lookup_permits: Semaphore,
    progress: &'a Arc<CopyProgress>,
    on_sent: Arc<dyn Fn(u64) + Send + Sync>,
    /// None unless parts of the image are damaged.
    repair: Option<RepairTally>,
}

impl<'a> Transfer<'a> {
    /// `on_sent` is called with the length of each piece of a blob that is sent.
    pub fn new(
        endpoints: &'a Endpoints<'a>,
        job: &'a CopyJob,
        blobs: &'a BlobLocks,
        upload: &'a Arc<ImageUpload>,
        settings: &'a CopySettings,
        progress: &'a Arc<CopyProgress>,
        on_sent: Arc<dyn Fn(u64) + Send + Sync>,
    ) -> Self {
        let upload_permits = Semaphore::new(settings.max_concurrent_blobs);
        let lookup_permits = Semaphore::new(CONCURRENT_LOOKUPS);
        let repair = job.is_damaged.then(RepairTally::default);
        Self { endpoints, job, blobs, upload, settings, upload_permits, lookup_permits, progress, on_sent, repair }
    }

    /// Copies every blob and every child manifest that `manifest` names. Afterwards all of them are known to be at the
    /// target. A repair tries all of them; its failure tells how many were mended.
    pub async fn copy_contents(&self, manifest: &Manifest) -> Result<(), Failure> {
        let copied = self.copy_below(manifest, 0, &ManifestTreeLimits::default()).await;
        copied.map_err(|failure| match &self.repair {
            Some(repair) => repair.failure(failure),
            None => failure,
        })
    }

    fn copy_below<'b>(
        &'b self,
        manifest: &'b Manifest,
        depth: usize,
        limits: &'b ManifestTreeLimits,
    ) -> BoxFuture<'b, Result<(), Failure>> {
        async move {
            let contents = manifest.contents().map_err(|error| at_source(&error))?;
            let (Contents::Image { blobs: descriptors } | Contents::Index { manifests: descriptors }) = &contents;
            limits.count(manifest.bytes().len(), descriptors.len(), depth)?;
            match contents {
                Contents::Image { blobs } => {
                    let blobs = without_duplicates(blobs);
                    self.count(&blobs, 0, depth);
                    self.copy_blobs(blobs).await
                }
                Contents::Index { manifests } => {
                    let (children, blobs): (Vec<_>, Vec<_>) = manifests.into_iter().partition(Descriptor::is_manifest);
                    let (children, blobs) = (without_duplicates(children), without_duplicates(blobs));
                    self.count(&blobs, children.len(), depth);
                    let blobs = self.copy_blobs(blobs).await;
                    if blobs.is_err() && self.repair.is_none() {
                        return blobs;
                    }
                    let children = stream::iter(children)
                        .map(|child| async move { self.copy_child(&child, depth, limits).await })
                        .buffer_unordered(self.settings.max_concurrent_blobs);
                    blobs.and(self.end(children).await)
                }
            }
        }
        .boxed()
    }

    /// The first failure ends the copy and drops what is in progress; a repair goes on.
    async fn end(&self, parts: impl Stream<Item = Result<(), Failure>>) -> Result<(), Failure> {
        pin_mut!(parts);
        let mut ended = Ok(());
        while let Some(part) = parts.next().await {
            if part.is_err() && self.repair.is_none() {
                return part;
            }
            ended = ended.and(part);
        }
        ended
    }

    async fn copy_child(&self, child: &Descriptor, depth: usize, limits: &ManifestTreeLimits) -> Result<(), Failure> {
        let reference = ManifestRef::Child(&child.digest);
        // In a repair the answer to a lookup proves nothing.
        let may_be_there = self.repair.is_some() || {
            let found = self.endpoints.target.find(reference).await.map(|found| found.is_some());
            self.or_missing(&child.digest, found)?
        };
        if may_be_there {
            let present = {
                let _permit = self.lookup_permits.acquire().await;
                self.endpoints.target.read_manifest(&child.digest).await
            };
            // Its own parts may be missing. Read from the target it costs no pull.
            if let Ok(Some(manifest)) = present {
                return self.copy_below(&manifest, depth + 1, limits).await;
            }
        }
        let manifest = {
            // Bounds the manifests in memory that are not counted yet, whatever the number of indexes.
            let _permit = self.lookup_permits.acquire().await;
            self.tallied(self.endpoints.manifest(&child.digest)).await?
        };
        let mut has_repeated = false;
        loop {
            self.copy_below(&manifest, depth + 1, limits).await?;
            match self.endpoints.target.put(reference, &manifest).await {
                // As for the root: a part may have been deleted since it was found.
                Err(error) if error.is_rejection() && !has_repeated => {
                    has_repeated = true;
                    self.progress.add_unread_manifests(1);
                }
                put => return self.tallied(self.child_is_put(child, put)).await,
            }
        }
    }

    async fn child_is_put(&self, child: &Descriptor, put: Result<(), StoreError>) -> Result<(), Failure> {
        put.map_err(|error| at_target(&error))?;
        if let Some(repair) = &self.repair {
            replaced_manifest(self.endpoints, self.job, &child.digest).await?;
            repair.add_mended();
        }
        Ok(())
    }

    /// Counts a part of a repair that fails, and does not try it if the registries have stopped answering.
    async fn tallied<T>(&self, part: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
        let Some(repair) = &self.repair else { return part.await };
        let part = match repair.hopeless() {
            Some(failure) => Err(failure),
            None => part.await,
        };
        part.inspect_err(|failure| repair.add_failed(failure))
    }

    /// Counts what a manifest names as work to do, before the manifest itself counts as read.
    fn count(&self, blobs: &[Descriptor], children: usize, depth: usize) {
        for blob in blobs.iter().filter(|blob| !blob.foreign) {
            self.progress.add_total(blob.size);
        }
        self.progress.add_unread_manifests(children.try_into().unwrap_or(u64::MAX));
        if depth > 0 {
            self.progress.manifest_read();
        }
    }

    async fn copy_blobs(&self, blobs: Vec<Descriptor>) -> Result<(), Failure> {
        let copies = stream::iter(blobs)
            .map(|blob| async move { self.tallied(self.copy_blob(&blob)).await })
            .buffer_unordered(self.settings.max_concurrent_blobs + CONCURRENT_LOOKUPS);
        self.end(copies).await
    }

    async fn copy_blob(&self, blob: &Descriptor) -> Result<(), Failure> {
        if blob.foreign {
            warn!(
                workload = self.job.workload(),
                source = %self.job.source,
                target = %self.job.destination,
                digest = %blob.digest,
                "not copying a non-distributable layer: its publisher hosts it elsewhere"
            );
            return Ok(());
        }
        if !self.ensure_blob(blob).await? {
            self.progress.remove_from_total(blob.size);
        }
        Ok(())
    }

    /// Returns whether the blob was uploaded; otherwise it was there, or was mounted.
    async fn ensure_blob(&self, blob: &Descriptor) -> Result<bool, Failure> {
        // The lock before a permit: the holder of a permit must not wait.
        let mut lock = self.lock(blob).await;
        let (mut is_missing, mut refused) = (false, None);
        while let Some(known) = lock.location.clone().filter(|known| refused.as_ref() != Some(&known.repository)) {
            // Once the blob is uploaded, other images need no lock to find or mount it.
            drop(lock);
            let is_own = known.repository == self.job.destination.repository;
            if is_own || !is_missing {
                if self.has(blob).await? {
                    return Ok(false);
                }
                is_missing = true;
            }
            if !is_own {
                // Read before the mount: the upload may end while the registry still refuses.
                let is_uploading = !known.upload.has_ended();
                let is_mounted =
                    self.mount(blob, &known).await? || is_uploading && self.mount_after(blob, &known).await?;
                // Of what is damaged here the other repository may have the same wrong bytes.
                if is_mounted && (self.repair.is_none() || self.has(blob).await?) {
                    self.mended();
                    return Ok(false);
                }
            }
            lock = self.lock(blob).await;
            refused = Some(known.repository);
        }
        let must_upload = is_missing || !self.has(blob).await?;
        if must_upload {
            let repository = &self.job.destination.repository;
            if let Some(failure) = lock.kept(repository).filter(|_| self.repair.is_some()) {
                return Err(failure);
            }
            let _permit = self.upload_permits.acquire().await;
            self.upload(blob, lock.start_upload()).await?;
            if self.repair.is_some() && !self.has_size(blob).await.map_err(|error| at_target(&error))? {
                let failure = self.not_replaced(blob);
                lock.set_kept(repository, &failure);
                return Err(failure);
            }
            self.mended();
        }
        let repository = self.job.destination.repository.clone();
        *lock.location = Some(BlobLocation { repository, upload: Arc::clone(self.upload) });
        Ok(must_upload)
    }

    fn mended(&self) {
        if let Some(repair) = &self.repair {
            repair.add_mended();
        }
    }

    async fn lock(&self, blob: &Descriptor) -> BlobLock {
        self.blobs.lock(&self.job.destination.target.name, &blob.digest, self.upload).await
    }

    async fn has(&self, blob: &Descriptor) -> Result<bool, Failure> {
        let _permit = self.lookup_permits.acquire().await;
        if self.repair.is_none() {
            return self.or_missing(&blob.digest, self.endpoints.target.has_blob(blob).await);
        }
        self.or_missing(&blob.digest, self.has_size(blob).await)
    }

    /// Whether the target has the blob with its length, if it tells that.
    async fn has_size(&self, blob: &Descriptor) -> Result<bool, StoreError> {
        let size = self.endpoints.target.blob_size(blob).await?;
        Ok(size.is_some_and(|size| size.is_none_or(|size| size == blob.size)))
    }

    /// Registries look only at the digest, and some keep what they have under it.
    fn not_replaced(&self, blob: &Descriptor) -> Failure {
        Failure {
            kind: FailureKind::Verification,
            message: format!(
                "after the push blob {} at {} is still missing or has another length than {} bytes: the registry accepted \
                 the upload and did not replace its damaged copy; delete the blob in the registry's storage",
                blob.digest, self.job.destination, blob.size
            ),
            retry: Retry::Later,
        }
    }

    /// Treats a failed lookup as missing: the target may have stored half of it, and must accept an upload.
    fn or_missing(&self, digest: &Digest, found: Result<bool, StoreError>) -> Result<bool, Failure> {
        match found {
            Err(error) if error.is_server_error() => {
                debug!(target = %self.job.destination, %digest, error = error_chain(&error), "a lookup at the target failed; uploading");
                Ok(false)
            }
            found => found.map_err(|error| at_target(&error)),
        }
    }

    /// Mounts a blob once the image that it was uploaded for is complete.
    async fn mount_after(&self, blob: &Descriptor, location: &BlobLocation) -> Result<bool, Failure> {
        let target = &self.job.destination.target.name;
        if !self.blobs.may_mount_later(target) || !self.upload.wait_for(&location.upload).await {
            return Ok(false);
        }
        let mounted = self.mount(blob, location).await?;
        if !mounted {
            self.blobs.set_unmountable(target);
        }
        Ok(mounted)
    }

    async fn mount(&self, blob: &Descriptor, location: &BlobLocation) -> Result<bool, Failure> {
        let _permit = self.lookup_permits.acquire().await;
        let from = self.endpoints.store.mount_name(&location.repository);
        self.or_missing(&blob.digest, self.endpoints.target.mount(blob, &from).await)
    }

    /// Uploads a blob from the source, or from a further source if it can't give it.
    async fn upload(
        &self,
        blob: &Descriptor,
        add_sent: impl Fn(u64) + Clone + Send + Sync + 'static,
    ) -> Result<(), Failure> {
        let (source, further) = (&self.endpoints.source, &self.endpoints.further);
        let mut at_source = self.endpoints.source_is_available();
        let mut is_asked = at_source.is_err();
        if !is_asked && !further.precede_source() {
            is_asked = true;
            match self.upload_from(&Origin::Source(source), blob, add_sent.clone()).await {
                Ok(()) => return Ok(()),
                Err(UploadFailure::Target(failure)) => return Err(failure),
                Err(UploadFailure::Source(failure)) => {
                    further.source_failed(&failure);
                    at_source = Err(failure);
                }
            }
        }
        let mut answers = Vec::new();
        for index in further.order() {
            let Some(opened) = further.open(index, &mut answers).await else { continue };
            let origin = Origin::Further(&opened);
            match self.upload_from(&origin, blob, add_sent.clone()).await {
                Ok(()) => {
                    further.set_gave(&opened);
                    return Ok(());
                }
                Err(UploadFailure::Target(failure)) => return Err(failure),
                Err(UploadFailure::Source(failure)) => {
                    answers.push(further.failed(&opened, &failure.message, failure.retry).await);
                }
            }
        }
        if !is_asked {
            match self.upload_from(&Origin::Source(source), blob, add_sent).await {
                Ok(()) => return Ok(()),
                Err(UploadFailure::Target(failure)) => return Err(failure),
                Err(UploadFailure::Source(failure)) => at_source = Err(failure),
            }
        }
        at_source.map_err(|failure| with_answers(failure, &answers))
    }

    /// A failed upload is repeated from the start, because its stream is consumed.
    async fn upload_from(
        &self,
        origin: &Origin<'_>,
        blob: &Descriptor,
        add_sent: impl Fn(u64) + Clone + Send + Sync + 'static,
    ) -> Result<(), UploadFailure> {
        let mut failures = 0;
        let started = Instant::now();
        loop {
            let (on_sent, upload, add_sent) = (self.on_sent.clone(), Arc::clone(self.upload), add_sent.clone());
            let (progress, sent) = (Arc::clone(self.progress), Arc::new(AtomicU64::new(0)));
            let sent_now = Arc::clone(&sent);
            let on_sent = move |bytes| {
                on_sent(bytes);
                progress.add_done(bytes);
                sent_now.fetch_add(bytes, Ordering::Relaxed);
                upload.add_sent(bytes);
                add_sent(bytes);
            };
            let permit = origin.permit(&self.endpoints.target).await;
            let body = origin.blob(blob);
            let uploaded = self.endpoints.target.upload(blob, body, on_sent).await;
            drop(permit);
            let Err(error) = uploaded else { return Ok(()) };
            self.progress.remove_done(sent.load(Ordering::Relaxed));
            let (failure, throttled) = match error {
                // The download has resumed as often as that helps; only wrong content may be right the next time.
                StoreUploadError::Source(error) if !error.is_wrong_content() => {
                    return Err(UploadFailure::Source(at_source_blob(&error)));
                }
                StoreUploadError::Source(error) => (UploadFailure::Source(at_source_blob(&error)), false),
                StoreUploadError::Target(error) => (UploadFailure::Target(at_target(&error)), error.is_throttling()),
            };
            // A rate limit does not count as a failure at first.
            if !(throttled && started.elapsed() < MAX_THROTTLED_TIME) {
                failures += 1;
            }
            let Some(pause) = self.settings.backoff.pause(failures, failure.retry()) else { return Err(failure) };
            tokio::time::sleep(pause).await;
        }
    }
}

/// A failed upload, by the side that failed.
enum UploadFailure {
    Source(Failure),
    Target(Failure),
}

impl UploadFailure {
    fn retry(&self) -> Retry {
        let (Self::Source(failure) | Self::Target(failure)) = self;
        failure.retry
    }
}

/// Fails if the target still has other bytes under the digest of a manifest that was pushed because it was damaged: registries
/// look only at the digest, and some keep what they have.
pub(super) async fn replaced_manifest(
    endpoints: &Endpoints<'_>,
    job: &CopyJob,
    digest: &Digest,
) -> Result<(), Failure> {
    match endpoints.target.read_manifest(digest).await {
        Ok(Some(_)) => return Ok(()),
        Ok(None) => {}
        Err(error) if error.is_wrong_content() => {}
        Err(error) => return Err(at_target(&error)),
    }
    Err(Failure {
        kind: FailureKind::Verification,
        message: format!(
            "after the push manifest {digest} at {} is still missing or has other bytes: the registry accepted the push and \
             did not replace its damaged copy; delete the manifest's blob in the registry's storage",
            job.destination
        ),
        retry: Retry::Later,
    })
}

fn without_duplicates(descriptors: Vec<Descriptor>) -> Vec<Descriptor> {
    let mut seen = HashSet::new();
    descriptors.into_iter().filter(|descriptor| seen.insert(descriptor.digest.clone())).collect()
}
