//! Copies everything that a manifest of the layout names, so that the manifest may follow.

use std::{
    collections::HashSet,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use futures::{FutureExt as _, StreamExt as _, TryStreamExt as _, future::BoxFuture, stream};
use tokio::time::Instant;
use tracing::warn;

use super::blob_turns::BlobTurns;
use crate::{
    mirror::copying::{ManifestTreeLimits, at_target},
    model::{CopyProgress, Destination, Digest, Failure, FailureKind, Retry, error_chain},
    registry::{
        Backoff, Contents, Descriptor, LayoutError, LayoutSource, MAX_THROTTLED_TIME, Manifest, ManifestRef, Store,
        StoreError, StoreRepository, StoreUploadError, TransferPermit,
    },
};

/// Copies what the manifests of one name consist of.
pub(super) struct ContentCopy<'a> {
    pub layout: &'a LayoutSource,
    pub store: &'a Store,
    pub repository: &'a StoreRepository,
    pub destination: &'a Destination,
    pub blobs: &'a BlobTurns,
    pub backoff: Backoff,
    /// At least 1.
    pub max_concurrent_blobs: usize,
    /// Read the layout, and write nothing to the target.
    pub dry_run: bool,
    pub progress: &'a Arc<CopyProgress>,
    /// Called with the length of each piece of a blob that is sent.
    pub on_sent: Arc<dyn Fn(u64) + Send + Sync>,
}

/// A manifest that the target may have.
#[derive(Clone, Copy)]
pub(super) struct PresentManifest<'a> {
    /// In the layout.
    pub named: &'a Digest,
    /// As the target calls it: perhaps by another algorithm.
    pub at_target: &'a Digest,
    /// May be empty.
    pub media_type: &'a str,
    /// Whether the target has it by this digest; none if it was not asked.
    pub is_found: Option<bool>,
}

/// One look at an image.
#[derive(Default)]
struct Look {
    limits: ManifestTreeLimits,
    /// The target lacked a part.
    found_missing: AtomicBool,
}

