//! Brings all that a manifest names to a target, so that the manifest may follow.

use std::{collections::HashSet, sync::Arc};

use futures::{FutureExt, StreamExt, TryStreamExt, future::BoxFuture, stream};
use tokio::{sync::Semaphore, time::Instant};
use tracing::{debug, warn};

use crate::{
    model::{Destination, Digest, Failure},
    registry::{
        Backoff, Contents, Descriptor, MAX_THROTTLED_TIME, Manifest, ManifestRef, Repository, Selector, Store,
        StoreError, StoreRepository, StoreUploadError, TransferPermit,
    },
};

use super::{
    blobs::{Blobs, Home, Turn},
    bounds::Bounds,
    failure::{at_source, at_source_blob, at_target},
    flight::Flight,
};

/// Questions about an image at once: the next blobs are looked for at the target while others are on their way.
const QUESTIONS_AT_ONCE: usize = 4;

/// From where to where.
#[derive(Clone, Copy)]
pub struct Route<'a> {
    /// The image's repository.
    pub source: &'a Repository,
    /// What it is copied into.
    pub store: &'a Store,
    /// Its repository there.
    pub target: &'a StoreRepository,
    /// The same, for people.
    pub destination: &'a Destination,
}

/// One image's way from a source to a target.
pub struct Transfer<'a> {
    route: Route<'a>,
    blobs: &'a Blobs,
    flight: &'a Arc<Flight>,
    blobs_at_once: usize,
    slots: Semaphore,
    questions: Semaphore,
    backoff: Backoff,
    progress: Arc<dyn Fn(u64) + Send + Sync>,
}

impl<'a> Transfer<'a> {
    /// `blobs_at_once` of the image are on their way, at least 1; `progress` is told of every piece of a blob that is sent.
    pub fn new(
        route: Route<'a>,
        blobs: &'a Blobs,
        flight: &'a Arc<Flight>,
        blobs_at_once: usize,
        backoff: Backoff,
        progress: Arc<dyn Fn(u64) + Send + Sync>,
    ) -> Self {
        let [slots, questions] = [blobs_at_once, QUESTIONS_AT_ONCE].map(Semaphore::new);
        Self { route, blobs, flight, blobs_at_once, slots, questions, backoff, progress }
    }

    /// Brings every blob and every child manifest that `manifest` names. When this is done all of them are known to be
    /// at the target.
    pub async fn parts(&self, manifest: &Manifest) -> Result<(), Failure> {
        self.parts_below(manifest, 0, &Bounds::default()).await
    }

