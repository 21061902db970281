//! The referrers that a store has of a manifest. Where it has no referrers API, whoever pushes a referrer maintains the index
//! that takes its place, against other writers.

use std::{collections::HashMap, time::Duration};

use tokio::time::sleep;

use super::{ManifestRef, StoreRepository, error::StoreError};
use crate::{
    model::{Digest, Retry},
    registry::{
        error::Error,
        fault::Fault,
        manifest::{
            Manifest,
            referrers::{ReferrerDescriptor, ReferrerEntry},
        },
    },
};

/// How often the index is written again after another writer replaced it.
const MAX_WRITES: u32 = 5;

/// The longest pause before it is written again; a random part of it, so that two writers do not meet again.
const MAX_PAUSE: Duration = Duration::from_millis(500);

/// What a store has of the referrers of one manifest.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StoredReferrers {
    /// The listed ones, with their artifact types if the list says.
    pub listed: HashMap<Digest, Option<String>>,
    /// Whether there are more than were read.
    pub is_cut: bool,
    /// Whether the store lists new referrers by itself. Otherwise they must be [added](StoreRepository::list_referrers).
    pub lists_by_itself: bool,
}

impl StoreRepository {
    /// The referrers of a manifest that the store lists. One request if the registry has the referrers API, otherwise up to
    /// three.
    ///
    /// # Errors
    /// When the store can't be read, or the tag of the index has something else.
    pub async fn referrers(&self, subject: &Digest) -> Result<StoredReferrers, StoreError> {
        if let Some(listed) = self.referrers_by_api(subject).await? {
            return Ok(listed);
        }
        let entries = match self.tagged(&subject.referrers_tag()).await? {
            Some(index) => index.referrers()?,
            None => Vec::new(),
        };
        Ok(StoredReferrers { listed: by_digest(entries), is_cut: false, lists_by_itself: false })
    }

    /// The same by the referrers API alone; none if the store does not have it. One request for each page.
    ///
    /// # Errors
    /// When the store can't be read.
    pub async fn referrers_by_api(&self, subject: &Digest) -> Result<Option<StoredReferrers>, StoreError> {
        let Self::Remote(repository) = self else { return Ok(None) };
        let Some(list) = repository.referrers(subject).await? else { return Ok(None) };
        Ok(Some(StoredReferrers { listed: by_digest(list.entries), is_cut: list.is_cut, lists_by_itself: true }))
    }

    /// Adds referrers to the index of a store without the referrers API: reads it, adds them, writes it, and reads it again,
    /// since another writer may have replaced it meanwhile. Entries of others stay. Callers of one process must take turns.
    ///
    /// # Errors
    /// When the store can't be read or written, when the tag of the index has something else, or when other writers keep
    /// replacing the index.
    pub async fn list_referrers(&self, subject: &Digest, added: &[ReferrerDescriptor]) -> Result<(), StoreError> {
        let tag = subject.referrers_tag();
        for write in 0..=MAX_WRITES {
            if write > 1 {
                sleep(MAX_PAUSE.mul_f64(fastrand::f64())).await;
            }
            let index = match self.tagged(&tag).await {
                // It may be in the middle of being replaced.
                Err(error) if error.retry() == Retry::Soon && write < MAX_WRITES => continue,
                index => index?,
            };
            let index = match index {
                Some(index) => index.with_referrers(added)?,
                None => Some(Manifest::of_referrers(added)?),
            };
            let Some(index) = index else { return Ok(()) };
            if write < MAX_WRITES {
                self.put(ManifestRef::Tag(&tag), &index).await?;
            }
        }
        let fault = Fault::InvalidResponse("other writers keep replacing it".to_owned());
        Err(Error::new(format!("adding referrers to the index {tag}"), fault).into())
    }

    /// The manifest with a tag; none if there is none. Up to two requests.
    ///
    /// # Errors
    /// When the store can't be read, or the tag has something else.
    pub async fn tagged(&self, tag: &str) -> Result<Option<Manifest>, StoreError> {
        match self.find(ManifestRef::Tag(tag)).await? {
            Some(digest) => match self.read_manifest(&digest).await? {
                Some(manifest) => Ok(Some(manifest)),
                // Not the same as no tag: what it has must not be replaced unseen.
                None => {
                    let fault = Fault::InvalidResponse(format!("the tag has {digest}, which can't be read"));
                    Err(Error::new(format!("reading the tag {tag}"), fault).into())
                }
            },
            None => Ok(None),
        }
    }
}

fn by_digest(entries: Vec<ReferrerEntry>) -> HashMap<Digest, Option<String>> {
    entries.into_iter().map(|entry| (entry.digest, entry.artifact_type)).collect()
}
