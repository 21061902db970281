//! The manifests whose referrers belong to an image.

use std::collections::HashSet;

use crate::{
    mirror::copying::platforms::RequestedPlatforms,
    model::Digest,
    registry::{Error, Manifest},
};

/// The most manifests of one image whose referrers are looked for; real images have a few dozen.
const MAX_SUBJECTS: usize = 200;

/// The manifests of one image whose referrers are looked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::mirror) struct Subjects {
    pub digests: Vec<Digest>,
    /// Whether the image has more.
    pub is_cut: bool,
}

impl Subjects {
    /// `root`, and the images that `contents` names, which is `root` or a part of it. An index that was made for the target
    /// has no referrers: those of the source's index have another subject. Attestations inside an index have none either.
    pub fn of(root: &Manifest, contents: &Manifest) -> Result<Self, Error> {
        let own = root.subset_of().is_none().then(|| root.digest().clone());
        let children = contents.entries()?.into_iter().flatten();
        Ok(Self::bounded(
            own.into_iter().chain(children.filter(|child| child.attested.is_none()).map(|child| child.digest)),
        ))
    }

    /// Of an image that the target has: of its children those of the requested platforms.
    pub fn of_present(present: &Manifest, platforms: Option<&RequestedPlatforms>) -> Result<Self, Error> {
        let entries = present.entries()?.unwrap_or_default();
        let kept = match platforms {
            Some(platforms) => platforms.matching(&entries).kept,
            None => entries.iter().map(|entry| entry.digest.clone()).collect(),
        };
        let own = present.subset_of().is_none().then(|| present.digest().clone());
        let children = entries.into_iter().filter(|child| child.attested.is_none() && kept.contains(&child.digest));
        Ok(Self::bounded(own.into_iter().chain(children.map(|child| child.digest))))
    }

    /// Without duplicates, and at most so many.
    pub fn bounded(digests: impl IntoIterator<Item = Digest>) -> Self {
        let mut seen = HashSet::new();
        let mut digests = digests.into_iter().filter(|digest| seen.insert(digest.clone()));
        let bounded = digests.by_ref().take(MAX_SUBJECTS).collect();
        Self { digests: bounded, is_cut: digests.next().is_some() }
    }
}
