//! Copies what was found at the source.

use std::collections::HashSet;

use futures::{StreamExt, stream};
use tracing::info;

use super::{
    budget::ByteBudget,
    discovery::{DigestTag, SubjectReferrers},
    locks::SubjectLocks,
    selection::ReferrerSelection,
};
use crate::{
    mirror::{
        copying::{endpoints::Endpoints, settings::CopySettings, target_lookup::is_same, transfer::Transfer},
        job::CopyJob,
    },
    model::{Digest, Failure, ReferrerFailure, ReferrerOutcome, Retry, error_chain},
    registry::{Error, Manifest, ManifestRef, ReferrerDescriptor, ReferrerEntry, StoreError, StoredReferrers},
};

/// Referrers of one subject that are copied at once.
const CONCURRENT_COPIES: usize = 4;

/// Copies the referrers of one image.
pub(super) struct ReferrerTransfer<'a> {
    pub job: &'a CopyJob,
    pub settings: &'a CopySettings,
    pub selection: &'a ReferrerSelection,
    pub endpoints: &'a Endpoints<'a>,
    pub transfer: &'a Transfer<'a>,
    pub locks: &'a SubjectLocks,
    pub budget: &'a ByteBudget,
}

/// What became of one referrer.
enum Copied {
    /// It was copied, or has to be listed.
    New(NewReferrer),
    AlreadyThere(Digest, Option<String>),
    /// The list did not say what it is, and it is not to be copied.
    NotSelected,
    Failed(ReferrerFailure),
}

/// A referrer that was copied; without its manifest, of which there may be many.
struct NewReferrer {
    descriptor: ReferrerDescriptor,
    artifact_type: String,
}

/// Why a referrer was not copied.
#[derive(Debug)]
struct Cause {
    message: String,
    retry: Retry,
}

impl Cause {
    fn permanent(message: impl Into<String>) -> Self {
        Self { message: message.into(), retry: Retry::Later }
    }

    fn of(self, referrer: String) -> ReferrerFailure {
        ReferrerFailure { referrer, message: self.message, retry: self.retry }
    }
}

impl From<Failure> for Cause {
    fn from(failure: Failure) -> Self {
        Self { message: failure.message, retry: failure.retry }
    }
}

impl From<Error> for Cause {
    fn from(error: Error) -> Self {
        Self { message: error_chain(&error), retry: error.retry() }
    }
}

impl From<StoreError> for Cause {
    fn from(error: StoreError) -> Self {
        Self { message: error_chain(&error), retry: error.retry() }
    }
}

