//! Verifies the images that workloads use.

use std::{
    collections::{BTreeMap, HashMap},
    sync::atomic::Ordering,
    time::Duration,
};

use futures::{StreamExt, stream};
use tokio::time::timeout;

use super::{
    deep::DeepReading,
    known_parts::KnownParts,
    pace::Pace,
    tree::{Found, Tree},
};
use crate::{
    mirror::{
        claims::{Claims, DesiredImage},
        copying::PlatformSettings,
        job::{CopyJob, Role},
    },
    model::{Digest, PartProblemKind, Reference, VerifiedImage, Wholeness, WorkloadId, error_chain},
    registry::{ManifestRef, Registries, Store, StoreRepository, TagOrDigest},
};

/// Images that are verified at once.
const CONCURRENT_IMAGES: usize = 8;

/// The longest look at one image without reading its blobs.
const LONGEST_LOOK: Duration = Duration::from_secs(15 * 60);

/// How images are verified.
pub struct VerifierSettings {
    /// Which platforms of an index its target must have; none for all.
    pub platforms: Option<PlatformSettings>,
    /// Whether platforms apply to an image; tags are exempt without it.
    pub digest_pull: bool,
    /// Tags exempt from `digest_pull`, in lower case.
    pub digest_pull_ignored_tags: Vec<String>,
    /// Whether sources are asked what their tags mean now.
    pub ask_sources: bool,
    /// How blobs are read; none to look only whether they are there.
    pub deep: Option<DeepReading>,
    /// Of requests to targets; none for as fast as they answer.
    pub pace: Option<Pace>,
}

/// Verifies images at their destinations.
pub struct Verifier {
    sources: Registries,
    /// By name of the target.
    stores: HashMap<String, Store>,
    settings: VerifierSettings,
    known: KnownParts,
}

impl Verifier {
    /// `stores` has the name of each target as its key.
    pub fn new(sources: Registries, stores: HashMap<String, Store>, settings: VerifierSettings) -> Self {
        Self { sources, stores, settings, known: KnownParts::default() }
    }

    /// The settings, with what was read.
    pub fn into_settings(self) -> VerifierSettings {
        self.settings
    }

    /// Verifies all images, each once for a destination; `on_verified` is called with each result. The results are sorted by
    /// destination.
    pub async fn verify(
        &self,
        images: impl IntoIterator<Item = DesiredImage>,
        on_verified: impl Fn(&VerifiedImage),
    ) -> Vec<VerifiedImage> {
        let mut by_workload = BTreeMap::<WorkloadId, Vec<DesiredImage>>::new();
        for image in images {
            by_workload.entry(image.image_use.workload.id.clone()).or_default().push(image);
        }
        let mut claims = Claims::default();
        for (workload, images) in by_workload {
            claims.set(&workload, images);
        }
        let jobs: Vec<CopyJob> = claims.keys().flat_map(|key| claims.jobs(key)).collect();
        let mut verifying = stream::iter(jobs)
            .map(|job| async move { self.verify_job(&job, &self.known).await })
            .buffer_unordered(CONCURRENT_IMAGES);
        let mut verified = Vec::new();
        while let Some(image) = verifying.next().await {
            on_verified(&image);
            verified.push(image);
        }
        verified.sort_by_cached_key(|image| (image.destination.to_string(), image.source.clone()));
        verified
    }

    pub(super) async fn verify_job(&self, job: &CopyJob, known: &KnownParts) -> VerifiedImage {
        let mut image = VerifiedImage {
            image: job.image.clone(),
            source: job.source.clone(),
            destination: job.destination.clone(),
            workloads: job.workloads.clone(),
            wholeness: Wholeness::Unknown,
            reason: None,
            problems: Vec::new(),
            problem_count: 0,
            digest_at_target: None,
            digest_at_source: job.source.digest().cloned(),
            running: job.running.clone(),
            parts: 0,
            bytes_read: 0,
        };
        let look = self.look_at(job, known, &mut image);
        let longest = self.settings.pace.as_ref().map_or(LONGEST_LOOK, |pace| pace.longest_look().max(LONGEST_LOOK));
        let is_late = match self.settings.deep {
            // As long as the budget lasts; each transfer has deadlines of its own.
            Some(_) => {
                look.await;
                false
            }
            None => timeout(longest, look).await.is_err(),
        };
        if is_late {
            image.reason = Some(format!("not verified within {} minutes", longest.as_secs() / 60));
        }
        image
    }

