//! Carries out one job: asks what is there, brings what is missing, and looks whether it arrived.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use tokio::time::Instant;

use crate::{
    model::{Digest, Event, Failure, FailureKind, Observer, Outcome, Retry, Status},
    registry::{Manifest, Place, Registries, Repository, Selector, Store, StoreError, StoreRepository},
};

use super::{
    blobs::Blobs,
    job::{CopyJob, Role},
    transfer::Transfer,
};

/// How images are copied.
#[derive(Clone, Copy, Debug)]
pub struct CopySettings {
    /// A tag is pulled by the digest that its newest Pod runs, or that the source resolves it to.
    pub digest_pull: bool,
    /// Whether a tag at the target may be moved to another digest; `latest` always may.
    pub allow_different_digest_repush: bool,
    /// Everything but the write.
    pub dry_run: bool,
    /// Ask nobody.
    pub dry_pull: bool,
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
}

/// Where an attempt ended before anything had to be moved.
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
        Outcome {
            image: job.image.clone(),
            source: job.source.clone(),
            destination: job.destination.clone(),
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
        let found = match self.check(job).await? {
            Check::Settled(status) => return Ok(status),
            Check::Missing(found) => found,
        };
        let manifest = found.source.manifest(Selector::Digest(&found.wanted)).await.map_err(|error| Failure {
            kind: FailureKind::Source,
            message: error.to_string(),
            retry: error.retry(),
        })?;
        self.observer.observe(&Event::PullSucceeded(&job.image));
        if self.settings.dry_run {
            return Ok(Status::WouldCopy(found.wanted));
        }
        self.push(job, &found, &manifest, sent).await?;
        self.observer.observe(&Event::PushSucceeded(&job.destination.to_string()));
        Ok(Status::Copied(found.wanted))
    }

    /// Asks the target first, and the source only where the digest is not known otherwise.
    async fn check(&self, job: &CopyJob) -> Result<Check, Failure> {
        let store = self.stores.get(&job.destination.target.name).ok_or_else(|| Failure {
            kind: FailureKind::Unsupported,
            message: format!("target {} is not configured", job.destination.target.name),
            retry: Retry::Later,
        })?;
        let target = store.repository(&job.destination.repository).map_err(|error| at_target(&error))?;
        let pulled = match job.running.first() {
            Some(running) if self.settings.digest_pull && job.source.digest().is_none() => running,
            _ => &job.source,
        };
        let source = self.sources.repository(pulled.registry(), pulled.repository());
        let mut wanted = pulled.digest().cloned();
        let present = match job.tag() {
            Some(tag) => target.find(Place::Tag(tag)).await,
            None => {
                let digest = match wanted.take() {
                    Some(digest) => digest,
                    None => resolve(&source, job).await?,
                };
                target.find(Place::Kept(wanted.insert(digest))).await
            }
        }
        .map_err(|error| at_target(&error))?;
        if let Some(present) = &present
            && (wanted.as_ref() == Some(present) || wanted.is_none() && all_run(job, present))
        {
            return Ok(Check::Settled(Status::AlreadyThere(present.clone())));
        }
        let wanted = match wanted {
            Some(wanted) => wanted,
            None => resolve(&source, job).await?,
        };
        match present {
            Some(present) if present == wanted => return Ok(Check::Settled(Status::AlreadyThere(present))),
            Some(present) if !self.may_move(job) => {
                return Err(Failure {
                    kind: FailureKind::DifferentDigest,
                    message: format!(
                        "{} has digest {present}, the source has {wanted}, and allowDifferentDigestRepush is false",
                        job.destination
                    ),
                    retry: Retry::Later,
                });
            }
            _ => {}
        }
        if let Role::Rival { holder } = &job.role {
            return Err(conflict(job, holder));
        }
        Ok(Check::Missing(Found { source, store: store.clone(), target, wanted }))
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
        let transfer = Transfer::new(
            &found.source,
            &found.store,
            &found.target,
            &job.destination,
            &self.blobs,
            Arc::new(move |bytes| {
                sent.fetch_add(bytes, Ordering::Relaxed);
                observer.observe(&Event::BytesCopied(bytes));
            }),
        );
        let place = place(job, &found.wanted);
        let keep = job.tag().is_some() && job.source.digest().is_some();
        // A blob that was there may be gone when its manifest arrives: then all of it is looked at once more.
        let mut last_chance = false;
        loop {
            transfer.parts(manifest).await?;
            let put = async {
                if keep {
                    found.target.put(Place::Kept(&found.wanted), manifest).await?;
                }
                found.target.put(place, manifest).await
            };
            match put.await {
                Ok(()) => break,
                Err(_) if !last_chance => last_chance = true,
                Err(error) => return Err(at_target(&error)),
            }
        }
        match found.target.find(place).await.map_err(|error| at_target(&error))? {
            Some(arrived) if arrived == found.wanted => Ok(()),
            arrived => Err(Failure {
                kind: FailureKind::Verification,
                message: match arrived {
                    Some(arrived) => {
                        format!("after the push {} has digest {arrived} instead of {}", job.destination, found.wanted)
                    }
                    None => format!("after the push {} is not there", job.destination),
                },
                retry: Retry::Soon,
            }),
        }
    }
}

fn place<'a>(job: &'a CopyJob, wanted: &'a Digest) -> Place<'a> {
    job.tag().map_or(Place::Kept(wanted), Place::Tag)
}

/// Whether all Pods say that they run this. Where they differ, only the source knows what the tag means now.
fn all_run(job: &CopyJob, digest: &Digest) -> bool {
    !job.running.is_empty() && job.running.iter().all(|running| running.digest() == Some(digest))
}

async fn resolve(source: &Repository, job: &CopyJob) -> Result<Digest, Failure> {
    let tag = job.source.tag().unwrap_or("latest");
    match source.head(Selector::Tag(tag)).await {
        Ok(Some(digest)) => Ok(digest),
        Ok(None) => Err(Failure {
            kind: FailureKind::Source,
            message: format!("{} is not there: the registry knows no such repository or tag", job.source),
            retry: Retry::Later,
        }),
        Err(error) => Err(Failure { kind: FailureKind::Source, message: error.to_string(), retry: error.retry() }),
    }
}

fn at_target(error: &StoreError) -> Failure {
    let kind = match error {
        StoreError::Unsupported(_) => FailureKind::Unsupported,
        _ => FailureKind::Target,
    };
    Failure { kind, message: error.to_string(), retry: error.retry() }
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
