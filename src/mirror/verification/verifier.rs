//! Verifies the images that workloads use.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
    time::Duration,
};

use futures::{StreamExt, stream};
use tokio::time::timeout;

use super::{
    deep::DeepReading,
    found::Found,
    judgement::{Findings, judge, judge_parts},
    known_parts::KnownParts,
    made_index::{MadeIndex, SourceIndexes, WantedPlatforms},
    referrers::ReferrerTree,
    root::{self, Root},
    settings::{SourceQuestions, VerifierSettings},
    tree::{Owner, Tree},
};
use crate::{
    mirror::{
        claims::{Claims, DesiredImage},
        copying::{ManifestTreeLimits, RequestedPlatforms, Source, Sources},
        job::CopyJob,
    },
    model::{Digest, PullSecrets, VerifiedImage, Wholeness, WorkloadId, error_chain},
    registry::{Manifest, Registries, Store, TagOrDigest},
};

/// Images that are verified at once.
const CONCURRENT_IMAGES: usize = 8;

/// The longest look at one image without reading its blobs.
const LONGEST_LOOK: Duration = Duration::from_secs(15 * 60);

/// Verifies images at their destinations.
pub struct Verifier {
    sources: Sources,
    /// By name of the target.
    stores: HashMap<String, Store>,
    settings: VerifierSettings,
    known: KnownParts,
    indexes: SourceIndexes,
}

impl Verifier {
    /// `stores` has the name of each target as its key.
    pub fn new(registries: Registries, stores: HashMap<String, Store>, settings: VerifierSettings) -> Self {
        let sources = Sources { registries, pull_secrets: None };
        Self { sources, stores, settings, known: KnownParts::default(), indexes: SourceIndexes::default() }
    }

    /// Reads sources with the logins in pull secrets first.
    #[must_use]
    pub fn with_pull_secrets(mut self, pull_secrets: Arc<dyn PullSecrets>) -> Self {
        self.sources.pull_secrets = Some(pull_secrets);
        self
    }

    /// What was read so far; none if blobs are not read.
    pub fn deep(&self) -> Option<&DeepReading> {
        self.settings.deep.as_ref()
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
        let found = Found::default();
        let look = self.look_at(job, known, &found, &mut image);
        let longest = self.settings.pace.as_ref().map_or(LONGEST_LOOK, |pace| pace.longest_look().max(LONGEST_LOOK));
        let is_late = match self.settings.deep {
            // As long as the budget lasts; each transfer has deadlines of its own.
            Some(_) => {
                look.await;
                false
            }
            None => timeout(longest, look).await.is_err(),
        };
        image.problems = found.problems();
        image.problem_count = found.problem_count();
        image.parts = found.parts();
        image.bytes_read = found.bytes_read();
        if is_late {
            let late = format!("not verified within {} minutes", longest.as_secs() / 60);
            // What was found until then stays true.
            (image.wholeness, image.reason) = match judge_parts(&found) {
                Some((wholeness, reason)) => (wholeness, Some(format!("{reason}; {late}"))),
                None => (Wholeness::Unknown, Some(late)),
            };
        }
        image
    }

    async fn look_at(&self, job: &CopyJob, known: &KnownParts, found: &Found, image: &mut VerifiedImage) {
        let target_name = &job.destination.target.name;
        let Some(store) = self.stores.get(target_name) else {
            image.reason = Some(format!("target {target_name} is not configured"));
            return;
        };
        let source = self.sources.source(&job.source, &job.pull_secrets);
        let source_error = self.ask_source(job, &source, image).await;
        let repository = store.repository(&job.destination.repository);
        let tree = Tree {
            target_name,
            repository_name: &job.destination.repository,
            repository: &repository,
            known,
            deep: self.settings.deep.as_ref(),
            pace: self.settings.pace.as_ref(),
            found,
        };
        let named = job.source.digest();
        let wanted = match job.tag() {
            Some(_) => named,
            None => named.or(job.running.first()).or(image.digest_at_source.as_ref()),
        };
        let (root, at_target) = root::find(&tree, job, wanted).await;
        image.digest_at_target = at_target;
        let root = match root {
            Root::Found(root) => root,
            Root::Missing(reason) => {
                image.wholeness = Wholeness::Missing;
                image.reason = Some(reason);
                return;
            }
            Root::Unknown(reason) => {
                image.reason = Some(reason);
                return;
            }
        };
        let mut findings = Findings {
            job,
            found,
            root: &root,
            meant: &root.digest,
            platforms_unknown: None,
            notes: source_error.iter().map(|error| format!("not compared with the source: {error}")).collect(),
        };
        let made_of = root.manifest.as_ref().filter(|_| wanted.is_none()).and_then(Manifest::subset_of);
        if let Some(manifest) = &root.manifest {
            // A source that did not answer is not asked again.
            let source = Some(&source).filter(|_| source_error.is_none());
            let requested = self.settings.copy.requested_platforms(job).unwrap_or(RequestedPlatforms::All);
            let (required, of) = match &made_of {
                Some(of) => {
                    let at_source = image.digest_at_source.as_ref();
                    let made = MadeIndex {
                        job,
                        made: manifest,
                        of,
                        requested: &requested,
                        settings: self.settings.copy.platforms.as_ref(),
                        source: source.filter(|_| self.settings.questions != SourceQuestions::Nothing),
                        at_source,
                        indexes: &self.indexes,
                    };
                    match made.wanted().await {
                        WantedPlatforms::Original => (required(manifest, &requested), None),
                        WantedPlatforms::Known { required, missing } => {
                            missing.into_iter().for_each(|problem| found.add(problem));
                            (Some(required), Some(of))
                        }
                        WantedPlatforms::NotKnown { required, reason } => {
                            findings.platforms_unknown = Some(reason);
                            (Some(required), Some(of))
                        }
                    }
                }
                None => (required(manifest, &requested), None),
            };
            findings.meant = of.unwrap_or(&root.digest);
            tree.look_below(manifest, required.as_ref(), Owner::Image, &ManifestTreeLimits::default()).await;
            if let Some(selection) = self.settings.copy.referrers.of(target_name) {
                let source = source.filter(|_| self.settings.questions == SourceQuestions::All);
                findings.notes.extend(ReferrerTree::new(&tree, selection, source).look_at(manifest, &requested).await);
            }
        }
        (image.wholeness, image.reason) = judge(findings, image);
    }

    /// What the source has now. Returns why it is not known.
    async fn ask_source(&self, job: &CopyJob, source: &Source, image: &mut VerifiedImage) -> Option<String> {
        if job.source.digest().is_some() || self.settings.questions != SourceQuestions::All {
            return None;
        }
        match source.head(TagOrDigest::Tag(job.source.tag().unwrap_or("latest"))).await {
            Ok(Some(digest)) => {
                image.digest_at_source = Some(digest);
                None
            }
            Ok(None) => Some("the source does not have the tag any more".to_owned()),
            Err(error) => Some(error_chain(&error)),
        }
    }
}

/// Of the entries of an index those that copies select; none for all.
fn required(index: &Manifest, requested: &RequestedPlatforms) -> Option<BTreeSet<Digest>> {
    if *requested == RequestedPlatforms::All {
        return None;
    }
    // A malformed index is noted where its contents are read.
    let entries = index.entries().ok().flatten()?;
    Some(requested.matching(&entries).kept)
}