    async fn look_at(&self, job: &CopyJob, known: &KnownParts, image: &mut VerifiedImage) {
        let target_name = &job.destination.target.name;
        let Some(store) = self.stores.get(target_name) else {
            image.reason = Some(format!("target {target_name} is not configured"));
            return;
        };
        let repository = store.repository(&job.destination.repository);
        if let Some(pace) = &self.settings.pace {
            pace.wait().await;
        }
        let at_target = self.digest_at_target(job, &repository).await;
        let source_error = self.ask_source(job, image).await;
        let digest = match at_target {
            Ok(Some(digest)) => digest,
            Ok(None) => {
                image.wholeness = Wholeness::Missing;
                image.reason = Some("the target does not have it".to_owned());
                return;
            }
            Err(message) => {
                image.reason = Some(message);
                return;
            }
        };
        image.digest_at_target = Some(digest.clone());
        let platforms = self.platforms(job);
        let tree = Tree {
            target_name,
            repository_name: &job.destination.repository,
            repository: &repository,
            known,
            deep: self.settings.deep.as_ref(),
            pace: self.settings.pace.as_ref(),
            platforms: platforms.as_ref(),
            found: Found::default(),
        };
        let root = tree.look_at_root(&digest).await;
        // An index that was made for the target stands for the source's.
        let meant = root.and_then(|root| root.subset_of()).unwrap_or(digest);
        image.problems = std::mem::take(&mut *tree.found.problems.lock().await);
        image.problem_count = tree.found.problem_count.load(Ordering::Relaxed);
        image.parts = tree.found.parts.load(Ordering::Relaxed);
        image.bytes_read = tree.found.read.load(Ordering::Relaxed);
        (image.wholeness, image.reason) = self.judge(job, &tree.found, &meant, image, source_error);
    }

    fn judge(
        &self,
        job: &CopyJob,
        found: &Found,
        meant: &Digest,
        image: &VerifiedImage,
        source_error: Option<String>,
    ) -> (Wholeness, Option<String>) {
        let (missing, corrupt) = (found.count(PartProblemKind::Missing), found.count(PartProblemKind::Corrupt));
        let unknown = found.count(PartProblemKind::Unknown);
        let first = |kind| image.problems.iter().find(|problem| problem.kind == kind);
        let parts = |count: usize, word: &str, kind| {
            let first = first(kind).map_or(String::new(), |problem| {
                format!(", first the {} {}: {}", problem.part.name(), problem.digest, problem.message)
            });
            Some(format!("{count} {} {word}{first}", if count == 1 { "part is" } else { "parts are" }))
        };
        if missing > 0 {
            return (Wholeness::Incomplete, parts(missing, "missing", PartProblemKind::Missing));
        }
        if corrupt > 0 {
            return (Wholeness::Corrupt, parts(corrupt, "corrupt", PartProblemKind::Corrupt));
        }
        if unknown > 0 {
            return (Wholeness::Unknown, parts(unknown, "not verified", PartProblemKind::Unknown));
        }
        if let Role::Conflict { owner } = &job.role
            && image.digest_at_source.as_ref() != Some(meant)
        {
            let reason = format!("the destination belongs to {owner}: this is not the image that the workload names");
            return (Wholeness::Missing, Some(reason));
        }
        if let Some(at_source) = &image.digest_at_source
            && at_source != meant
        {
            return (Wholeness::Drifted, Some(format!("the source has {at_source}, the target {meant}")));
        }
        // Without the source the Pods tell what the tag meant.
        if image.digest_at_source.is_none()
            && let Some(running) = image.running.first()
            && !image.running.contains(meant)
        {
            return (Wholeness::Drifted, Some(format!("Pods run {running}, the target has {meant}")));
        }
        (Wholeness::Whole, source_error.map(|error| format!("not compared with the source: {error}")))
    }

    async fn digest_at_target(&self, job: &CopyJob, repository: &StoreRepository) -> Result<Option<Digest>, String> {
        let reference = match (job.tag(), job.source.digest().or(job.running.first())) {
            (Some(tag), _) => ManifestRef::Tag(tag),
            (None, Some(digest)) => ManifestRef::KeptDigest(digest),
            (None, None) => return Err("neither a tag nor a digest is known".to_owned()),
        };
        repository.entry(reference).await.map_err(|error| error_chain(&error))
    }

    /// What the source has now. Returns why it is not known.
    async fn ask_source(&self, job: &CopyJob, image: &mut VerifiedImage) -> Option<String> {
        if job.source.digest().is_some() || !self.settings.ask_sources {
            return None;
        }
        let source: &Reference = &job.source;
        let repository = self.sources.repository(source.registry(), source.repository());
        match repository.head(TagOrDigest::Tag(source.tag().unwrap_or("latest"))).await {
            Ok(Some(digest)) => {
                image.digest_at_source = Some(digest);
                None
            }
            Ok(None) => Some("the source does not have the tag any more".to_owned()),
            Err(error) => Some(error.to_string()),
        }
    }

    fn platforms(&self, job: &CopyJob) -> Option<crate::mirror::copying::RequestedPlatforms> {
        let settings = self.settings.platforms.as_ref()?;
        let tag = job.source.tag().unwrap_or("latest").to_lowercase();
        let is_ignored = job.source.digest().is_none() && self.settings.digest_pull_ignored_tags.contains(&tag);
        (self.settings.digest_pull && !is_ignored).then(|| settings.requested(job))
    }
}
