//! Brings all that a manifest names to a target, so that the manifest may follow.

use std::{collections::HashSet, sync::Arc, time::Duration};

use futures::{FutureExt, StreamExt, TryStreamExt, future::BoxFuture, stream};
use tokio::{sync::Semaphore, time::Instant};
use tracing::warn;

use crate::{
    model::{Destination, Failure, FailureKind, Retry},
    registry::{Contents, Descriptor, Manifest, Place, Repository, Selector, Store, StoreRepository, StoreUploadError},
};

use super::{
    blobs::Blobs,
    failure::{at_source, at_source_blob, at_target},
};

/// Blobs of one image on their way at once: from four on, more are no faster.
const BLOBS_AT_ONCE: usize = 4;
/// Tries of a blob whose connection breaks.
const TRIES: u32 = 5;
/// How long a blob may be held up by a target that limits requests before that counts as a failed try.
const LONGEST_THROTTLING: Duration = Duration::from_secs(120);
const FIRST_PAUSE: Duration = Duration::from_millis(200);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);
/// Indexes within indexes; real images have one level.
const DEEPEST_INDEX: usize = 4;

/// One image's way from a source to a target.
pub struct Transfer<'a> {
    source: &'a Repository,
    store: &'a Store,
    target: &'a StoreRepository,
    destination: &'a Destination,
    blobs: &'a Blobs,
    slots: Semaphore,
    progress: Arc<dyn Fn(u64) + Send + Sync>,
}

impl<'a> Transfer<'a> {
    /// `progress` is told of every piece of a blob that is sent.
    pub fn new(
        source: &'a Repository,
        store: &'a Store,
        target: &'a StoreRepository,
        destination: &'a Destination,
        blobs: &'a Blobs,
        progress: Arc<dyn Fn(u64) + Send + Sync>,
    ) -> Self {
        Self { source, store, target, destination, blobs, slots: Semaphore::new(BLOBS_AT_ONCE), progress }
    }

    /// Brings every blob and every child manifest that `manifest` names. When this is done all of them are known to be
    /// at the target.
    pub async fn parts(&self, manifest: &Manifest) -> Result<(), Failure> {
        self.parts_below(manifest, 0).await
    }

    fn parts_below<'b>(&'b self, manifest: &'b Manifest, depth: usize) -> BoxFuture<'b, Result<(), Failure>> {
        async move {
            if depth > DEEPEST_INDEX {
                return Err(Failure {
                    kind: FailureKind::Source,
                    message: format!("the image has indexes within indexes, more than {DEEPEST_INDEX} deep"),
                    retry: Retry::Later,
                });
            }
            let contents = manifest.contents().map_err(|error| at_source(&error))?;
            match contents {
                Contents::Image { blobs } => self.all_blobs(blobs).await,
                Contents::Index { manifests } => {
                    let (children, blobs): (Vec<_>, Vec<_>) = manifests.into_iter().partition(Descriptor::is_manifest);
                    self.all_blobs(blobs).await?;
                    stream::iter(once_each(children))
                        .map(|child| async move { self.child(&child, depth).await })
                        .buffer_unordered(BLOBS_AT_ONCE)
                        .try_collect()
                        .await
                }
            }
        }
        .boxed()
    }

    async fn child(&self, child: &Descriptor, depth: usize) -> Result<(), Failure> {
        let place = Place::Child(&child.digest);
        if self.target.find(place).await.map_err(|error| at_target(&error))?.is_some() {
            return Ok(());
        }
        let manifest =
            self.source.manifest(Selector::Digest(&child.digest)).await.map_err(|error| at_source(&error))?;
        self.parts_below(&manifest, depth + 1).await?;
        self.target.put(place, &manifest).await.map_err(|error| at_target(&error))
    }

    async fn all_blobs(&self, blobs: Vec<Descriptor>) -> Result<(), Failure> {
        stream::iter(once_each(blobs))
            .map(|blob| async move { self.blob(&blob).await })
            .buffer_unordered(BLOBS_AT_ONCE)
            .try_collect()
            .await
    }

    async fn blob(&self, blob: &Descriptor) -> Result<(), Failure> {
        if blob.foreign {
            warn!(target = %self.destination, digest = %blob.digest, "a layer is kept elsewhere by its publisher and is not copied");
            return Ok(());
        }
        // The turn before the slot: who holds a slot never waits for a turn, so neither can wait for the other.
        let mut home = self.blobs.turn(&self.destination.target.name, &blob.digest).await;
        let _slot = self.slots.acquire().await;
        if !self.target.has_blob(blob).await.map_err(|error| at_target(&error))?
            && !self.mounted(blob, home.as_deref()).await?
        {
            self.upload(blob).await?;
        }
        *home = Some(self.destination.repository.clone());
        Ok(())
    }

    async fn mounted(&self, blob: &Descriptor, home: Option<&str>) -> Result<bool, Failure> {
        match home {
            Some(home) if home != self.destination.repository => {
                let from = self.store.mount_name(home);
                self.target.mount(blob, &from).await.map_err(|error| at_target(&error))
            }
            _ => Ok(false),
        }
    }

    /// A broken upload is sent again whole: its stream is spent.
    async fn upload(&self, blob: &Descriptor) -> Result<(), Failure> {
        let mut pause = FIRST_PAUSE;
        let mut tries = 1;
        let begun = Instant::now();
        loop {
            let progress = self.progress.clone();
            let body = self.source.blob(blob);
            let (failure, throttled) = match self.target.upload(blob, body, move |bytes| progress(bytes)).await {
                Ok(()) => return Ok(()),
                Err(StoreUploadError::Source(error)) => (at_source_blob(&error), false),
                Err(StoreUploadError::Target(error)) => (at_target(&error), error.is_throttling()),
            };
            let wait = match failure.retry {
                Retry::Soon => pause.mul_f64(0.5 + fastrand::f64()),
                Retry::After(asked) if asked <= LONGEST_PAUSE => asked,
                _ => return Err(failure),
            };
            // Who is told to come more slowly has not failed yet.
            if !(throttled && begun.elapsed() < LONGEST_THROTTLING) {
                tries += 1;
            }
            if tries > TRIES {
                return Err(failure);
            }
            tokio::time::sleep(wait).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }
}

fn once_each(descriptors: Vec<Descriptor>) -> Vec<Descriptor> {
    let mut seen = HashSet::new();
    descriptors.into_iter().filter(|descriptor| seen.insert(descriptor.digest.clone())).collect()
}
