//! Which part of an index a target is to have, and whether it has it.
//!
//! If only some platforms are requested, a target has an index in one of two forms. Targets that accept an index whose
//! children are missing get the source's own bytes: the digest then does not tell which children are there, so each is
//! looked up once in the life of the process. Other targets get an index made from it that names only what is there; it is
//! computed again from the source's to compare digests. What was found complete is remembered, and costs no more than a
//! whole image from then on. A target never loses a platform: those of earlier requests, or of another cluster, stay in
//! the index.

use std::collections::BTreeSet;

use futures::{StreamExt, TryStreamExt, stream};
use tracing::warn;

use crate::{
    mirror::job::CopyJob,
    model::{Digest, Failure},
    registry::{Contents, Descriptor, Manifest, ManifestRef},
};

use super::{
    attempt::Attempt,
    endpoints::Endpoints,
    failure::{at_source, at_target},
    inspection::{Findings, PartRequest},
    platforms::RequestedPlatforms,
    settings::CopySettings,
    subsets::SubsetCache,
    target_lookup::{Lookup, is_same, lookup, noted_manifest},
};

/// Children that are looked up at once.
const CONCURRENT_LOOKUPS: usize = 4;

/// What the target is to get.
pub(super) enum Selection {
    /// The image unchanged.
    Whole,
    /// An index of some of its platforms.
    Part(Manifest),
    /// Nothing: what it has under this digest is enough.
    Nothing(Digest),
}

/// How a digest at the target compares with the wanted one.
#[derive(Debug)]
pub(super) enum Comparison {
    /// It has everything requested, under this digest.
    Complete(Digest),
    /// It is the wanted digest, but requested platforms are missing.
    Incomplete,
    Different,
}

/// Selects the platforms of one job.
pub(super) struct PlatformSelector<'a> {
    pub job: &'a CopyJob,
    pub settings: &'a CopySettings,
    pub endpoints: &'a Endpoints<'a>,
    pub subsets: &'a SubsetCache,
    pub attempt: &'a Attempt<'a>,
}

