//! Looks whether a job is done already, before anything is moved.

use crate::{
    model::{Digest, Failure, FailureKind, Retry, Status},
    registry::{ManifestRef, Repository, Selector, Store, StoreError, StoreRepository},
};
use tracing::warn;

use super::{
    copy::{Attempt, Copier},
    failure::{at_source, at_target},
    job::{CopyJob, Role},
    subsets::Wish,
};

/// What an attempt knows before it moves anything.
pub(super) struct Found {
    pub source: Repository,
    pub store: Store,
    pub target: StoreRepository,
    /// The source's digest of the image.
    pub wanted: Digest,
    /// That is what the source says that the tag means.
    pub is_resolved: bool,
    /// That is what Pods say that they run, and nobody else.
    pub is_by_pods: bool,
    /// What the target has under the tag.
    pub present: Option<Digest>,
    /// Why that could not be found out, where the target broke down over the question: it may have anything then.
    pub unseen: Option<Failure>,
    /// The target has `wanted`, but not all that is wished of it.
    pub is_incomplete: bool,
    /// Which part of an index is wished; none where it is the whole.
    pub wish: Option<Wish>,
}

/// Where an attempt stands before anything is moved.
pub(super) enum Check {
    Settled(Status),
    Missing(Box<Found>),
}

impl Copier {
    /// Asks the target, and the source only where the digest is not known otherwise.
    ///
    /// Of what Pods say the digest alone counts, and only as long as they are believed: which repository they pulled it
    /// from is for them to say, and not what the image's name means.
    pub(super) async fn check(
        &self,
        job: &CopyJob,
        believe_pods: bool,
        attempt: &Attempt<'_>,
    ) -> Result<Check, Failure> {
        let store = self.store(job)?;
        let target = store.repository(&job.destination.repository);
        let source = self.sources.repository(job.source.registry(), job.source.repository());
        let by_pods = job.running.first().filter(|_| believe_pods && self.pulls_what_runs(job));
        let is_by_pods = by_pods.is_some();
        let known = job.source.digest().or(by_pods).cloned();
        let is_resolved = known.is_none();
        let resolve = async || {
            let resolved = resolve(&source, job).await;
            if resolved.is_ok() {
                attempt.source_answers();
            }
            resolved
        };
        let found = |(present, unseen), wanted: Digest| {
            let wish = self.wish(job, &wanted);
            let (source, store, target) = (source.clone(), store.clone(), target.clone());
            let is_incomplete = false;
            Box::new(Found {
                source,
                store,
                target,
                wanted,
                is_resolved,
                is_by_pods,
                present,
                unseen,
                is_incomplete,
                wish,
            })
        };
        let Some(tag) = job.tag() else {
            let wanted = match known {
                Some(known) => known,
                None => resolve().await?,
            };
            let mut found = found((None, None), wanted);
            if self.is_kept(&found.target, &found.wanted).await? {
                if self.has_wished(&found, &found.wanted, false).await? {
                    return Ok(Check::Settled(Status::AlreadyThere(found.wanted)));
                }
                found.is_incomplete = true;
            }
            return Ok(Check::Missing(found));
        };
        let present = look(&target, ManifestRef::Tag(tag), job);
        let told = told_by_pods(job).filter(|_| believe_pods);
        let (present, wanted, by_pods) = match (known, told) {
            (Some(known), _) => (present.await?, known, job.source.digest().is_none()),
            (None, Some(told)) => match present.await? {
                (Some(present), _) if present == *told => ((Some(present), None), told.clone(), true),
                present => (present, resolve().await?, false),
            },
            // Whatever the target says, only the source can tell whether that is right.
            (None, None) => {
                let (present, wanted) = futures::join!(present, resolve());
                (present?, wanted?, false)
            }
        };
        let mut found = found(present, wanted);
        match self.suffices(&mut found, by_pods).await? {
            Some(digest) => Ok(Check::Settled(Status::AlreadyThere(digest))),
            None => Ok(Check::Missing(found)),
        }
    }

    /// Where the job goes.
    pub(super) fn store(&self, job: &CopyJob) -> Result<&Store, Failure> {
        self.stores.get(&job.destination.target.name).ok_or_else(|| Failure {
            kind: FailureKind::Target,
            message: format!("target {} is not configured", job.destination.target.name),
            retry: Retry::Later,
        })
    }

    /// What the target has under the tag, if that is all that is wished. Pods that pull from the target (`by_pods`) may
    /// run an index that was made for it, and that the source does not know.
    async fn suffices(&self, found: &mut Found, by_pods: bool) -> Result<Option<Digest>, Failure> {
        let present = found.present.clone();
        if let (Some(present), Some(wish)) = (&present, &found.wish)
            && self.subsets.grants(wish, present)
        {
            return Ok(Some(present.clone()));
        }
        if let Some(present) = &present
            && self.is_there(found, present, by_pods).await?
        {
            return Ok(Some(found.wanted.clone()));
        }
        if by_pods
            && found.wish.is_some()
            && let Some(whole) = self.made_from(&found.target, &found.wanted).await?
        {
            found.wanted = whole;
            found.is_incomplete = false;
            if let Some(present) = &present
                && self.is_there(found, present, false).await?
            {
                return Ok(Some(found.wanted.clone()));
            }
        }
        Ok(None)
    }

