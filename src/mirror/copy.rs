//! Carries out one job: asks what is there, brings what is missing, and looks whether it arrived.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use futures::future::try_join_all;
use tokio::time::Instant;

use crate::{
    model::{Destination, Digest, Event, Failure, FailureKind, Observer, Outcome, Retry, Status},
    registry::{Backoff, Manifest, Place, Registries, Repository, Selector, Store, StoreError, StoreRepository},
};

use super::{
    blobs::Blobs,
    failure::{at_source, at_target},
    flight::Departure,
    job::{CopyJob, Role},
    transfer::{Route, Transfer},
};

/// How images are copied.
#[derive(Clone, Debug)]
pub struct CopySettings {
    /// A tag is pulled by the digest that its newest Pod runs, or that the source resolves it to.
    pub digest_pull: bool,
    /// Tags that this does not hold for, in lower case.
    pub digest_pull_ignored_tags: Vec<String>,
    /// Whether a tag at the target may be moved to another digest; `latest` always may.
    pub allow_different_digest_repush: bool,
    /// Everything but the write.
    pub dry_run: bool,
    /// Ask nobody.
    pub dry_pull: bool,
    /// Blobs of one image on their way at once; at least 1.
    pub blobs_at_once: usize,
    /// How often a blob that breaks on its way is sent, and after which pauses.
    pub backoff: Backoff,
}

/// Copies images from any source to the configured targets.
pub struct Copier {
    sources: Registries,
    stores: HashMap<String, Store>,
    settings: CopySettings,
    observer: Arc<dyn Observer>,
    blobs: Blobs,
}

/// What an attempt knows before it moves anything.
struct Found {
    source: Repository,
    store: Store,
    target: StoreRepository,
    wanted: Digest,
    /// What is wanted is what the source says that the tag means.
    is_resolved: bool,
}

/// Where an attempt stands before anything is moved.
enum Check {
    Settled(Status),
    Missing(Found),
}

impl Copier {
    /// `stores` by the name of their target.
    pub fn new(
        sources: Registries,
        stores: HashMap<String, Store>,
        settings: CopySettings,
        observer: Arc<dyn Observer>,
    ) -> Self {
        Self { sources, stores, settings, observer, blobs: Blobs::default() }
    }

    /// Carries out a job to its end, and tells how it ended.
    pub async fn copy(&self, job: &CopyJob) -> Outcome {
        let started = Instant::now();
        let sent = Arc::new(AtomicU64::new(0));
        let status = match self.attempt(job, &sent).await {
            Ok(status) => status,
            Err(failure) => {
                match failure.kind {
                    FailureKind::Source => self.observer.observe(&Event::PullFailed(&job.image)),
                    _ => self.observer.observe(&Event::PushFailed(&job.destination.to_string())),
                }
                Status::Failed(failure)
            }
        };
        let destination = match &status {
            Status::Copied(digest) | Status::AlreadyThere(digest) | Status::WouldCopy(digest) => {
                arrived_at(job, digest)
            }
            Status::WouldPull | Status::Failed(_) => job.destination.clone(),
        };
        Outcome {
            image: job.image.clone(),
            source: job.source.clone(),
            destination,
            workloads: job.workloads.clone(),
            status,
            bytes: sent.load(Ordering::Relaxed),
            took: started.elapsed(),
        }
    }

    async fn attempt(&self, job: &CopyJob, sent: &Arc<AtomicU64>) -> Result<Status, Failure> {
        if self.settings.dry_pull {
            return Ok(Status::WouldPull);
        }
        let mut asked_again = false;
        let (found, manifest) = loop {
            let found = match self.check(job).await? {
                Check::Settled(status) => return Ok(status),
                Check::Missing(found) => found,
            };
            match found.source.manifest(Selector::Digest(&found.wanted)).await {
                Ok(manifest) => break (found, manifest),
                // What the tag meant a moment ago may be gone, and the tag be moved; or the source was wrong.
                Err(error) if error.is_not_found() && found.is_resolved && !asked_again => asked_again = true,
                Err(error) => return Err(at_source(&error)),
            }
        };
        self.observer.observe(&Event::PullSucceeded(&job.image));
        if self.settings.dry_run {
            return Ok(Status::WouldCopy(found.wanted));
        }
        self.push(job, &found, &manifest, sent).await?;
        self.observer.observe(&Event::PushSucceeded(&arrived_at(job, &found.wanted).to_string()));
        Ok(Status::Copied(found.wanted))
    }