impl ReferrerTransfer<'_> {
    /// Copies what belongs to one manifest, which must be at the target. Also returns the digests of what is there now and may
    /// have referrers itself.
    pub async fn copy(&self, found: &SubjectReferrers) -> (ReferrerOutcome, Vec<Digest>) {
        let mut outcome = ReferrerOutcome::default();
        let mut present = Vec::new();
        if !found.listed.is_empty() {
            self.copy_listed(found, &mut outcome, &mut present).await;
        }
        for tag in &found.tags {
            match self.copy_tag(tag).await {
                Ok(is_new) => {
                    *(if is_new { &mut outcome.copied } else { &mut outcome.already_there }) += 1;
                    if self.selection.continues_below(tag.artifact_type) {
                        present.push(tag.digest.clone());
                    }
                }
                Err(cause) => outcome.fail(cause.of(tag.tag.clone())),
            }
        }
        (outcome, present)
    }

    async fn copy_listed(&self, found: &SubjectReferrers, outcome: &mut ReferrerOutcome, present: &mut Vec<Digest>) {
        let subject = &found.subject;
        let stored = match self.endpoints.target.referrers(subject).await {
            Ok(stored) => stored,
            Err(error) => {
                outcome.fail(Cause::from(error).of(format!("the referrers of {subject} at the target")));
                return;
            }
        };
        let copied: Vec<Copied> = stream::iter(found.listed.iter().cloned())
            .map(|entry| self.copy_entry(subject, entry, &stored))
            .buffered(CONCURRENT_COPIES)
            .collect()
            .await;
        let mut new = Vec::new();
        for copied in copied {
            match copied {
                Copied::New(referrer) => new.push(referrer),
                Copied::AlreadyThere(digest, artifact_type) => {
                    outcome.already_there += 1;
                    // Of an unknown type if only the manifest tells.
                    if self.selection.continues_below(artifact_type.as_deref().unwrap_or_default()) {
                        present.push(digest);
                    }
                }
                Copied::NotSelected => {}
                Copied::Failed(failure) => outcome.fail(failure),
            }
        }
        if new.is_empty() {
            return;
        }
        match self.list(subject, &new, &stored).await {
            Ok(unlisted) => {
                for NewReferrer { descriptor, artifact_type } in new {
                    if unlisted.contains(&descriptor.digest) {
                        outcome.fail(not_listed(subject).of(named(&descriptor.digest, Some(&artifact_type))));
                        continue;
                    }
                    outcome.copied += 1;
                    if self.selection.continues_below(&artifact_type) {
                        present.push(descriptor.digest);
                    }
                }
            }
            Err(cause) => {
                let count = new.len();
                outcome.fail(cause.of(format!("the list of the referrers of {subject}")));
                outcome.failed += count - 1;
            }
        }
    }

    /// Makes the target list new referrers, and returns those that it does not list all the same.
    async fn list(
        &self,
        subject: &Digest,
        new: &[NewReferrer],
        stored: &StoredReferrers,
    ) -> Result<HashSet<Digest>, Cause> {
        let target = &self.endpoints.target;
        if stored.lists_by_itself {
            let listed = target.referrers(subject).await?;
            let digests = new.iter().map(|referrer| referrer.descriptor.digest.clone());
            // Of a list that is cut nothing follows.
            return Ok(digests.filter(|digest| !listed.is_cut && !listed.listed.contains_key(digest)).collect());
        }
        let added: Vec<ReferrerDescriptor> = new.iter().map(|referrer| referrer.descriptor.clone()).collect();
        let _turn = self.locks.lock(self.job, subject).await;
        target.list_referrers(subject, &added).await?;
        Ok(HashSet::new())
    }

    async fn copy_entry(&self, subject: &Digest, entry: ReferrerEntry, stored: &StoredReferrers) -> Copied {
        let mut artifact_type = entry.artifact_type.clone();
        match self.try_copy_entry(subject, &entry, stored, &mut artifact_type).await {
            Ok(copied) => copied,
            Err(cause) => Copied::Failed(cause.of(named(&entry.digest, artifact_type.as_deref()))),
        }
    }

    async fn try_copy_entry(
        &self,
        subject: &Digest,
        entry: &ReferrerEntry,
        stored: &StoredReferrers,
        known_type: &mut Option<String>,
    ) -> Result<Copied, Cause> {
        let target = &self.endpoints.target;
        if let Some(artifact_type) = stored.listed.get(&entry.digest) {
            // A list that others maintain may name what is not there.
            let is_there = if self.job.is_damaged {
                self.has_all_of(&entry.digest).await?
            } else {
                stored.lists_by_itself || target.find(ManifestRef::Child(&entry.digest)).await?.is_some()
            };
            if is_there {
                let artifact_type = entry.artifact_type.as_ref().or(artifact_type.as_ref());
                return Ok(Copied::AlreadyThere(entry.digest.clone(), artifact_type.cloned()));
            }
        }
        if stored.lists_by_itself
            && !stored.listed.contains_key(&entry.digest)
            && let Some(manifest) = target.manifest(&entry.digest).await?
        {
            // Pushed before; it would be pushed again and again.
            refers_to(subject, &manifest)?;
            if stored.is_cut {
                return Ok(Copied::AlreadyThere(entry.digest.clone(), entry.artifact_type.clone()));
            }
            return Err(not_listed(subject));
        }
        let manifest = self.endpoints.manifest(&entry.digest).await?;
        refers_to(subject, &manifest)?;
        let artifact_type = manifest.artifact_type().unwrap_or_default();
        *known_type = Some(artifact_type.clone());
        if !self.selection.accepts(&artifact_type) {
            return Ok(Copied::NotSelected);
        }
        self.push(ManifestRef::Child(&entry.digest), &manifest).await?;
        self.copied(&named(&entry.digest, Some(&artifact_type)));
        Ok(Copied::New(NewReferrer { descriptor: entry.describing(&manifest)?, artifact_type }))
    }

    /// Returns whether the tag was copied; otherwise it was there.
    async fn copy_tag(&self, DigestTag { tag, digest, .. }: &DigestTag) -> Result<bool, Cause> {
        let target = &self.endpoints.target;
        let reference = ManifestRef::Tag(tag);
        let present = target.find(reference).await?;
        if let Some(present) = &present
            && is_same(target, present, digest).await?
            && (!self.job.is_damaged || self.has_all_of(present).await?)
        {
            return Ok(false);
        }
        let manifest = self.endpoints.manifest(digest).await?;
        if present.is_some_and(|present| present != *digest) {
            self.may_replace(tag, &manifest).await?;
        }
        self.push(reference, &manifest).await?;
        match target.find(reference).await? {
            Some(pushed) if is_same(target, &pushed, digest).await? => {}
            _ => {
                return Err(Cause {
                    message: "after the push the target does not have it".to_owned(),
                    retry: Retry::Soon,
                });
            }
        }
        self.copied(tag);
        Ok(true)
    }

    /// Signatures that were added at the target must not get lost.
    async fn may_replace(&self, tag: &str, new: &Manifest) -> Result<(), Cause> {
        let Some(present) = self.endpoints.target.tagged(tag).await? else { return Ok(()) };
        if !self.settings.allow_different_digest_repush {
            let present = present.digest();
            let message = format!(
                "the target has {present}, the source has {}, and allowDifferentDigestRepush is false",
                new.digest()
            );
            return Err(Cause::permanent(message));
        }
        if has_all_layers(new, &present) {
            return Ok(());
        }
        Err(Cause::permanent("the target's tag has signatures that the source's lacks; it is not replaced"))
    }

    /// Copies what a referrer at the target lacks; false if its manifest is missing or has other bytes.
    async fn has_all_of(&self, digest: &Digest) -> Result<bool, Cause> {
        match self.endpoints.target.read_manifest(digest).await {
            Ok(Some(manifest)) => {
                self.transfer.copy_contents(&manifest).await?;
                Ok(true)
            }
            Ok(None) => Ok(false),
            Err(error) if error.is_wrong_content() || error.is_server_error() => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    async fn push(&self, reference: ManifestRef<'_>, manifest: &Manifest) -> Result<(), Cause> {
        self.budget.count(manifest).map_err(Cause::permanent)?;
        let mut has_repeated = false;
        loop {
            self.transfer.copy_contents(manifest).await?;
            match self.endpoints.target.put(reference, manifest).await {
                // As for an image: a part may have been deleted since it was found.
                Err(error) if error.is_rejection() && !has_repeated => has_repeated = true,
                put => return Ok(put?),
            }
        }
    }

    fn copied(&self, referrer: &str) {
        let (workload, source, target) = (self.job.workload(), &self.job.source, &self.job.destination);
        info!(workload, %source, %target, referrer, "copied a referrer");
    }
}

/// Whether a manifest of signatures under one of cosign's tags has all signatures of another one, which are its layers.
pub(in crate::mirror) fn has_all_layers(manifest: &Manifest, other: &Manifest) -> bool {
    // Two signatures of one payload differ in the annotations of their layers.
    match (manifest.layer_descriptors(), other.layer_descriptors()) {
        (Some(layers), Some(others)) => others.iter().all(|layer| layers.contains(layer)),
        _ => false,
    }
}

fn refers_to(subject: &Digest, manifest: &Manifest) -> Result<(), Cause> {
    let named = manifest.subject();
    if named.as_ref() == Some(subject) {
        return Ok(());
    }
    let named = named.map_or("nothing".to_owned(), |other| other.to_string());
    let message = format!("the source lists it as a referrer of {subject}, but it refers to {named}; not copied");
    Err(Cause::permanent(message))
}

fn not_listed(subject: &Digest) -> Cause {
    Cause::permanent(format!("the target has it and does not list it as a referrer of {subject}"))
}

/// `DIGEST (TYPE)`
fn named(digest: &Digest, artifact_type: Option<&str>) -> String {
    artifact_type.map_or_else(|| digest.to_string(), |artifact_type| format!("{digest} ({artifact_type})"))
}
