//! Whether a target has the referrers of an image that it is to have: those that it lists itself, and those that the source
//! has, by the selection and within the limits of copies.

use std::{
    collections::HashMap,
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
    time::Duration,
};

use futures::{FutureExt, StreamExt, future::BoxFuture, stream};
use tokio::{sync::Mutex, time::timeout};

use super::tree::{Owner, Tree};
use crate::{
    mirror::copying::{
        Discoverer, Discovery, Look, MAX_LEVELS, MAX_REFERRERS_OF_IMAGE, ManifestTreeLimits, ReferrerSelection,
        RequestedPlatforms, Source, SubjectReferrers, Subjects, has_all_layers,
    },
    model::{Digest, ImagePart, MAX_PART_PROBLEMS, PartProblemKind, error_chain},
    registry::{Contents, Manifest, ManifestRef, ReferrerEntry, StoredReferrers, TagOrDigest},
};

/// Subjects, and referrers of each, that are looked at together.
const CONCURRENT_LOOKS: usize = 4;

/// With more wrong parts, further referrers are not looked at.
const MAX_PROBLEMS: usize = 100;

/// How many characters of an artifact type are told: whoever pushes a referrer chooses it.
const LONGEST_TYPE: usize = 200;

/// The longest look at the source for the referrers of one image and of its referrers.
const LONGEST_LOOK: Duration = Duration::from_secs(120);

/// The look at the referrers of one image.
pub(super) struct ReferrerTree<'a> {
    tree: &'a Tree<'a>,
    selection: &'a ReferrerSelection,
    /// None if it is not to be asked.
    source: Option<&'a Source>,
    limits: ManifestTreeLimits,
    /// Whether the target was found to have no referrers API.
    has_no_api: AtomicBool,
    /// Selected referrers that the target lists.
    count: AtomicUsize,
    /// Whether a list has more than was looked at.
    is_cut: AtomicBool,
    /// Manifests that the source was asked for, to find out what it lists.
    asked: AtomicUsize,
}

impl<'a> ReferrerTree<'a> {
    pub fn new(tree: &'a Tree<'a>, selection: &'a ReferrerSelection, source: Option<&'a Source>) -> Self {
        Self {
            tree,
            selection,
            source,
            limits: ManifestTreeLimits::default(),
            has_no_api: false.into(),
            count: 0.into(),
            is_cut: false.into(),
            asked: 0.into(),
        }
    }

    /// Looks at what belongs to an image that is at the target. Returns what could not be compared with the source, and
    /// which limit was exceeded.
    pub async fn look_at(&self, root: &Manifest, platforms: &RequestedPlatforms) -> Option<String> {
        // A malformed index is noted where its contents are read.
        let mut subjects = Subjects::of_present(root, Some(platforms)).ok()?;
        let (look, mut note) = (Look::default(), None);
        for level in 1..=MAX_LEVELS {
            let mut at_source = self.at_source(&subjects, &look, &mut note).await;
            let mut next = Vec::new();
            let mut digests = subjects.digests.into_iter();
            // The first one finds out whether there is an API.
            if let Some(first) = digests.next() {
                let found = at_source.remove(&first);
                next.extend(self.look_at_subject(first, found).await);
            }
            let found: Vec<_> = digests
                .map(|subject| {
                    let found = at_source.remove(&subject);
                    (subject, found)
                })
                .collect();
            let mut looks = stream::iter(found)
                .map(|(subject, found)| self.look_at_subject(subject, found))
                .buffered(CONCURRENT_LOOKS);
            while let Some(further) = looks.next().await {
                next.extend(further);
            }
            if next.is_empty() || level == MAX_LEVELS {
                break;
            }
            subjects = Subjects::bounded(next);
        }
        if note.is_none() && self.is_cut.load(Ordering::Relaxed) {
            note = Some(format!("only the first {MAX_REFERRERS_OF_IMAGE} of its referrers were looked at"));
        }
        note
    }

    /// What the source has, by subject.
    async fn at_source(
        &self,
        subjects: &Subjects,
        look: &Look,
        note: &mut Option<String>,
    ) -> HashMap<Digest, SubjectReferrers> {
        // What did not answer once would take as long again.
        let Some(source) = self.source.filter(|_| note.is_none()) else { return HashMap::new() };
        let found = Mutex::<Discovery>::default();
        let discoverer = Discoverer::of_source(source, self.selection, look);
        let is_late = timeout(LONGEST_LOOK, discoverer.discover(subjects, &found)).await.is_err();
        let Discovery { subjects, outcome } = found.into_inner();
        if let Some(failure) = outcome.failures.first() {
            *note = Some(format!("its referrers were not compared with the source's: {failure}"));
        } else if is_late {
            let seconds = LONGEST_LOOK.as_secs();
            *note =
                Some(format!("its referrers were not compared with the source's, which took longer than {seconds}s"));
        }
        subjects.into_iter().map(|found| (found.subject.clone(), found)).collect()
    }