impl PlatformSelector<'_> {
    /// The part of an index with this digest that is requested. None if images are always copied whole: then only digests
    /// are compared.
    pub fn request(&self, digest: &Digest) -> Option<PartRequest> {
        Some(PartRequest {
            target: self.job.destination.target.name.clone(),
            repository: self.job.destination.repository.clone(),
            digest: digest.clone(),
            platforms: self.settings.requested_platforms(self.job)?,
        })
    }

    /// Compares what the target has. An index made for the target (`may_be_made`) does not tell what else the image has.
    pub async fn compare(
        &self,
        part: Option<&PartRequest>,
        present: &Digest,
        wanted: &Digest,
        may_be_made: bool,
    ) -> Result<Comparison, Failure> {
        if part.is_some_and(|part| self.subsets.is_complete(part, present)) {
            return Ok(Comparison::Complete(present.clone()));
        }
        if !is_same(&self.endpoints.target, present, wanted).await? {
            return Ok(Comparison::Different);
        }
        let is_complete = match part {
            Some(part) => self.has_part(part, present, may_be_made).await?,
            None => true,
        };
        Ok(if is_complete { Comparison::Complete(wanted.clone()) } else { Comparison::Incomplete })
    }

    async fn has_part(&self, part: &PartRequest, present: &Digest, may_be_made: bool) -> Result<bool, Failure> {
        let target = &self.endpoints.target;
        let manifest = noted_manifest(target, present, self.attempt).await;
        let Some(manifest) = lookup(target, manifest).await?.found() else { return Ok(false) };
        let Some(entries) = manifest.entries().map_err(|error| at_target(&error.into()))? else {
            self.subsets.set_complete(part, present);
            return Ok(true);
        };
        let matching = part.platforms.matching(&entries);
        let needs_original = part.platforms == RequestedPlatforms::All || !matching.missing.is_empty();
        if may_be_made && needs_original && manifest.subset_of().is_some() {
            return Ok(false);
        }
        let subset = manifest.subset(&matching.kept);
        let contents = subset.and_then(|subset| subset.contents()).map_err(|error| at_target(&error.into()))?;
        let Contents::Index { manifests } = contents else { return Ok(true) };
        let has_all = stream::iter(manifests.into_iter().filter(|child| !child.foreign))
            .map(|child| async move { self.has_child(&child).await })
            .buffer_unordered(CONCURRENT_LOOKUPS)
            .try_all(|has| async move { has })
            .await?;
        if has_all {
            self.subsets.set_complete(part, present);
        }
        Ok(has_all)
    }

    async fn has_child(&self, child: &Descriptor) -> Result<bool, Failure> {
        let target = &self.endpoints.target;
        let found = if child.is_manifest() {
            target.find(ManifestRef::Child(&child.digest)).await.map(|found| found.is_some())
        } else {
            target.has_blob(child).await
        };
        match found {
            // It may be stored in part.
            Err(error) if error.is_server_error() => Ok(false),
            found => found.map_err(|error| at_target(&error)),
        }
    }

    /// What of the source's manifest the target is to get.
    pub async fn select(&self, findings: &Findings, source: &Manifest) -> Result<Selection, Failure> {
        let Some(part) = &findings.part else { return Ok(Selection::Whole) };
        // The platforms that are there must stay, and are not known.
        if matches!(findings.present, Lookup::Unknown(_)) {
            return Ok(Selection::Whole);
        }
        let Some(entries) = source.entries().map_err(|error| at_source(&error))? else {
            return Ok(Selection::Whole);
        };
        let mut matching = part.platforms.matching(&entries);
        if let Some(settings) = &self.settings.platforms {
            let unexpected =
                matching.missing.iter().filter(|missing| !settings.expects_missing(&self.job.source, missing));
            for platform in unexpected {
                let (workload, source, target) = (self.job.workload(), &self.job.source, &self.job.destination);
                warn!(workload, %source, %target, %platform, "the image does not exist for this platform");
            }
        }
        if let Some(present) = findings.present.as_found().filter(|_| self.may_make_index(findings))
            && let Some(kept) = self.made_entries(source, present).await?
        {
            if matching.kept.is_subset(&kept) {
                if let Some(pause) = &self.job.repair_pause {
                    return Err(pause.failure.clone());
                }
                if !self.job.is_damaged {
                    self.subsets.set_complete(part, present);
                    return Ok(Selection::Nothing(present.clone()));
                }
            }
            matching.kept.extend(kept);
        }
        if entries.iter().all(|entry| matching.kept.contains(&entry.digest)) {
            return Ok(Selection::Whole);
        }
        source.subset(&matching.kept).map(Selection::Part).map_err(|error| at_source(&error))
    }

    /// Whether the target may get an index made for it. An image referenced by digest must have that digest, and a target
    /// that has accepted the source's index keeps it.
    pub fn may_make_index(&self, findings: &Findings) -> bool {
        self.job.tag().is_some() && self.job.source.digest().is_none() && !findings.is_incomplete
    }

    /// The entries of the target's index, if it was made from `source` in the way it would be made now.
    async fn made_entries(&self, source: &Manifest, present: &Digest) -> Result<Option<BTreeSet<Digest>>, Failure> {
        let present = noted_manifest(&self.endpoints.target, present, self.attempt).await;
        let present = present.map_err(|error| at_target(&error))?;
        let Some(present) = present.filter(|present| present.subset_of().as_ref() == Some(source.digest())) else {
            return Ok(None);
        };
        let Ok(Some(entries)) = present.entries() else { return Ok(None) };
        let kept = entries.into_iter().map(|entry| entry.digest).collect();
        let made = source.subset(&kept).map_err(|error| at_source(&error))?;
        Ok((made.bytes() == present.bytes()).then_some(kept))
    }
}
