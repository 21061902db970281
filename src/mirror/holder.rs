//! Whose image the target has under a name, where several repositories' images want it and the memory of this process
//! does not tell.

use crate::{
    model::{Digest, Failure, Reference},
    registry::{ManifestRef, Repository, Selector, StoreRepository},
};

use super::{
    check::Found,
    copy::Copier,
    failure::at_target,
    job::{CopyJob, Role},
};

impl Copier {
    /// Which of the contenders the target has a name from: the one whose repository knows what is there. Where nobody
    /// does it is one that could not be asked, and else the first. Each contender is the images of one repository; the
    /// jobs are theirs.
    pub(super) async fn holder(
        &self,
        jobs: &[CopyJob],
        contenders: &[Vec<Reference>],
    ) -> Result<Option<Reference>, Failure> {
        let candidates = || contenders.iter().filter_map(|images| images.first());
        let first = candidates().next().cloned();
        let Some(job) = jobs.iter().find(|job| job.tag().is_some()).filter(|_| !self.settings.dry_pull) else {
            return Ok(first);
        };
        let target = self.store(job)?.repository(&job.destination.repository);
        let present = match job.tag() {
            Some(tag) => match target.find(ManifestRef::Tag(tag)).await {
                // As where nothing is there: it is to be written, and must not wait for an answer that never comes.
                Err(error) if error.is_server_error() => None,
                found => found.map_err(|error| at_target(&error))?,
            },
            None => None,
        };
        let Some(present) = present else { return Ok(first) };
        let present = self.original(&target, present).await?;
        let mut silent = None;
        for candidate in candidates() {
            let source = self.sources.repository(candidate.registry(), candidate.repository());
            match knows(&source, &present).await {
                Some(true) => return Ok(Some(candidate.clone())),
                Some(false) => {}
                None => silent = silent.or(Some(candidate)),
            }
        }
        Ok(silent.cloned().or(first))
    }

    /// What the tag points to that the job is about to move, if the source does not know it. A source that can't say is
    /// taken to know it: it has just said what the tag means.
    pub(super) async fn taken_from_another(&self, job: &CopyJob, found: &Found) -> Result<Option<Digest>, Failure> {
        let moved = found.present.as_ref().filter(|present| **present != found.wanted);
        let Some(present) = moved.filter(|_| job.role == Role::Holder && !job.holds_tag) else { return Ok(None) };
        let original = self.original(&found.target, present.clone()).await?;
        let is_known = original == found.wanted || knows(&found.source, &original).await.unwrap_or(true);
        Ok((!is_known).then(|| present.clone()))
    }

    /// The source's digest of what a target has: it may be an index that was made for the target.
    async fn original(&self, target: &StoreRepository, present: Digest) -> Result<Digest, Failure> {
        if self.settings.platforms.is_none() {
            return Ok(present);
        }
        Ok(self.made_from(target, &present).await?.unwrap_or(present))
    }
}

/// Whether a repository has this manifest; none where it does not say.
async fn knows(source: &Repository, digest: &Digest) -> Option<bool> {
    match source.head(Selector::Digest(digest)).await {
        Ok(found) => Some(found.is_some()),
        Err(error) => {
            tracing::debug!(%digest, %error, "the source does not say whether it has it");
            None
        }
    }
}