    fn parts_below<'b>(
        &'b self,
        manifest: &'b Manifest,
        depth: usize,
        bounds: &'b Bounds,
    ) -> BoxFuture<'b, Result<(), Failure>> {
        async move {
            let contents = manifest.contents().map_err(|error| at_source(&error))?;
            let (Contents::Image { blobs: parts } | Contents::Index { manifests: parts }) = &contents;
            bounds.take_in(manifest.bytes().len(), parts.len(), depth)?;
            match contents {
                Contents::Image { blobs } => self.all_blobs(blobs).await,
                Contents::Index { manifests } => {
                    let (children, blobs): (Vec<_>, Vec<_>) = manifests.into_iter().partition(Descriptor::is_manifest);
                    self.all_blobs(blobs).await?;
                    stream::iter(once_each(children))
                        .map(|child| async move { self.child(&child, depth, bounds).await })
                        .buffer_unordered(self.blobs_at_once)
                        .try_collect()
                        .await
                }
            }
        }
        .boxed()
    }

    async fn child(&self, child: &Descriptor, depth: usize, bounds: &Bounds) -> Result<(), Failure> {
        let place = ManifestRef::Child(&child.digest);
        let found = self.route.target.find(place).await.map(|found| found.is_some());
        if self.or_not(&child.digest, found)? {
            return Ok(());
        }
        let manifest = {
            // However many indexes there are, few manifests are in memory before they are counted.
            let _question = self.questions.acquire().await;
            self.route.source.manifest(Selector::Digest(&child.digest)).await.map_err(|error| at_source(&error))?
        };
        let mut looked_again = false;
        loop {
            self.parts_below(&manifest, depth + 1, bounds).await?;
            match self.route.target.put(place, &manifest).await {
                Ok(()) => return Ok(()),
                // As at the top: a part that was there may be gone.
                Err(error) if error.is_rejection() && !looked_again => looked_again = true,
                Err(error) => return Err(at_target(&error)),
            }
        }
    }

    async fn all_blobs(&self, blobs: Vec<Descriptor>) -> Result<(), Failure> {
        stream::iter(once_each(blobs))
            .map(|blob| async move { self.blob(&blob).await })
            .buffer_unordered(self.blobs_at_once + QUESTIONS_AT_ONCE)
            .try_collect()
            .await
    }

    async fn blob(&self, blob: &Descriptor) -> Result<(), Failure> {
        if blob.foreign {
            warn!(target = %self.route.destination, digest = %blob.digest, "a layer is kept elsewhere by its publisher and is not copied");
            return Ok(());
        }
        // The turn before a slot: who holds a slot waits for nobody.
        let mut turn = self.turn(blob).await;
        let (mut is_missing, mut refused) = (false, None);
        while let Some(known) = turn.home.clone().filter(|home| refused.as_ref() != Some(&home.repository)) {
            // Once one has brought it the others need no turns to find or to mount it.
            drop(turn);
            let is_own = known.repository == self.route.destination.repository;
            if is_own || !is_missing {
                if self.has(blob).await? {
                    return Ok(());
                }
                is_missing = true;
            }
            if !is_own {
                // Asked before: it may end while the registry still says no.
                let is_on_its_way = !known.flight.has_ended();
                if self.mount(blob, &known).await? || is_on_its_way && self.mount_after(blob, &known).await? {
                    return Ok(());
                }
            }
            turn = self.turn(blob).await;
            refused = Some(known.repository);
        }
        if is_missing || !self.has(blob).await? {
            let _slot = self.slots.acquire().await;
            self.upload(blob, turn.sets_out()).await?;
        }
        *turn.home =
            Some(Home { repository: self.route.destination.repository.clone(), flight: Arc::clone(self.flight) });
        Ok(())
    }

    async fn turn(&self, blob: &Descriptor) -> Turn {
        self.blobs.turn(&self.route.destination.target.name, &blob.digest, self.flight).await
    }

    async fn has(&self, blob: &Descriptor) -> Result<bool, Failure> {
        let _question = self.questions.acquire().await;
        self.or_not(&blob.digest, self.route.target.has_blob(blob).await)
    }

    /// Whether the target has something. One that breaks down over the question may have half of it: then it is brought
    /// as if it were not there, and the target must take it.
    fn or_not(&self, digest: &Digest, answer: Result<bool, StoreError>) -> Result<bool, Failure> {
        match answer {
            Err(error) if error.is_server_error() => {
                debug!(target = %self.route.destination, %digest, %error, "the target can't tell whether it has a part");
                Ok(false)
            }
            answer => answer.map_err(|error| at_target(&error)),
        }
    }

    /// Where a mount is refused although the blob is there, it may be granted as soon as the image is there too that it
    /// was brought for.
    async fn mount_after(&self, blob: &Descriptor, home: &Home) -> Result<bool, Failure> {
        let target = &self.route.destination.target.name;
        if !self.blobs.may_mount_later(target) || !self.flight.outwait(&home.flight).await {
            return Ok(false);
        }
        let mounted = self.mount(blob, home).await?;
        if !mounted {
            self.blobs.never_mounts(target);
        }
        Ok(mounted)
    }

    async fn mount(&self, blob: &Descriptor, home: &Home) -> Result<bool, Failure> {
        let _question = self.questions.acquire().await;
        let from = self.route.store.mount_name(&home.repository);
        self.or_not(&blob.digest, self.route.target.mount(blob, &from).await)
    }

    /// A broken upload is sent again whole: its stream is spent.
    async fn upload(
        &self,
        blob: &Descriptor,
        moves: impl Fn(u64) + Clone + Send + Sync + 'static,
    ) -> Result<(), Failure> {
        let mut failures = 0;
        let begun = Instant::now();
        loop {
            let (progress, flight, moves) = (self.progress.clone(), Arc::clone(self.flight), moves.clone());
            let progress = move |bytes| {
                progress(bytes);
                flight.moves(bytes);
                moves(bytes);
            };
            let room = TransferPermit::acquire(self.route.source, self.route.target).await;
            let body = self.route.source.blob(blob);
            let (failure, throttled) = match self.route.target.upload(blob, body, progress).await {
                Ok(()) => return Ok(()),
                // It was read on wherever it broke, as often as that helps; but what was read may be wrong.
                Err(StoreUploadError::Source(error)) if !error.is_wrong_content() => {
                    return Err(at_source_blob(&error));
                }
                Err(StoreUploadError::Source(error)) => (at_source_blob(&error), false),
                Err(StoreUploadError::Target(error)) => (at_target(&error), error.is_throttling()),
            };
            drop(room);
            // Who is told to come more slowly has not failed yet.
            if !(throttled && begun.elapsed() < MAX_THROTTLED_TIME) {
                failures += 1;
            }
            let Some(pause) = self.backoff.pause(failures, failure.retry) else { return Err(failure) };
            tokio::time::sleep(pause).await;
        }
    }
}

fn once_each(descriptors: Vec<Descriptor>) -> Vec<Descriptor> {
    let mut seen = HashSet::new();
    descriptors.into_iter().filter(|descriptor| seen.insert(descriptor.digest.clone())).collect()
}
