//! Loads the referrers that a list of the layout names, and makes the target list them.

use futures::{StreamExt as _, stream};

use super::content::{ContentCopy, PresentManifest};
use crate::{
    mirror::copying::at_target,
    model::{Digest, Failure, FailureKind, ReferrerFailure, ReferrerOutcome, Retry, error_chain},
    registry::{Manifest, ManifestRef, ReferrerDescriptor, ReferrerEntry, StoredReferrers},
};

/// Referrers of one list that are loaded at once.
const CONCURRENT_REFERRERS: usize = 4;

/// A list of referrers in the layout.
pub(super) struct ReferrerList<'a> {
    pub tag: &'a str,
    pub manifest: &'a Manifest,
}

/// What became of one referrer.
enum Became {
    AlreadyThere,
    /// It is listed, and parts of it were missing.
    Mended,
    /// It has to be listed. In a dry run: it would have been copied.
    New(ReferrerDescriptor),
}

impl ReferrerList<'_> {
    /// Loads them; what is wrong with one of them is in the outcome.
    pub async fn load(&self, content: &ContentCopy<'_>) -> Result<ReferrerOutcome, Failure> {
        let entries = self.manifest.referrers().map_err(|error| no_list(&error_chain(&error)))?;
        let subject = self.subject(&entries, content).await?;
        let stored = content.repository.referrers(&subject).await.map_err(|error| at_target(&error))?;
        let mut outcome = ReferrerOutcome::default();
        let mut new = Vec::new();
        let mut loading = stream::iter(entries.iter().cloned())
            .map(|entry| {
                let (subject, stored) = (&subject, &stored);
                async move { (entry.digest.clone(), load_entry(subject, &entry, stored, content).await) }
            })
            .buffered(CONCURRENT_REFERRERS);
        while let Some((digest, became)) = loading.next().await {
            match became {
                Ok(Became::AlreadyThere) => outcome.already_there += 1,
                Ok(Became::Mended) => outcome.copied += 1,
                Ok(Became::New(descriptor)) => new.push(descriptor),
                Err(failure) => outcome.fail(of(&digest, failure)),
            }
        }
        drop(loading);
        if content.dry_run || new.is_empty() {
            outcome.copied += new.len();
            return Ok(outcome);
        }
        let unlisted = self.list(&subject, &new, &stored, outcome.failed == 0, content).await?;
        outcome.copied += new.len() - unlisted.len();
        for digest in unlisted {
            outcome.fail(of(&digest, not_listed(&subject)));
        }
        Ok(outcome)
    }

    /// The tag has only a part of a longer digest.
    async fn subject(&self, entries: &[ReferrerEntry], content: &ContentCopy<'_>) -> Result<Digest, Failure> {
        if let Ok(subject) = self.tag.replacen('-', ":", 1).parse() {
            return Ok(subject);
        }
        let Some(first) = entries.first() else { return Err(no_list("it is empty")) };
        let subject = content.manifest(&first.digest, "").await?.subject();
        let subject = subject.filter(|subject| subject.referrers_tag() == self.tag);
        subject.ok_or_else(|| no_list("what it lists does not refer to the digest in the tag"))
    }

    /// Makes the target list new referrers, and returns those that it does not list all the same.
    async fn list(
        &self,
        subject: &Digest,
        new: &[ReferrerDescriptor],
        stored: &StoredReferrers,
        is_complete: bool,
        content: &ContentCopy<'_>,
    ) -> Result<Vec<Digest>, Failure> {
        let target = content.repository;
        if stored.lists_by_itself {
            let listed = target.referrers(subject).await.map_err(|error| at_target(&error))?;
            let digests = new.iter().map(|descriptor| descriptor.digest.clone());
            // Of a list that is cut nothing follows.
            return Ok(digests.filter(|digest| !listed.is_cut && !listed.listed.contains_key(digest)).collect());
        }
        let tagged = target.tagged(self.tag).await.map_err(|error| at_target(&error))?;
        if is_complete && tagged.is_none() {
            // As it is, with all of its fields.
            target.put(ManifestRef::Tag(self.tag), self.manifest).await.map_err(|error| at_target(&error))?;
        }
        target.list_referrers(subject, new).await.map_err(|error| at_target(&error))?;
        Ok(Vec::new())
    }
}

async fn load_entry(
    subject: &Digest,
    entry: &ReferrerEntry,
    stored: &StoredReferrers,
    content: &ContentCopy<'_>,
) -> Result<Became, Failure> {
    let target = content.repository;
    let reference = ManifestRef::Child(&entry.digest);
    let is_listed = stored.listed.contains_key(&entry.digest);
    let is_found = target.find(reference).await.map_err(|error| at_target(&error))?.is_some();
    // A list that others maintain may name what is not there.
    let is_there = is_found || stored.lists_by_itself && is_listed;
    if is_there && (is_listed || stored.is_cut) {
        let (digest, media_type) = (&entry.digest, "");
        let root = PresentManifest { named: digest, at_target: digest, media_type, is_found: Some(is_found) };
        return Ok(if content.mend(root).await? { Became::Mended } else { Became::AlreadyThere });
    }
    if is_there && stored.lists_by_itself {
        // Pushed before; it would be pushed again and again.
        return Err(not_listed(subject));
    }
    let manifest = content.manifest(&entry.digest, "").await?;
    let named = manifest.subject();
    if named.as_ref() != Some(subject) {
        let named = named.map_or("nothing".to_owned(), |other| other.to_string());
        let message = format!("the layout lists it as a referrer of {subject}, but it refers to {named}; not loaded");
        return Err(referrer_failure(message));
    }
    if !is_there {
        content.push(reference, &manifest).await?;
    }
    entry.describing(&manifest).map(Became::New).map_err(|error| referrer_failure(error_chain(&error)))
}

/// The tags under which the lists of the referrers of these referrers are, if there are any.
pub(super) fn tags_below(list: &Manifest) -> impl Iterator<Item = String> {
    list.referrers().unwrap_or_default().into_iter().map(|entry| entry.digest.referrers_tag())
}

fn of(digest: &Digest, failure: Failure) -> ReferrerFailure {
    ReferrerFailure { referrer: digest.to_string(), message: failure.message, retry: failure.retry }
}

fn not_listed(subject: &Digest) -> Failure {
    referrer_failure(format!("the target has it and does not list it as a referrer of {subject}"))
}

fn no_list(reason: &str) -> Failure {
    referrer_failure(format!("the layout has no list of referrers under this name: {reason}"))
}

fn referrer_failure(message: String) -> Failure {
    Failure { kind: FailureKind::Referrer, message, retry: Retry::Later }
}
