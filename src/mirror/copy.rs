//! Carries out one job: asks what is there, brings what is missing, and tells how that ended.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use tokio::time::Instant;

use crate::{
    model::{Destination, Digest, Event, Failure, FailureKind, Observer, Outcome, Retry, Status},
    registry::{Backoff, Registries, Selector, Store},
};

use super::{
    blobs::Blobs, check::Check, failure::at_source, job::CopyJob, platforms::PlatformSettings, selection::Selection,
    subsets::Subsets,
};

/// How images are copied.
#[derive(Clone, Debug)]
pub struct CopySettings {
    /// A tag is pulled by the digest that its newest Pod runs, or that the source resolves it to.
    pub digest_pull: bool,
    /// Tags that this does not hold for, in lower case.
    pub digest_pull_ignored_tags: Vec<String>,
    /// Which platforms of an index are copied, under `digest_pull`; none: all of them.
    pub platforms: Option<PlatformSettings>,
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

/// What came of a job.
pub struct Copied {
    /// How it ended.
    pub outcome: Outcome,
    /// Whether the source's registry gave an answer, be it that it does not have the image.
    pub source_answered: bool,
}

/// What happens in the course of one attempt.
pub(super) struct Attempt<'a> {
    /// Bytes of blobs that were sent.
    pub sent: Arc<AtomicU64>,
    source_answered: AtomicBool,
    on_answer: &'a (dyn Fn() + Send + Sync),
}

impl Attempt<'_> {
    /// The source's registry gave an answer.
    pub fn source_answers(&self) {
        if !self.source_answered.swap(true, Ordering::Relaxed) {
            (self.on_answer)();
        }
    }
}

/// Copies images from any source to the configured targets.
pub struct Copier {
    pub(super) sources: Registries,
    pub(super) stores: HashMap<String, Store>,
    pub(super) settings: CopySettings,
    pub(super) observer: Arc<dyn Observer>,
    pub(super) blobs: Blobs,
    pub(super) subsets: Subsets,
}

impl Copier {
    /// `stores` by the name of their target.
    pub fn new(
        sources: Registries,
        stores: HashMap<String, Store>,
        settings: CopySettings,
        observer: Arc<dyn Observer>,
    ) -> Self {
        Self { sources, stores, settings, observer, blobs: Blobs::default(), subsets: Subsets::default() }
    }

    /// Ends all pauses that registries have asked for, sources and targets; where pulls are used up, one may be tried.
    pub fn reset_pauses(&self) {
        self.sources.reset_pauses();
        self.stores.values().for_each(Store::reset_pauses);
    }

    /// Takes back the uploads that were begun at targets and are not needed any more, and waits until that is done: for
    /// the program's end. Each takes 10 s at most; whoever can't wait so long drops this.
    pub async fn cleared(&self) {
        self.stores.values().for_each(Store::cancel_unused_uploads);
        self.sources.background_finished().await;
    }

    /// Carries out a job to its end, and tells how it ended. `on_answer` is called when the source's registry gives its
    /// first answer.
    pub async fn copy(&self, job: &CopyJob, on_answer: &(dyn Fn() + Send + Sync)) -> Copied {
        let started = Instant::now();
        let attempt = Attempt { sent: Arc::default(), source_answered: AtomicBool::new(false), on_answer };
        let status = match self.attempt(job, &attempt).await {
            Ok(status) => status,
            Err(failure) => {
                if failure.kind == FailureKind::Source && failure.retry == Retry::Later {
                    attempt.source_answers();
                }
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
        let outcome = Outcome {
            image: job.image.clone(),
            source: job.source.clone(),
            destination,
            workloads: job.workloads.clone(),
            status,
            bytes: attempt.sent.load(Ordering::Relaxed),
            took: started.elapsed(),
            next_try: None,
        };
        Copied { outcome, source_answered: attempt.source_answered.into_inner() }
    }

    async fn attempt(&self, job: &CopyJob, attempt: &Attempt<'_>) -> Result<Status, Failure> {
        if self.settings.dry_pull {
            return Ok(Status::WouldPull);
        }
        let mut asked_again = false;
        let mut believe_pods = true;
        let (found, manifest) = loop {
            let checked = self.check(job, believe_pods, attempt).await?;
            let found = match checked {
                Check::Settled(status) => return Ok(status),
                Check::Missing(found) => found,
            };
            // Whether a part of it is there already only its manifest tells.
            if found.present.is_none() || found.wish.is_none() {
                self.may_write(job, &found)?;
            }
            match found.source.manifest(Selector::Digest(&found.wanted)).await {
                Ok(manifest) => break (found, manifest),
                // What the tag meant a moment ago may be gone, and the tag be moved; or the source was wrong.
                Err(error) if error.is_not_found() && found.is_resolved && !asked_again => asked_again = true,
                // A Pod may run what came from elsewhere: what the image's own repository does not know is no answer.
                Err(error) if error.is_not_found() && found.is_by_pods && believe_pods => believe_pods = false,
                Err(error) => return Err(at_source(&error)),
            }
        };
        attempt.source_answers();
        self.observer.observe(&Event::PullSucceeded(&job.image));
        let part = match self.select(job, &found, &manifest).await? {
            Selection::Nothing(present) => return Ok(Status::AlreadyThere(present)),
            Selection::Part(part) => Some(part),
            Selection::Whole => None,
        };
        self.may_write(job, &found)?;
        if self.settings.dry_run {
            return Ok(Status::WouldCopy(found.wanted));
        }
        let taken = self.taken_from_another(job, &found).await?;
        let pushed = self.push(job, &found, &manifest, part.as_ref(), &attempt.sent).await?;
        if let Some(before) = &taken {
            let (workloads, source, destination) = (job.workloads.as_slice(), &job.source, &job.destination);
            self.observer.observe(&Event::TagTaken { workloads, source, destination, before });
        }
        if let Some(wish) = &found.wish {
            self.subsets.grant(wish, &pushed);
        }
        self.observer.observe(&Event::PushSucceeded(&arrived_at(job, &found.wanted).to_string()));
        Ok(Status::Copied(pushed))
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