    async fn is_there(&self, found: &mut Found, present: &Digest, may_be_made: bool) -> Result<bool, Failure> {
        if !is_same(&found.target, present, &found.wanted).await? {
            return Ok(false);
        }
        let has_wished = self.has_wished(found, present, may_be_made).await?;
        found.is_incomplete = !has_wished;
        Ok(has_wished)
    }

    /// Whether the target may be given what was found to be missing.
    pub(super) fn may_write(&self, job: &CopyJob, found: &Found) -> Result<(), Failure> {
        if found.is_incomplete {
            return Ok(());
        }
        // What must stay as it is has to be known, and so has what is there if somebody else is to have the name.
        if let Some(unseen) = &found.unseen
            && (!self.may_move(job) || matches!(job.role, Role::Rival { .. }))
        {
            return Err(unseen.clone());
        }
        if let Some(present) = &found.present
            && !self.may_move(job)
        {
            return Err(Failure {
                kind: FailureKind::DifferentDigest,
                message: format!(
                    "{} has digest {present}, the source has {}, and allowDifferentDigestRepush is false",
                    job.destination, found.wanted
                ),
                retry: Retry::Later,
            });
        }
        match &job.role {
            Role::Rival { holder } => Err(conflict(job, holder)),
            Role::Holder | Role::ByDigest => Ok(()),
        }
    }

    /// Whether what has this digest is kept by it. What is there already, under a tag that may move away, is kept from
    /// then on: the source may be gone by the time the tag does.
    async fn is_kept(&self, target: &StoreRepository, digest: &Digest) -> Result<bool, Failure> {
        let place = ManifestRef::KeptDigest(digest);
        match target.find(place).await {
            Ok(Some(kept)) => return is_same(target, &kept, digest).await,
            Ok(None) => {}
            Err(error) if is_unknown(target, &error).await => return Ok(false),
            Err(error) => return Err(at_target(&error)),
        }
        if self.settings.dry_run {
            return Ok(false);
        }
        let manifest = match target.manifest(digest).await {
            Ok(Some(manifest)) => manifest,
            Ok(None) => return Ok(false),
            Err(error) if is_unknown(target, &error).await => return Ok(false),
            Err(error) => return Err(at_target(&error)),
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
        job.source.digest().is_none() && self.pulls_by_digest(job)
    }

    /// Whether `digestPull` holds for the job.
    pub(super) fn pulls_by_digest(&self, job: &CopyJob) -> bool {
        let tag = job.source.tag().unwrap_or("latest").to_lowercase();
        let is_ignored = job.source.digest().is_none() && self.settings.digest_pull_ignored_tags.contains(&tag);
        self.settings.digest_pull && !is_ignored
    }

    fn may_move(&self, job: &CopyJob) -> bool {
        self.settings.allow_different_digest_repush
            || matches!(job.role, Role::Rival { .. })
            || job.tag().is_none_or(|tag| tag.eq_ignore_ascii_case("latest"))
    }
}

/// What the target has there; or why that is not known, where it can be written to all the same.
async fn look(
    target: &StoreRepository,
    place: ManifestRef<'_>,
    job: &CopyJob,
) -> Result<(Option<Digest>, Option<Failure>), Failure> {
    match target.find(place).await {
        Ok(present) => Ok((present, None)),
        Err(error) if is_unknown(target, &error).await => {
            warn!(target = %job.destination, %error, "the target can't tell what it has there, so it is written anew");
            Ok((None, Some(at_target(&error))))
        }
        Err(error) => Err(at_target(&error)),
    }
}

/// Whether a target broke down over a question, and is at work otherwise: then it may have half of what was asked for, and
/// heals when that is written to it. Where it is down altogether nothing is asked of the source, which may count that.
pub(super) async fn is_unknown(target: &StoreRepository, error: &StoreError) -> bool {
    error.is_server_error() && target.is_up().await
}

/// Whether what the target calls `present` has the digest `wanted`. A registry tells digests of one algorithm, mostly
/// SHA-256; one by another algorithm is computed from the bytes.
pub(super) async fn is_same(target: &StoreRepository, present: &Digest, wanted: &Digest) -> Result<bool, Failure> {
    if present.algorithm() == wanted.algorithm() {
        return Ok(present == wanted);
    }
    let manifest = target.manifest(present).await.map_err(|error| at_target(&error))?;
    Ok(manifest.is_some_and(|manifest| wanted.matches(manifest.bytes())))
}

/// What all Pods say that they run. Where they differ, only the source knows what the tag means now; and a pass asks it
/// whatever they say.
fn told_by_pods(job: &CopyJob) -> Option<&Digest> {
    match job.running.as_slice() {
        [told] if !job.resolve_tag => Some(told),
        _ => None,
    }
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