    /// Asks the target, and the source only where the digest is not known otherwise.
    async fn check(&self, job: &CopyJob) -> Result<Check, Failure> {
        let store = self.stores.get(&job.destination.target.name).ok_or_else(|| Failure {
            kind: FailureKind::Target,
            message: format!("target {} is not configured", job.destination.target.name),
            retry: Retry::Later,
        })?;
        let target = store.repository(&job.destination.repository);
        let pulled = match job.running.first() {
            Some(running) if self.pulls_what_runs(job) => running,
            _ => &job.source,
        };
        let source = self.sources.repository(pulled.registry(), pulled.repository());
        let known = pulled.digest().cloned();
        let is_resolved = known.is_none();
        let missing = |target, wanted| {
            let (source, store) = (source.clone(), store.clone());
            Ok(Check::Missing(Found { source, store, target, wanted, is_resolved }))
        };
        let Some(tag) = job.tag() else {
            let wanted = match known {
                Some(known) => known,
                None => resolve(&source, job).await?,
            };
            return match self.is_kept(&target, &wanted).await? {
                true => Ok(Check::Settled(Status::AlreadyThere(wanted))),
                false => missing(target, wanted),
            };
        };
        let present = async { target.find(Place::Tag(tag)).await.map_err(|error| at_target(&error)) };
        let (present, wanted) = match (known, told_by_pods(job)) {
            (Some(known), _) => (present.await?, known),
            (None, Some(told)) => match present.await? {
                Some(present) if present == *told => return Ok(Check::Settled(Status::AlreadyThere(present))),
                present => (present, resolve(&source, job).await?),
            },
            // Whatever the target says, only the source can tell whether that is right.
            (None, None) => {
                let (present, wanted) = futures::join!(present, resolve(&source, job));
                (present?, wanted?)
            }
        };
        if let Some(present) = present {
            if is_same(&target, &present, &wanted).await? {
                return Ok(Check::Settled(Status::AlreadyThere(wanted)));
            }
            if !self.may_move(job) {
                return Err(Failure {
                    kind: FailureKind::DifferentDigest,
                    message: format!(
                        "{} has digest {present}, the source has {wanted}, and allowDifferentDigestRepush is false",
                        job.destination
                    ),
                    retry: Retry::Later,
                });
            }
        }
        match &job.role {
            Role::Rival { holder } => Err(conflict(job, holder)),
            Role::Holder | Role::ByDigest => missing(target, wanted),
        }
    }

    /// Whether what has this digest is kept by it. What is there already, under a tag that may move away, is kept from
    /// then on: the source may be gone by the time the tag does.
    async fn is_kept(&self, target: &StoreRepository, digest: &Digest) -> Result<bool, Failure> {
        let place = Place::Kept(digest);
        if let Some(kept) = target.find(place).await.map_err(|error| at_target(&error))? {
            return is_same(target, &kept, digest).await;
        }
        if self.settings.dry_run {
            return Ok(false);
        }
        let Some(manifest) = target.manifest(digest).await.map_err(|error| at_target(&error))? else {
            return Ok(false);
        };
        match target.put(place, &manifest).await {
            // Something that it names is gone: it has to be brought anew.
            Err(error) if error.is_rejection() => return Ok(false),
            put => put.map_err(|error| at_target(&error))?,
        }
        match target.find(place).await.map_err(|error| at_target(&error))? {
            Some(kept) => is_same(target, &kept, digest).await,
            None => Ok(false),
        }
    }

    /// Whether what the Pods run is pulled, rather than what the tag means now.
    fn pulls_what_runs(&self, job: &CopyJob) -> bool {
        let tag = job.source.tag().unwrap_or("latest").to_lowercase();
        self.settings.digest_pull
            && job.source.digest().is_none()
            && !self.settings.digest_pull_ignored_tags.contains(&tag)
    }

    fn may_move(&self, job: &CopyJob) -> bool {
        self.settings.allow_different_digest_repush
            || matches!(job.role, Role::Rival { .. })
            || job.tag().is_none_or(|tag| tag.eq_ignore_ascii_case("latest"))
    }

