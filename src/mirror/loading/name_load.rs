//! Loads one name: looks whether the target has it, copies what is missing, and puts it.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Instant,
};

use super::{
    content::{ContentCopy, PresentManifest},
    names::Name,
    outcome::{LoadEvent, Loaded, OnEvent, status},
    settings::LoadSettings,
};
use crate::{
    mirror::copying::{at_target, has_all_layers, is_same},
    model::{CopyProgress, Destination, Digest, Failure, FailureKind, ReferrerOutcome, Retry, Status},
    registry::{Manifest, ManifestRef},
};

/// A name that is being loaded.
pub(super) struct NameLoad<'a> {
    pub name: &'a Name,
    pub destination: Destination,
    pub progress: Arc<CopyProgress>,
    sent: Arc<AtomicU64>,
    started: Instant,
    on_event: OnEvent,
}

impl<'a> NameLoad<'a> {
    pub fn start(name: &'a Name, destination: Destination, on_event: &OnEvent) -> Self {
        let (progress, on_event) = (Arc::default(), Arc::clone(on_event));
        on_event(LoadEvent::Started { name: &name.text, destination: &destination, progress: &progress });
        Self { name, destination, progress, sent: Arc::default(), started: Instant::now(), on_event }
    }

    /// To be called with the length of each piece of a blob that is sent.
    pub fn on_sent(&self) -> Arc<dyn Fn(u64) + Send + Sync> {
        let (sent, on_event) = (Arc::clone(&self.sent), Arc::clone(&self.on_event));
        Arc::new(move |bytes| {
            sent.fetch_add(bytes, Ordering::Relaxed);
            on_event(LoadEvent::Sent(bytes));
        })
    }

    pub fn end(self, result: Result<Status, Failure>, referrers: Option<ReferrerOutcome>) {
        let loaded = Loaded {
            name: self.name.text.clone(),
            destination: Some(self.destination),
            status: status(result),
            referrers,
            bytes: self.sent.load(Ordering::Relaxed),
            took: self.started.elapsed(),
        };
        (self.on_event)(LoadEvent::Loaded(&loaded));
    }

    /// If the target has the name: copies what it has lost of the image. None if it does not have it; if it has something else,
    /// the tag may be moved.
    pub async fn mend_if_there(
        &self,
        content: &ContentCopy<'_>,
        settings: &LoadSettings,
    ) -> Result<Option<Status>, Failure> {
        let Some(present) = self.find(content).await? else { return Ok(None) };
        let Name { digest, media_type, .. } = self.name;
        if is_same(content.repository, &present, digest).await? {
            let root = PresentManifest { named: digest, at_target: &present, media_type, is_found: None };
            let was_missing = content.mend(root).await?;
            return Ok(Some(match (was_missing, settings.dry_run) {
                (false, _) => Status::AlreadyThere(digest.clone()),
                (true, false) => Status::Copied(digest.clone()),
                (true, true) => Status::WouldCopy(digest.clone()),
            }));
        }
        let may_move = settings.allow_different_digest_repush
            || self.name.tag.as_deref().is_none_or(|tag| tag.eq_ignore_ascii_case("latest"));
        if may_move {
            return Ok(None);
        }
        let message = format!(
            "{} has digest {present}, the layout has {}, and allowDifferentDigestRepush is false",
            self.destination, self.name.digest
        );
        Err(Failure { kind: FailureKind::DifferentDigest, message, retry: Retry::Later })
    }

    /// Of one of cosign's tags: signatures that were added at the target must not get lost.
    pub async fn may_replace(&self, content: &ContentCopy<'_>, new: &Manifest) -> Result<(), Failure> {
        let tag = self.name.tag.as_deref().unwrap_or_default();
        let present = content.repository.tagged(tag).await.map_err(|error| at_target(&error))?;
        if present.is_none_or(|present| has_all_layers(new, &present)) {
            return Ok(());
        }
        let message = "the target's tag has signatures that the layout's lacks; it is not replaced".to_owned();
        Err(Failure { kind: FailureKind::DifferentDigest, message, retry: Retry::Later })
    }

    /// Puts the manifest, of which everything else is at the target, and looks whether it arrived.
    pub async fn put(&self, content: &ContentCopy<'_>, manifest: &Manifest) -> Result<Status, Failure> {
        content.push(self.reference(), manifest).await?;
        let found = self.find(content).await?;
        if let Some(found) = &found
            && is_same(content.repository, found, &self.name.digest).await?
        {
            return Ok(Status::Copied(self.name.digest.clone()));
        }
        let found = found.map_or("nothing".to_owned(), |found| found.to_string());
        let message = format!("{} has {found} after {} was pushed", self.destination, self.name.digest);
        Err(Failure { kind: FailureKind::Verification, message, retry: Retry::Soon })
    }

    async fn find(&self, content: &ContentCopy<'_>) -> Result<Option<Digest>, Failure> {
        content.repository.find(self.reference()).await.map_err(|error| at_target(&error))
    }

    fn reference(&self) -> ManifestRef<'_> {
        match &self.name.tag {
            Some(tag) => ManifestRef::Tag(tag),
            None => ManifestRef::KeptDigest(&self.name.digest),
        }
    }
}
