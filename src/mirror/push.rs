//! Brings an image to the target, and looks whether it arrived.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use futures::future::try_join_all;
use tracing::{info, warn};

use crate::{
    model::{Digest, Event, Failure, FailureKind, Retry},
    registry::{Manifest, ManifestRef, StoreError},
};

use super::{
    check::{Found, is_same},
    copy::Copier,
    failure::at_target,
    flight::Departure,
    job::CopyJob,
    selection::may_be_part,
    transfer::{Route, Transfer},
};

/// What goes to the target: all that `parts` names, and then `root`, in which more may be named.
#[derive(Clone, Copy)]
struct Goods<'a> {
    parts: &'a Manifest,
    root: &'a Manifest,
}

impl Goods<'_> {
    fn is_sparse(self) -> bool {
        self.parts.digest() != self.root.digest()
    }
}

impl Copier {
    /// Answers with the digest that the target has then. `part` is the index of what is wished of `whole`, where that
    /// is not all of it.
    pub(super) async fn push(
        &self,
        job: &CopyJob,
        found: &Found,
        whole: &Manifest,
        part: Option<&Manifest>,
        sent: &Arc<AtomicU64>,
    ) -> Result<Digest, Failure> {
        let observer = self.observer.clone();
        let sent = sent.clone();
        let departure = Departure::default();
        let route =
            Route { source: &found.source, store: &found.store, target: &found.target, destination: &job.destination };
        let transfer = Transfer::new(
            route,
            &self.blobs,
            departure.flight(),
            self.settings.blobs_at_once,
            self.settings.backoff,
            Arc::new(move |bytes| {
                sent.fetch_add(bytes, Ordering::Relaxed);
                observer.observe(&Event::BytesCopied(bytes));
            }),
        );
        let all = Goods { parts: whole, root: whole };
        let Some(part) = part else {
            self.deliver(job, found, &transfer, &departure, all).await?;
            return Ok(found.wanted.clone());
        };
        let target = &job.destination.target.name;
        let was_strict = self.subsets.is_strict(target);
        let sparse = Goods { parts: part, root: whole };
        if !was_strict && self.deliver(job, found, &transfer, &departure, sparse).await? {
            return Ok(found.wanted.clone());
        }
        let (source, destination) = (&job.source, &job.destination);
        let goods = if may_be_part(job, found) { Goods { parts: part, root: part } } else { all };
        self.deliver(job, found, &transfer, &departure, goods).await?;
        // Not before something else was taken: whatever stood in the way, it was not that.
        if !was_strict && self.subsets.set_strict(target) {
            warn!(
                target = target,
                "the target takes no index before all of its images are there: from some platforms it gets an index of \
                 its own, with another digest"
            );
        }
        if goods.root.digest() == whole.digest() {
            info!(%source, target = %destination, "what is asked for by its digest was copied whole");
            return Ok(found.wanted.clone());
        }
        info!(%source, target = %destination, digest = %part.digest(), from = %found.wanted, "made an index of the wanted platforms");
        Ok(part.digest().clone())
    }

    /// Brings the parts, then the root to all of its places. False where the target refuses a root of which not all
    /// parts are there.
    async fn deliver(
        &self,
        job: &CopyJob,
        found: &Found,
        transfer: &Transfer<'_>,
        departure: &Departure,
        goods: Goods<'_>,
    ) -> Result<bool, Failure> {
        let digest = goods.root.digest();
        let kept = (job.tag().is_none() || job.source.digest().is_some()).then_some(ManifestRef::KeptDigest(digest));
        // What others pull by moves last.
        let places = || kept.into_iter().chain(job.tag().map(ManifestRef::Tag));
        let mut looked_again = false;
        loop {
            transfer.parts(goods.parts).await?;
            let put = async {
                for place in places() {
                    found.target.put(place, goods.root).await?;
                }
                Ok::<(), StoreError>(())
            };
            match put.await {
                Ok(()) => {
                    departure.land();
                    match try_join_all(places().map(|place| verify(job, found, place, digest))).await {
                        // Taken, and lost.
                        Err(failure) if failure.kind == FailureKind::Verification && !looked_again => {
                            looked_again = true;
                        }
                        verified => return verified.map(|_| true),
                    }
                }
                Err(error) if error.is_immutable_tag() => {
                    return Err(Failure {
                        kind: FailureKind::DifferentDigest,
                        message: format!(
                            "{} has another digest than the source, {digest}, and the target lets no tag be moved: {error}",
                            job.destination
                        ),
                        retry: Retry::Later,
                    });
                }
                Err(error) if error.is_rejection() && goods.is_sparse() => return Ok(false),
                // A part that was there may be gone when the manifest arrives: all of it is looked at once more.
                Err(error) if error.is_rejection() && !looked_again => looked_again = true,
                Err(error) => return Err(at_target(&error)),
            }
        }
    }
}

/// Whether what was pushed is there.
async fn verify(job: &CopyJob, found: &Found, place: ManifestRef<'_>, pushed: &Digest) -> Result<(), Failure> {
    let arrived = found.target.find(place).await.map_err(|error| at_target(&error))?;
    let message = match arrived {
        Some(arrived) if is_same(&found.target, &arrived, pushed).await? => return Ok(()),
        Some(arrived) => format!("after the push {} has digest {arrived} instead of {pushed}", job.destination),
        None => format!("after the push {} is not there", job.destination),
    };
    Err(Failure { kind: FailureKind::Verification, message, retry: Retry::Soon })
}