    /// Looks at the referrers of one manifest; returns those that may have referrers themselves.
    fn look_at_subject(&self, subject: Digest, at_source: Option<SubjectReferrers>) -> BoxFuture<'_, Vec<Digest>> {
        async move {
            let (listed_at_source, tags_at_source) =
                at_source.map(|found| (found.listed, found.tags)).unwrap_or_default();
            let mut next = Vec::new();
            if let Some(stored) = self.stored(&subject).await {
                next.extend(self.look_at_all_listed(&subject, &stored).await);
                for entry in listed_at_source.iter().filter(|entry| !stored.listed.contains_key(&entry.digest)) {
                    self.look_at_unlisted(&subject, entry, &stored).await;
                }
            }
            for (suffix, artifact_type) in self.selection.digest_tags() {
                let tag = format!("{}.{suffix}", subject.referrers_tag());
                let wanted = tags_at_source.iter().find(|found| found.tag == tag).map(|found| &found.digest);
                let found = self.look_at_tag(&subject, &tag, artifact_type, wanted).await;
                next.extend(found.filter(|_| self.selection.continues_below(artifact_type)));
            }
            next
        }
        .boxed()
    }

    async fn look_at_all_listed(&self, subject: &Digest, stored: &StoredReferrers) -> Vec<Digest> {
        let mut listed: Vec<(Digest, Option<String>)> = Vec::new();
        for (digest, artifact_type) in &stored.listed {
            if artifact_type.as_deref().is_none_or(|artifact_type| self.selection.accepts(artifact_type)) {
                listed.push((digest.clone(), artifact_type.clone()));
            }
        }
        listed.sort();
        let found = self.count.fetch_add(listed.len(), Ordering::Relaxed);
        let room = MAX_REFERRERS_OF_IMAGE.saturating_sub(found);
        self.is_cut.fetch_or(stored.is_cut || listed.len() > room, Ordering::Relaxed);
        listed.truncate(room);
        let mut looks = stream::iter(listed)
            .map(|(digest, artifact_type)| async move {
                self.look_at_listed(subject, &digest, artifact_type.as_deref()).await
            })
            .buffered(CONCURRENT_LOOKS);
        let mut next = Vec::new();
        while let Some(further) = looks.next().await {
            next.extend(further);
        }
        next
    }

    /// What the target lists as referrers of a manifest; none if that is not known, which is noted.
    async fn stored(&self, subject: &Digest) -> Option<StoredReferrers> {
        let problem = |kind, message| {
            let message = format!("the list of the referrers of {subject}: {message}");
            self.tree.add(subject, ImagePart::Referrer, kind, message);
            None
        };
        if !self.has_no_api.load(Ordering::Relaxed) {
            self.tree.wait().await;
            match self.tree.repository.referrers_by_api(subject).await {
                Ok(Some(stored)) => return Some(stored),
                Ok(None) => self.has_no_api.store(true, Ordering::Relaxed),
                Err(error) => return problem(PartProblemKind::Unknown, error_chain(&error)),
            }
        }
        let tag = subject.referrers_tag();
        let index = match self.tree.entry(ManifestRef::Tag(&tag)).await {
            Ok(None) => return Some(StoredReferrers::default()),
            Ok(Some(digest)) => match self.tree.read(&digest).await {
                Ok(Some(index)) => index,
                Ok(None) => {
                    return problem(
                        PartProblemKind::Missing,
                        format!("tag {tag} has {digest}, which the target does not have"),
                    );
                }
                Err((kind, message)) => return problem(kind, message),
            },
            Err(error) => return problem(PartProblemKind::Unknown, error_chain(&error)),
        };
        match index.referrers() {
            Ok(entries) => {
                let listed = entries.into_iter().map(|entry| (entry.digest, entry.artifact_type)).collect();
                Some(StoredReferrers { listed, is_cut: false, lists_by_itself: false })
            }
            // Another image has the tag: no list that a client would read.
            Err(_) => Some(StoredReferrers::default()),
        }
    }

    /// A referrer that the target lists. Returns it if it may have referrers itself.
    async fn look_at_listed(&self, subject: &Digest, digest: &Digest, listed_as: Option<&str>) -> Option<Digest> {
        // A target that answers like this could go on for ever; the result is known.
        if self.tree.found.problem_count() > MAX_PROBLEMS {
            return None;
        }
        let manifest = match self.tree.read(digest).await {
            Ok(Some(manifest)) => manifest,
            Ok(None) => {
                self.lacks(subject, digest, listed_as, "the target lists it, and does not have it");
                return None;
            }
            Err((kind, message)) => {
                self.tree.add(digest, ImagePart::Referrer, kind, message);
                return None;
            }
        };
        let artifact_type = self.selected(subject, &manifest)?;
        self.tree.look_below(&manifest, None, Owner::Referrer, &self.limits).await;
        self.selection.continues_below(&artifact_type).then(|| digest.clone())
    }

    /// A referrer that the source lists and the target does not.
    async fn look_at_unlisted(&self, subject: &Digest, entry: &ReferrerEntry, stored: &StoredReferrers) {
        let (digest, listed_as) = (&entry.digest, entry.artifact_type.as_deref());
        match self.tree.read(digest).await {
            Ok(Some(manifest)) => {
                // Of a list that is cut nothing follows.
                if !stored.is_cut && self.selected(subject, &manifest).is_some() {
                    self.lacks(subject, digest, listed_as, "the target has it, and does not list it");
                }
            }
            Ok(None) => match self.is_at_source(subject, entry).await {
                Ok(true) => self.lacks(subject, digest, listed_as, "the source has it, the target does not"),
                Ok(false) => {}
                Err(message) => self.tree.add(digest, ImagePart::Referrer, PartProblemKind::Unknown, message),
            },
            Err((kind, message)) => self.tree.add(digest, ImagePart::Referrer, kind, message),
        }
    }

    /// Whether the source really has what it lists, so that it would be copied. After some questions a list that tells types is
    /// believed: each question is a pull.
    async fn is_at_source(&self, subject: &Digest, entry: &ReferrerEntry) -> Result<bool, String> {
        let Some(source) = self.source else { return Ok(false) };
        if entry.artifact_type.is_some() && self.asked.fetch_add(1, Ordering::Relaxed) >= MAX_PART_PROBLEMS {
            return Ok(true);
        }
        match source.manifest(TagOrDigest::Digest(&entry.digest)).await {
            Ok(manifest) => Ok(self.selected(subject, &manifest).is_some()),
            Err(error) if error.is_not_found() => Ok(false),
            // It lists what is selected, whatever the manifest would say.
            Err(_) if entry.artifact_type.is_some() => Ok(true),
            Err(error) => Err(error_chain(&error)),
        }
    }

    /// The artifact type of a referrer of `subject` that is copied; none of what is not.
    fn selected(&self, subject: &Digest, manifest: &Manifest) -> Option<String> {
        let is_referrer = manifest.subject().as_ref() == Some(subject);
        let is_index = matches!(manifest.contents(), Ok(Contents::Index { .. }));
        let artifact_type = manifest.artifact_type().unwrap_or_default();
        (is_referrer && !is_index && self.selection.accepts(&artifact_type)).then_some(artifact_type)
    }

    /// What is under one of cosign's older tags; `wanted` is what the source has there. Returns what the target has.
    async fn look_at_tag(
        &self,
        subject: &Digest,
        tag: &str,
        artifact_type: &str,
        wanted: Option<&Digest>,
    ) -> Option<Digest> {
        let digest = match self.tree.entry(ManifestRef::Tag(tag)).await {
            Ok(Some(digest)) => digest,
            Ok(None) => {
                if let Some(wanted) = wanted {
                    let what = format!("the source has it under the tag {tag}, the target does not");
                    self.lacks(subject, wanted, Some(artifact_type), &what);
                }
                return None;
            }
            Err(error) => {
                let message = format!("tag {tag}: {}", error_chain(&error));
                self.tree.add(subject, ImagePart::Referrer, PartProblemKind::Unknown, message);
                return None;
            }
        };
        let manifest = match self.tree.read(&digest).await {
            Ok(Some(manifest)) => manifest,
            Ok(None) => {
                let what = format!("the target's tag {tag} names it, and the target does not have it");
                self.lacks(subject, &digest, Some(artifact_type), &what);
                return None;
            }
            Err((kind, message)) => {
                self.tree.add(&digest, ImagePart::Referrer, kind, format!("tag {tag}: {message}"));
                return None;
            }
        };
        self.tree.look_below(&manifest, None, Owner::Referrer, &self.limits).await;
        if let Some(wanted) = wanted.filter(|wanted| **wanted != digest)
            && !self.has_all_of(&manifest, wanted).await
        {
            let what = format!(
                "the source has it under the tag {tag}; the target's tag has {digest}, which lacks a part of it"
            );
            self.lacks(subject, wanted, Some(artifact_type), &what);
        }
        Some(digest)
    }

    /// Whether the target's tag has every signature of the source's.
    async fn has_all_of(&self, present: &Manifest, wanted: &Digest) -> bool {
        let Some(source) = self.source else { return true };
        match source.manifest(TagOrDigest::Digest(wanted)).await {
            Ok(wanted) => has_all_layers(present, &wanted),
            Err(_) => false,
        }
    }

    fn lacks(&self, subject: &Digest, digest: &Digest, artifact_type: Option<&str>, what: &str) {
        let kind = match artifact_type {
            Some(artifact_type) if self.selection.is_signature(artifact_type) => "signature or attestation",
            _ => "referrer",
        };
        let shown: String = artifact_type.unwrap_or_default().chars().take(LONGEST_TYPE).collect();
        let comma = if shown.is_empty() { "" } else { ", " };
        let message = format!("{what} (a {kind} of {subject}{comma}{shown})");
        self.tree.add(digest, ImagePart::Referrer, PartProblemKind::Missing, message);
    }
}