    async fn push(
        &self,
        job: &CopyJob,
        found: &Found,
        manifest: &Manifest,
        sent: &Arc<AtomicU64>,
    ) -> Result<(), Failure> {
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
        let kept = (job.tag().is_none() || job.source.digest().is_some()).then_some(Place::Kept(&found.wanted));
        // What others pull by moves last.
        let places = || kept.into_iter().chain(job.tag().map(Place::Tag));
        let mut looked_again = false;
        loop {
            transfer.parts(manifest).await?;
            let put = async {
                for place in places() {
                    found.target.put(place, manifest).await?;
                }
                Ok::<(), StoreError>(())
            };
            match put.await {
                Ok(()) => {
                    departure.land();
                    match try_join_all(places().map(|place| verify(job, found, place))).await {
                        // Taken, and lost.
                        Err(failure) if failure.kind == FailureKind::Verification && !looked_again => {
                            looked_again = true;
                        }
                        verified => return verified.map(drop),
                    }
                }
                Err(error) if error.is_immutable_tag() => {
                    return Err(Failure {
                        kind: FailureKind::DifferentDigest,
                        message: format!(
                            "{} has another digest than the source, {}, and the target lets no tag be moved: {error}",
                            job.destination, found.wanted
                        ),
                        retry: Retry::Later,
                    });
                }
                // A part that was there may be gone when the manifest arrives: all of it is looked at once more.
                Err(error) if error.is_rejection() && !looked_again => looked_again = true,
                Err(error) => return Err(at_target(&error)),
            }
        }
    }
}

/// The job's destination, with the digest where that is its only name.
fn arrived_at(job: &CopyJob, digest: &Digest) -> Destination {
    let mut destination = job.destination.clone();
    if destination.tag.is_none() {
        destination.digest = Some(digest.clone());
    }
    destination
}

/// Whether what the target calls `present` has the digest `wanted`. A registry tells digests of one algorithm, mostly
/// SHA-256; one by another algorithm is computed from the bytes.
async fn is_same(target: &StoreRepository, present: &Digest, wanted: &Digest) -> Result<bool, Failure> {
    if present.algorithm() == wanted.algorithm() {
        return Ok(present == wanted);
    }
    let manifest = target.manifest(present).await.map_err(|error| at_target(&error))?;
    Ok(manifest.is_some_and(|manifest| wanted.matches(manifest.bytes())))
}

/// What all Pods say that they run. Where they differ, only the source knows what the tag means now.
fn told_by_pods(job: &CopyJob) -> Option<&Digest> {
    let (first, others) = job.running.split_first()?;
    let told = first.digest()?;
    others.iter().all(|running| running.digest() == Some(told)).then_some(told)
}

/// Whether what was pushed is there.
async fn verify(job: &CopyJob, found: &Found, place: Place<'_>) -> Result<(), Failure> {
    let arrived = found.target.find(place).await.map_err(|error| at_target(&error))?;
    let message = match arrived {
        Some(arrived) if is_same(&found.target, &arrived, &found.wanted).await? => return Ok(()),
        Some(arrived) => {
            format!("after the push {} has digest {arrived} instead of {}", job.destination, found.wanted)
        }
        None => format!("after the push {} is not there", job.destination),
    };
    Err(Failure { kind: FailureKind::Verification, message, retry: Retry::Soon })
}

async fn resolve(source: &Repository, job: &CopyJob) -> Result<Digest, Failure> {
    let tag = job.source.tag().unwrap_or("latest");
    let found = source.head(Selector::Tag(tag)).await.map_err(|error| at_source(&error))?;
    found.ok_or_else(|| Failure {
        kind: FailureKind::Source,
        message: format!("{} is not there: the registry knows no such repository or tag", job.source),
        retry: Retry::Later,
    })
}

fn conflict(job: &CopyJob, holder: &str) -> Failure {
    let whose = job.workloads.first().map(ToString::to_string).unwrap_or_default();
    Failure {
        kind: FailureKind::Conflict,
        message: format!(
            "{} of {whose} and {holder} are different images with one name at the target, {}; tell them apart with \
             $registry in the repository prefix or with a pathMap rule",
            job.image, job.destination
        ),
        retry: Retry::Later,
    }
}