impl ContentCopy<'_> {
    /// A manifest of the layout.
    pub async fn manifest(&self, digest: &Digest, media_type: &str) -> Result<Manifest, Failure> {
        self.layout.read_manifest(digest, media_type).await.map_err(|error| at_layout(&error))
    }

    /// Copies a manifest, and everything that it names before it.
    pub async fn push(&self, reference: ManifestRef<'_>, manifest: &Manifest) -> Result<(), Failure> {
        self.push_below(reference, manifest, 0, &Look::default()).await
    }

    /// Copies everything that a manifest names.
    pub async fn copy_contents(&self, manifest: &Manifest) -> Result<(), Failure> {
        self.copy_below(manifest, 0, &Look::default()).await
    }

    /// Copies what the target has lost of an image that it has, under a tag at least: registries keep a manifest when they
    /// lose what it names. Returns whether anything was missing.
    pub async fn mend(&self, root: PresentManifest<'_>) -> Result<bool, Failure> {
        let look = Look::default();
        self.copy_manifest(root, 0, &look).await?;
        Ok(look.found_missing.load(Ordering::Relaxed))
    }

    async fn push_below(
        &self,
        reference: ManifestRef<'_>,
        manifest: &Manifest,
        depth: usize,
        look: &Look,
    ) -> Result<(), Failure> {
        let mut has_repeated = false;
        loop {
            self.copy_below(manifest, depth, look).await?;
            if self.dry_run {
                return Ok(());
            }
            match self.repository.put(reference, manifest).await {
                // A part may have been deleted since it was found.
                Err(error) if error.is_rejection() && !has_repeated => has_repeated = true,
                put => return put.map_err(|error| at_target(&error)),
            }
        }
    }

    fn copy_below<'b>(
        &'b self,
        manifest: &'b Manifest,
        depth: usize,
        look: &'b Look,
    ) -> BoxFuture<'b, Result<(), Failure>> {
        async move {
            let contents = manifest.contents().map_err(|error| malformed(&error_chain(&error)))?;
            // An image's config or layer is a blob, whatever its media type says.
            let is_index = matches!(contents, Contents::Index { .. });
            let (Contents::Image { blobs: parts } | Contents::Index { manifests: parts }) = contents;
            look.limits.count(manifest.bytes().len(), parts.len(), depth)?;
            let mut seen = HashSet::new();
            let parts = parts.into_iter().filter(|part| seen.insert(part.digest.clone()));
            let (children, blobs): (Vec<_>, Vec<_>) = parts.partition(|part| is_index && part.is_manifest());
            for blob in blobs.iter().filter(|blob| !blob.foreign) {
                self.progress.add_total(blob.size);
            }
            self.progress.add_unread_manifests(children.len().try_into().unwrap_or(u64::MAX));
            if depth > 0 {
                self.progress.manifest_read();
            }
            stream::iter(blobs)
                .map(|blob| async move { self.copy_blob(&blob, look).await })
                .buffer_unordered(self.max_concurrent_blobs)
                .try_collect::<()>()
                .await?;
            stream::iter(children)
                .map(|child| async move {
                    let Descriptor { digest, media_type, .. } = &child;
                    let child = PresentManifest { named: digest, at_target: digest, media_type, is_found: None };
                    self.copy_manifest(child, depth + 1, look).await
                })
                .buffer_unordered(self.max_concurrent_blobs)
                .try_collect()
                .await
        }
        .boxed()
    }

    /// Looks below a manifest that the target has too, and puts it if the target lacks it.
    async fn copy_manifest(&self, manifest: PresentManifest<'_>, depth: usize, look: &Look) -> Result<(), Failure> {
        let PresentManifest { named, at_target, media_type, is_found } = manifest;
        let reference = ManifestRef::Child(at_target);
        let is_at_target = match is_found {
            Some(is_found) => is_found,
            None => is_there(self.repository.find(reference).await)?.is_some(),
        };
        let manifest = match self.manifest(named, media_type).await {
            // The layout has lost what the target has.
            Err(failure) if is_at_target => match self.repository.read_manifest(at_target).await {
                Ok(Some(manifest)) => manifest,
                Ok(None) | Err(_) => return Err(failure),
            },
            read => read?,
        };
        if is_at_target {
            return self.copy_below(&manifest, depth, look).await;
        }
        self.is_missing(look);
        self.push_below(reference, &manifest, depth, look).await
    }

    fn is_missing(&self, look: &Look) {
        look.found_missing.store(true, Ordering::Relaxed);
        self.progress.begin();
    }

    async fn copy_blob(&self, blob: &Descriptor, look: &Look) -> Result<(), Failure> {
        if blob.foreign {
            warn!(
                target = %self.destination,
                digest = %blob.digest,
                "not loading a non-distributable layer: its publisher hosts it elsewhere"
            );
            return Ok(());
        }
        let mut place = self.blobs.take(&blob.digest).await;
        let has = self.repository.has_blob(blob).await.map(|found| found.then_some(()));
        if is_there(has)?.is_some() {
            self.progress.remove_from_total(blob.size);
        } else {
            self.is_missing(look);
            if self.dry_run {
                return self.check(blob).await;
            }
            if self.is_mounted(blob, place.as_deref()).await? {
                self.progress.remove_from_total(blob.size);
            } else {
                self.check(blob).await?;
                self.upload(blob).await?;
            }
        }
        *place = Some(self.destination.repository.clone());
        Ok(())
    }

    async fn check(&self, blob: &Descriptor) -> Result<(), Failure> {
        self.layout.check_blob(blob).await.map_err(|error| at_layout(&error))
    }

    /// Whether the repository has the blob from now on from the repository `place`.
    async fn is_mounted(&self, blob: &Descriptor, place: Option<&str>) -> Result<bool, Failure> {
        let Some(other) = place.filter(|other| *other != self.destination.repository) else { return Ok(false) };
        let from = self.store.mount_name(other);
        let mounted = self.repository.mount(blob, &from).await.map(|mounted| mounted.then_some(()));
        Ok(is_there(mounted)?.is_some())
    }

    /// A failed upload is repeated from the start. A damaged file stays damaged.
    async fn upload(&self, blob: &Descriptor) -> Result<(), Failure> {
        let mut failures = 0;
        let started = Instant::now();
        loop {
            let (on_sent, progress) = (Arc::clone(&self.on_sent), Arc::clone(self.progress));
            let sent = Arc::new(AtomicU64::new(0));
            let sent_now = Arc::clone(&sent);
            let on_sent = move |bytes| {
                on_sent(bytes);
                progress.add_done(bytes);
                sent_now.fetch_add(bytes, Ordering::Relaxed);
            };
            let permit = TransferPermit::to(self.repository).await;
            let error = match self.repository.upload(blob, self.layout.blob(blob), on_sent).await {
                Ok(()) => return Ok(()),
                Err(StoreUploadError::Source(error)) => {
                    let (kind, retry) = (FailureKind::SourceBlob, error.retry());
                    return Err(Failure { kind, message: error_chain(&error), retry });
                }
                Err(StoreUploadError::Target(error)) => error,
            };
            drop(permit);
            self.progress.remove_done(sent.load(Ordering::Relaxed));
            // A rate limit does not count as a failure at first.
            if !(error.is_throttling() && started.elapsed() < MAX_THROTTLED_TIME) {
                failures += 1;
            }
            let failure = at_target(&error);
            let Some(pause) = self.backoff.pause(failures, failure.retry) else { return Err(failure) };
            tokio::time::sleep(pause).await;
        }
    }
}

/// Treats a failed lookup as missing: the target may have stored half of it, and must accept an upload.
fn is_there<T>(found: Result<Option<T>, StoreError>) -> Result<Option<T>, Failure> {
    match found {
        Err(error) if error.is_server_error() => Ok(None),
        found => found.map_err(|error| at_target(&error)),
    }
}

/// The layout lacks something, or something in it is damaged.
pub(super) fn at_layout(error: &LayoutError) -> Failure {
    Failure { kind: FailureKind::Source, message: error_chain(error), retry: error.retry() }
}

fn malformed(message: &str) -> Failure {
    Failure { kind: FailureKind::Source, message: message.to_owned(), retry: Retry::Later }
}
