//! Runs jobs: inspects, selects, pushes, and reports the outcome.

use std::{
    collections::HashMap,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use tokio::{
    sync::Mutex,
    time::{Instant, timeout},
};

use crate::{
    mirror::job::{CopyJob, CopyResult},
    model::{
        CopyProgress, Destination, Digest, Event, Failure, FailureKind, Observer, Outcome, PullSecrets, Reference,
        ReferrerFailure, Retry, Status,
    },
    registry::{Registries, Store},
};

use super::{
    attempt::Attempt,
    blob_locks::BlobLocks,
    endpoints::Endpoints,
    find_manifest::{Found, find_manifest, needs_manifest_to_compare},
    further_sources::{FurtherSource, FurtherSources},
    inspector::Inspector,
    owner,
    platform_selector::{PlatformSelector, Selection},
    platforms::RequestedPlatforms,
    push::Push,
    referrers::{Discovery, Look, Referrers, SubjectLocks, Subjects, missing as missing_referrers},
    settings::CopySettings,
    source::{Source, Sources},
    subsets::SubsetCache,
    target_lookup,
};

/// How long a registry may take to show that it answers otherwise.
const PROBE_TIMEOUT: Duration = Duration::from_secs(10);

/// The longest look for the referrers of an image that is at its target.
const LONGEST_LOOK: Duration = Duration::from_secs(120);

/// Copies images from any source to the configured targets.
pub struct Copier {
    sources: Sources,
    /// By name of the target.
    stores: HashMap<String, Store>,
    settings: CopySettings,
    observer: Arc<dyn Observer>,
    blobs: BlobLocks,
    subsets: SubsetCache,
    referrer_lists: SubjectLocks,
    further: FurtherSources,
}

impl Copier {
    /// `stores` has the name of each target as its key.
    pub fn new(
        registries: Registries,
        stores: HashMap<String, Store>,
        settings: CopySettings,
        observer: Arc<dyn Observer>,
    ) -> Self {
        let sources = Sources { registries, pull_secrets: None };
        Self {
            sources,
            stores,
            settings,
            observer,
            blobs: BlobLocks::default(),
            subsets: SubsetCache::default(),
            referrer_lists: SubjectLocks::default(),
            further: FurtherSources::default(),
        }
    }

    /// Reads images from these places if their registries can't give them.
    #[must_use]
    pub fn with_further_sources(mut self, further: Vec<FurtherSource>) -> Self {
        self.further = FurtherSources::new(further);
        self
    }

    /// Whether other targets are further sources.
    pub fn reads_targets(&self) -> bool {
        self.further.have_targets()
    }

    /// Whether a further source may have a job's image.
    pub fn may_be_elsewhere(&self, job: &CopyJob) -> bool {
        !self.further.of(job).is_empty()
    }

    /// Whether a further source may have images of a registry.
    pub fn may_be_elsewhere_from(&self, registry: &str) -> bool {
        self.further.may_have_images_of(registry)
    }

    /// Reads sources with the logins in pull secrets first.
    #[must_use]
    pub fn with_pull_secrets(mut self, pull_secrets: Arc<dyn PullSecrets>) -> Self {
        self.sources.pull_secrets = Some(pull_secrets);
        self
    }

    /// Ends all pauses that sources and targets have requested; with an exhausted quota, one pull is tried. What targets did not
    /// replace is uploaded again.
    pub fn end_waits(&self) {
        self.blobs.forget_kept();
        self.sources.registries.end_rate_limit_waits();
        self.stores.values().for_each(Store::end_rate_limit_waits);
        self.further.end_pauses();
    }

    /// Cancels unfinished uploads at the targets, at the program's end. Each takes at most 10 s; drop the future to stop
    /// waiting.
    pub async fn cancel_uploads(&self) {
        self.stores.values().for_each(Store::cancel_unused_uploads);
        self.sources.registries.background_finished().await;
    }

    /// Runs a job to its end. `on_answer` is called at the source registry's first answer.
    pub async fn copy(
        &self,
        job: &CopyJob,
        progress: &Arc<CopyProgress>,
        on_answer: &(dyn Fn() + Send + Sync),
    ) -> CopyResult {
        let started = Instant::now();
        let attempt = Attempt::new(progress, on_answer);
        let mut registry_is_up = false;
        let tried = self.try_copy(job, &attempt).await;
        let elsewhere = attempt.elsewhere();
        if let (Ok(_), Some(failure)) = (&tried, &elsewhere.source_failure) {
            if failure.kind == FailureKind::Source {
                self.observer.observe(&Event::PullFailed(&job.image));
                if failure.retry == Retry::Later {
                    attempt.source_answers();
                }
            }
            registry_is_up = failure.retry == Retry::Soon && self.is_up(job, failure.kind).await;
        }
        let status = match tried {
            Ok(status) => status,
            Err(failure) => {
                if failure.kind == FailureKind::Source && failure.retry == Retry::Later {
                    attempt.source_answers();
                }
                registry_is_up = failure.retry == Retry::Soon && self.is_up(job, failure.kind).await;
                match failure.kind {
                    FailureKind::Source if job.source_unavailable.is_some() => {}
                    _ if job.is_pause(&failure) => {}
                    FailureKind::Source => self.observer.observe(&Event::PullFailed(&job.image)),
                    _ => self.observer.observe(&Event::PushFailed(&job.destination.to_string())),
                }
                Status::Failed(failure)
            }
        };
        let destination = match &status {
            Status::Copied(digest) | Status::AlreadyThere(digest) | Status::WouldCopy(digest) => {
                destination_of(job, digest)
            }
            Status::WouldPull | Status::Failed(_) => job.destination.clone(),
        };
        let (bytes, source_answered) = (attempt.sent.load(Ordering::Relaxed), attempt.source_answered());
        let found_corrupt = attempt.is_corrupt();
        let (seen, tag, referrers) = attempt.into_records();
        let outcome = Outcome {
            image: job.image.clone(),
            source: job.source.clone(),
            destination,
            workloads: job.workloads.clone(),
            status,
            seen,
            referrers,
            copied_from: elsewhere.gave,
            tag,
            bytes,
            took: started.elapsed(),
            next_try: None,
        };
        CopyResult {
            outcome,
            source_failure: elsewhere.source_failure,
            source_answered,
            registry_is_up,
            asked_elsewhere: elsewhere.was_asked,
            found_corrupt,
        }
    }

    /// Whether the registry in which a copy failed answers otherwise: then other images may succeed there.
    async fn is_up(&self, job: &CopyJob, kind: FailureKind) -> bool {
        let Ok(Endpoints { source, target, .. }) = self.endpoints(job) else { return false };
        let probe = async {
            match kind {
                FailureKind::Source | FailureKind::SourceBlob => source.is_up().await,
                FailureKind::Target => target.is_up().await,
                FailureKind::DifferentDigest
                | FailureKind::Conflict
                | FailureKind::Verification
                | FailureKind::Referrer => true,
            }
        };
        timeout(PROBE_TIMEOUT, probe).await.unwrap_or(false)
    }

    /// Copies what the source has now. If that is not to be had, or must not replace what is at the target, a repair mends the
    /// latter, by its digest.
    async fn try_copy(&self, job: &CopyJob, attempt: &Attempt<'_>) -> Result<Status, Failure> {
        let failure = match self.copy_wanted(job, attempt, false).await {
            Err(failure) => failure,
            copied => return copied,
        };
        // Further sources are not asked what the tag means now.
        let is_elsewhere =
            job.source.digest().is_none() && failure.kind == FailureKind::Source && attempt.elsewhere().has_places;
        let keeps_present = failure.kind == FailureKind::DifferentDigest || attempt.tag_is_gone() || is_elsewhere;
        if !keeps_present || !job.is_damaged || job.repair_pause.is_some() {
            return Err(failure);
        }
        let mended = if job.source.digest().is_some() {
            // Who names the digest pulls by it, and needs no tag.
            let destination = Destination { tag: None, ..job.destination.clone() };
            self.copy_wanted(&CopyJob { destination, ..job.clone() }, attempt, false).await
        } else {
            self.copy_wanted(job, attempt, true).await
        };
        mended.map_err(|also| Failure {
            message: format!("{}; and what the target has can't be mended: {}", failure.message, also.message),
            ..also
        })
    }

    /// `mends_present`: what the tag means at the target, whatever it means at the source now.
    async fn copy_wanted(&self, job: &CopyJob, attempt: &Attempt<'_>, mends_present: bool) -> Result<Status, Failure> {
        if self.settings.dry_pull {
            return Ok(Status::WouldPull);
        }
        let endpoints = self.endpoints(job)?;
        if let Some(failure) = attempt.elsewhere().source_failure {
            endpoints.further.source_failed(&failure);
        }
        let copied = self.copy_with(job, &endpoints, attempt, mends_present).await;
        attempt.used_further(&endpoints.further, copied.is_err());
        copied
    }

    async fn copy_with(
        &self,
        job: &CopyJob,
        endpoints: &Endpoints<'_>,
        attempt: &Attempt<'_>,
        mends_present: bool,
    ) -> Result<Status, Failure> {
        let (settings, subsets) = (&self.settings, &self.subsets);
        let selector = &PlatformSelector { job, settings, endpoints, subsets, attempt };
        let inspector = Inspector { job, settings, endpoints, selector, attempt, mends_present };
        let (findings, manifest) = match find_manifest(&inspector).await? {
            Found::UpToDate(digest) => return self.already_there(job, endpoints, selector, attempt, digest).await,
            Found::Missing(findings, manifest) => {
                if endpoints.further.gave().is_empty() {
                    attempt.source_answers();
                    self.observer.observe(&Event::PullSucceeded(&job.image));
                }
                (findings, manifest)
            }
            Found::Damaged(findings, manifest) => (findings, manifest),
        };
        let part = match selector.select(&findings, &manifest).await? {
            Selection::Nothing(present) => {
                return self.already_there(job, endpoints, selector, attempt, present).await;
            }
            Selection::Part(part) => Some(part),
            Selection::Whole => None,
        };
        let is_made_again = findings
            .present
            .as_found()
            .is_some_and(|present| part.as_ref().is_some_and(|part| job.is_damaged && part.digest() == present));
        if needs_manifest_to_compare(&findings) && !is_made_again {
            inspector.may_write(&findings)?;
        }
        if self.settings.dry_run {
            return Ok(Status::WouldCopy(findings.wanted));
        }
        let job = &CopyJob { is_damaged: job.is_damaged || attempt.is_corrupt(), ..job.clone() };
        let may_be_made = self.settings.platforms.is_some();
        let replaced = owner::replaced_digest(job, endpoints, &findings, may_be_made).await?;
        let progress = attempt.progress;
        progress.begin();
        let (workloads, source, destination) = (job.workloads.as_slice(), &job.source, &job.destination);
        self.observer.observe(&Event::TransferStarted { source, destination, workloads, progress });
        let referrers = self.referrers(job, endpoints, attempt);
        let push = Push {
            job,
            settings: &self.settings,
            endpoints,
            findings: &findings,
            blobs: &self.blobs,
            subsets: &self.subsets,
            observer: &self.observer,
            sent: &attempt.sent,
            progress,
            referrers: referrers.as_ref(),
        };
        let digest = push.run(&manifest, part.as_ref(), selector.may_make_index(&findings)).await?;
        if let Some(before) = &replaced {
            self.observer.observe(&Event::TagTaken { workloads, source, destination, before });
        }
        if let Some(part) = &findings.part {
            self.subsets.set_complete(part, &digest);
        }
        self.observer.observe(&Event::PushSucceeded(&destination_of(job, &findings.wanted).to_string()));
        Ok(Status::Copied(digest))
    }

    /// Looks for the referrers of an image that the target has, if the job asks for that.
    async fn already_there(
        &self,
        job: &CopyJob,
        endpoints: &Endpoints<'_>,
        selector: &PlatformSelector<'_>,
        attempt: &Attempt<'_>,
        digest: Digest,
    ) -> Result<Status, Failure> {
        let may_look = job.look_for_referrers && job.source_unavailable.is_none() && !self.settings.dry_run;
        if let Some(referrers) = self.referrers(job, endpoints, attempt).filter(|_| may_look) {
            let platforms = selector.request(&digest).map(|part| part.platforms);
            let discovery = look_at_present(&referrers, &digest, platforms.as_ref()).await;
            let outcome = referrers.copy(discovery).await;
            let failure = self.settings.referrers.required.then(|| missing_referrers(&outcome)).flatten();
            failure.map_or(Ok(()), Err)?;
        }
        Ok(Status::AlreadyThere(digest))
    }

    /// None if the job's target gets none.
    fn referrers<'a>(
        &'a self,
        job: &'a CopyJob,
        endpoints: &'a Endpoints<'a>,
        attempt: &'a Attempt<'a>,
    ) -> Option<Referrers<'a>> {
        Some(Referrers {
            job,
            settings: &self.settings,
            selection: self.settings.referrers.of(&job.destination.target.name)?,
            endpoints,
            blobs: &self.blobs,
            locks: &self.referrer_lists,
            observer: &self.observer,
            attempt,
            look: Look::default(),
        })
    }

    /// Whether the destination gets referrers.
    pub fn copies_referrers_to(&self, target: &str) -> bool {
        self.settings.referrers.of(target).is_some() && !self.settings.dry_run && !self.settings.dry_pull
    }

    /// When the referrers of an image are looked for again; none for never.
    pub fn referrer_recheck(&self) -> Option<Duration> {
        self.settings.referrers.recheck
    }

    fn endpoints<'a>(&'a self, job: &'a CopyJob) -> Result<Endpoints<'a>, Failure> {
        let store = self.store(&job.destination)?;
        Ok(Endpoints {
            source: self.sources.source(&job.source, &job.pull_secrets),
            source_unavailable: job.source_unavailable.as_ref().map(|unavailable| &unavailable.failure),
            further: self.further.of(job),
            store,
            target: store.repository(&job.destination.repository),
        })
    }

    /// Reads an image with the pull secrets of its own jobs: those of another image may be another namespace's.
    fn source_of(&self, image: &Reference, jobs: &[CopyJob]) -> Source {
        let own = jobs.iter().find(|job| job.source == *image);
        self.sources.source(image, own.map(|job| job.pull_secrets.as_slice()).unwrap_or_default())
    }

    fn store(&self, destination: &Destination) -> Result<&Store, Failure> {
        self.stores.get(&destination.target.name).ok_or_else(|| Failure {
            kind: FailureKind::Target,
            message: format!("target {} is not configured", destination.target.name),
            retry: Retry::Later,
        })
    }

    /// Which of the contenders the target has the destination from. Each contender is the images of one repository; the
    /// jobs are theirs.
    pub async fn find_owner(
        &self,
        jobs: &[CopyJob],
        contenders: &[Vec<Reference>],
    ) -> Result<Option<Reference>, Failure> {
        let candidates: Vec<&Reference> = contenders.iter().filter_map(|images| images.first()).collect();
        let tagged = jobs.iter().find_map(|job| Some((&job.destination, job.tag()?)));
        let Some((destination, tag)) = tagged.filter(|_| !self.settings.dry_pull) else {
            return Ok(candidates.first().copied().cloned());
        };
        let target = self.store(destination)?.repository(&destination.repository);
        let candidates: Vec<_> = candidates.into_iter().map(|image| (image, self.source_of(image, jobs))).collect();
        owner::find_owner(&target, tag, &candidates, self.settings.platforms.is_some()).await
    }
}

