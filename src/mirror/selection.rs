//! Which part of an index a target is to have, and whether it has it.
//!
//! Where only some platforms are wanted, an index is at a target in one of two forms. Targets that take an index before
//! all of its children are there get its own bytes: the digest says nothing then of which children are there, so each is
//! asked for once in the life of the process. The others get an index made from it, which names what is there; its
//! digest is computed anew from the source's. What was seen to be right is remembered, and costs no more than a whole
//! image from then on. A target is never given less than it has: what an earlier wish, or another cluster's, has
//! brought stays in the index.

use std::collections::BTreeSet;

use futures::{StreamExt, TryStreamExt, stream};
use tracing::warn;

use crate::{
    model::{Digest, Failure},
    registry::{Contents, Descriptor, Manifest, ManifestRef, StoreRepository},
};

use super::{
    check::{Found, is_unknown},
    copy::Copier,
    failure::{at_source, at_target},
    job::CopyJob,
    platforms::Wanted,
    subsets::Wish,
};

/// Children that are asked for at once.
const QUESTIONS_AT_ONCE: usize = 4;

/// What the target is to get.
pub(super) enum Selection {
    /// The image as it is.
    Whole,
    /// These entries of the index, which it is the index of.
    Part(Manifest),
    /// Nothing: what it has, of this digest, is enough.
    Nothing(Digest),
}

impl Copier {
    /// Which part of an index is wished. None where it is always the whole: nothing is looked at then but its digest.
    pub(super) fn wish(&self, job: &CopyJob, digest: &Digest) -> Option<Wish> {
        let settings = self.settings.platforms.as_ref()?;
        Some(Wish {
            target: job.destination.target.name.clone(),
            repository: job.destination.repository.clone(),
            digest: digest.clone(),
            wanted: if self.pulls_by_digest(job) { settings.wanted(job) } else { Wanted::All },
        })
    }

    /// Whether all that is wished of the image that the target calls `present` is there too. An index that was made
    /// (`may_be_made`) says nothing of what the image has besides.
    pub(super) async fn has_wished(&self, found: &Found, present: &Digest, may_be_made: bool) -> Result<bool, Failure> {
        let Some(wish) = &found.wish else { return Ok(true) };
        if self.subsets.grants(wish, present) {
            return Ok(true);
        }
        let manifest = match found.target.manifest(present).await {
            Ok(Some(manifest)) => manifest,
            Ok(None) => return Ok(false),
            Err(error) if is_unknown(&found.target, &error).await => return Ok(false),
            Err(error) => return Err(at_target(&error)),
        };
        let Some(entries) = manifest.entries().map_err(|error| at_target(&error.into()))? else {
            self.subsets.grant(wish, present);
            return Ok(true);
        };
        let choice = wish.wanted.choose(&entries);
        let is_open = wish.wanted == Wanted::All || !choice.missing.is_empty();
        if may_be_made && is_open && manifest.subset_of().is_some() {
            return Ok(false);
        }
        let part = manifest.subset(&choice.kept);
        let contents = part.and_then(|part| part.contents()).map_err(|error| at_target(&error.into()))?;
        let Contents::Index { manifests } = contents else { return Ok(true) };
        let has_all = stream::iter(manifests.into_iter().filter(|child| !child.foreign))
            .map(|child| async move { has(&found.target, &child).await })
            .buffer_unordered(QUESTIONS_AT_ONCE)
            .try_all(|has| async move { has })
            .await?;
        if has_all {
            self.subsets.grant(wish, present);
        }
        Ok(has_all)
    }

    /// What of the source's manifest the target is to get.
    pub(super) async fn select(&self, job: &CopyJob, found: &Found, source: &Manifest) -> Result<Selection, Failure> {
        let Some(wish) = &found.wish else { return Ok(Selection::Whole) };
        // What is there already is to be among it, and is not known.
        if found.unseen.is_some() {
            return Ok(Selection::Whole);
        }
        let Some(entries) = source.entries().map_err(|error| at_source(&error))? else {
            return Ok(Selection::Whole);
        };
        let mut choice = wish.wanted.choose(&entries);
        if let Some(settings) = &self.settings.platforms {
            let unexpected = choice.missing.iter().filter(|missing| !settings.expects_missing(&job.source, missing));
            for platform in unexpected {
                warn!(source = %job.source, target = %job.destination, %platform, "the image does not exist for this platform");
            }
        }
        if let Some(present) = found.present.as_ref().filter(|_| may_be_part(job, found))
            && let Some(kept) = part_there(found, source, present).await?
        {
            if choice.kept.is_subset(&kept) {
                self.subsets.grant(wish, present);
                return Ok(Selection::Nothing(present.clone()));
            }
            choice.kept.extend(kept);
        }
        if entries.iter().all(|entry| choice.kept.contains(&entry.digest)) {
            return Ok(Selection::Whole);
        }
        source.subset(&choice.kept).map(Selection::Part).map_err(|error| at_source(&error))
    }

    /// The digest of the index that the one with this digest was made from, if it was made and the target has it.
    pub(super) async fn made_from(&self, target: &StoreRepository, digest: &Digest) -> Result<Option<Digest>, Failure> {
        let manifest = target.manifest(digest).await.map_err(|error| at_target(&error))?;
        Ok(manifest.and_then(|manifest| manifest.subset_of()))
    }
}

/// Whether the target may have an index of its own in place of the source's. What is asked for by its digest is nothing
/// else, and where the source's has been taken it stays.
pub(super) fn may_be_part(job: &CopyJob, found: &Found) -> bool {
    job.tag().is_some() && job.source.digest().is_none() && !found.is_incomplete
}

/// The digests of the entries that the target's index has, if it was made from `source`, as it would be made now.
async fn part_there(found: &Found, source: &Manifest, present: &Digest) -> Result<Option<BTreeSet<Digest>>, Failure> {
    let there = found.target.manifest(present).await.map_err(|error| at_target(&error))?;
    let Some(there) = there.filter(|there| there.subset_of().as_ref() == Some(source.digest())) else {
        return Ok(None);
    };
    let Ok(Some(entries)) = there.entries() else { return Ok(None) };
    let kept = entries.into_iter().map(|entry| entry.digest).collect();
    let made = source.subset(&kept).map_err(|error| at_source(&error))?;
    Ok((made.bytes() == there.bytes()).then_some(kept))
}

async fn has(target: &StoreRepository, child: &Descriptor) -> Result<bool, Failure> {
    let found = if child.is_manifest() {
        target.find(ManifestRef::Child(&child.digest)).await.map(|found| found.is_some())
    } else {
        target.has_blob(child).await
    };
    match found {
        // It may have half of it.
        Err(error) if error.is_server_error() => Ok(false),
        found => found.map_err(|error| at_target(&error)),
    }
}
