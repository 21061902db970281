//! Manifests and everything below them.

use std::collections::BTreeSet;

use futures::{FutureExt, StreamExt, future::BoxFuture, stream};

use super::{content::PartState, deep::DeepReading, found::Found, known_parts::KnownParts, pace::Pace};
use crate::{
    mirror::copying::ManifestTreeLimits,
    model::{Digest, ImagePart, PartProblem, PartProblemKind, error_chain},
    registry::{Contents, Descriptor, Manifest, ManifestRef, StoreError, StoreRepository},
};

/// Parts of one manifest that are looked at together.
const CONCURRENT_LOOKS: usize = 4;

/// The look at one image in a repository.
pub(super) struct Tree<'a> {
    pub target_name: &'a str,
    pub repository_name: &'a str,
    pub repository: &'a StoreRepository,
    pub known: &'a KnownParts,
    pub deep: Option<&'a DeepReading>,
    /// Of requests; none for as fast as the target answers.
    pub pace: Option<&'a Pace>,
    pub found: &'a Found,
}

/// What a manifest belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Owner {
    Image,
    /// A signature, an attestation, an SBOM.
    Referrer,
}

impl Owner {
    fn manifest(self) -> ImagePart {
        match self {
            Self::Image => ImagePart::Manifest,
            Self::Referrer => ImagePart::Referrer,
        }
    }

    fn blob(self) -> ImagePart {
        match self {
            Self::Image => ImagePart::Blob,
            Self::Referrer => ImagePart::ReferrerBlob,
        }
    }
}

impl Tree<'_> {
    /// The digest that the target has under a tag or keeps.
    pub async fn entry(&self, manifest: ManifestRef<'_>) -> Result<Option<Digest>, StoreError> {
        self.wait().await;
        self.repository.entry(manifest).await
    }

    /// A manifest of the target with its digest verified; or how it is wrong.
    pub async fn read(&self, digest: &Digest) -> Result<Option<Manifest>, (PartProblemKind, String)> {
        self.wait().await;
        match self.repository.read_manifest(digest).await {
            Ok(manifest) => {
                self.found.add_part();
                Ok(manifest)
            }
            Err(error) if error.is_wrong_content() => Err((PartProblemKind::Corrupt, error_chain(&error))),
            Err(error) => Err((PartProblemKind::Unknown, error_chain(&error))),
        }
    }

    /// The same, and notes what is wrong.
    pub async fn manifest(&self, digest: &Digest) -> Option<Manifest> {
        let (kind, message) = match self.read(digest).await {
            Ok(Some(manifest)) => return Some(manifest),
            Ok(None) => (PartProblemKind::Missing, "the target does not have it".to_owned()),
            Err(problem) => problem,
        };
        self.add(digest, ImagePart::Manifest, kind, message);
        None
    }

    /// Looks at everything that a manifest names; of the entries of an index at those in `required`, if it is given: a
    /// target may have an index without the others.
    pub async fn look_below(
        &self,
        root: &Manifest,
        required: Option<&BTreeSet<Digest>>,
        owner: Owner,
        limits: &ManifestTreeLimits,
    ) {
        self.look_at_contents(root, required, owner, 0, limits).await;
    }

    fn look_at_contents<'b>(
        &'b self,
        manifest: &'b Manifest,
        required: Option<&'b BTreeSet<Digest>>,
        owner: Owner,
        depth: usize,
        limits: &'b ManifestTreeLimits,
    ) -> BoxFuture<'b, ()> {
        async move {
            let contents = match manifest.contents() {
                Ok(contents) => contents,
                Err(error) => {
                    return self.add(manifest.digest(), owner.manifest(), PartProblemKind::Corrupt, error.to_string());
                }
            };
            let (Contents::Image { blobs: parts } | Contents::Index { manifests: parts }) = &contents;
            if let Err(failure) = limits.count(manifest.bytes().len(), parts.len(), depth) {
                // Many referrers together may exceed what one image may have; that makes none of them wrong.
                let kind = match owner {
                    Owner::Image => PartProblemKind::Corrupt,
                    Owner::Referrer => PartProblemKind::Unknown,
                };
                return self.add(manifest.digest(), owner.manifest(), kind, failure.message);
            }
            let (children, blobs) = match contents {
                Contents::Image { blobs } => (Vec::new(), blobs),
                Contents::Index { manifests } => manifests
                    .into_iter()
                    .filter(|entry| required.is_none_or(|required| required.contains(&entry.digest)))
                    .partition(Descriptor::is_manifest),
            };
            let blobs = blobs.into_iter().filter(|blob| !blob.foreign);
            let mut looks = stream::iter(blobs)
                .map(|blob| async move { self.look_at_blob(&blob, owner).await })
                .buffer_unordered(CONCURRENT_LOOKS);
            while looks.next().await.is_some() {}
            let mut looks = stream::iter(children)
                .map(|child| async move {
                    if let Some(manifest) = self.manifest(&child.digest).await {
                        self.look_at_contents(&manifest, None, owner, depth + 1, limits).await;
                    }
                })
                .buffer_unordered(CONCURRENT_LOOKS);
            while looks.next().await.is_some() {}
        }
        .boxed()
    }

    async fn look_at_blob(&self, blob: &Descriptor, owner: Owner) {
        let look = async {
            self.wait().await;
            let (kind, message) = match self.repository.blob_size(blob).await {
                Ok(Some(size)) if size.is_none_or(|size| size == blob.size) => {
                    return match self.deep {
                        Some(deep) => deep.read(self.target_name, self.repository, blob, size.is_some()).await,
                        None => PartState::Present { read: 0 },
                    };
                }
                Ok(Some(size)) => {
                    let size = size.unwrap_or_default();
                    (PartProblemKind::Corrupt, format!("it has {size} bytes instead of {}", blob.size))
                }
                Ok(None) => (PartProblemKind::Missing, "the target does not have it".to_owned()),
                Err(error) => (PartProblemKind::Unknown, error_chain(&error)),
            };
            PartState::Problem(kind, message)
        };
        let (state, is_first) = self.known.state(self.target_name, self.repository_name, &blob.digest, look).await;
        if is_first {
            self.found.add_part();
        }
        match state {
            PartState::Present { read } if is_first => self.found.add_read(read),
            PartState::Present { .. } => {}
            PartState::Problem(kind, message) => self.add(&blob.digest, owner.blob(), kind, message),
        }
    }

    /// Notes that a part is wrong.
    pub fn add(&self, digest: &Digest, part: ImagePart, kind: PartProblemKind, message: String) {
        self.found.add(PartProblem { digest: digest.clone(), part, kind, message });
    }

    /// Before each request.
    pub async fn wait(&self) {
        if let Some(pace) = self.pace {
            pace.wait().await;
        }
    }
}