/// What the source has for an image that the target has.
async fn look_at_present(
    referrers: &Referrers<'_>,
    digest: &Digest,
    platforms: Option<&RequestedPlatforms>,
) -> Discovery {
    let failed = |message: String, retry| {
        Discovery::failed(ReferrerFailure { referrer: format!("the referrers of {digest}"), message, retry })
    };
    let present = match target_lookup::manifest(&referrers.endpoints.target, digest).await {
        Ok(Some(present)) => present,
        Ok(None) => return failed("the target does not have the manifest any more".to_owned(), Retry::Soon),
        Err(failure) => return failed(failure.message, failure.retry),
    };
    let subjects = match Subjects::of_present(&present, platforms) {
        Ok(subjects) => subjects,
        Err(error) => return failed(error.to_string(), error.retry()),
    };
    let found = Mutex::default();
    let late = timeout(LONGEST_LOOK, referrers.discover(&subjects, &found)).await.is_err();
    let mut found = found.into_inner();
    if late {
        let message = format!("the source did not list them within {}s", LONGEST_LOOK.as_secs());
        found.fail(ReferrerFailure { referrer: "all referrers".to_owned(), message, retry: Retry::Soon });
    }
    found
}

/// The job's destination, with the digest if it has no tag.
fn destination_of(job: &CopyJob, digest: &Digest) -> Destination {
    let mut destination = job.destination.clone();
    if destination.tag.is_none() {
        destination.digest = Some(digest.clone());
    }
    destination
}
