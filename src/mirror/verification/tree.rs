//! Everything that an image consists of, looked at from its root.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use futures::{FutureExt, StreamExt, future::BoxFuture, stream};
use tokio::sync::Mutex;

use super::{content::PartState, deep::DeepReading, known_parts::KnownParts, pace::Pace};
use crate::{
    mirror::copying::{ManifestTreeLimits, RequestedPlatforms},
    model::{Digest, ImagePart, MAX_PART_PROBLEMS, PartProblem, PartProblemKind, error_chain},
    registry::{Contents, Descriptor, Manifest, StoreRepository},
};

/// Parts of one image that are looked at together.
const CONCURRENT_LOOKS: usize = 4;

/// The look at one image.
pub(super) struct Tree<'a> {
    pub target_name: &'a str,
    pub repository_name: &'a str,
    pub repository: &'a StoreRepository,
    pub known: &'a KnownParts,
    pub deep: Option<&'a DeepReading>,
    /// Of requests; none for as fast as the target answers.
    pub pace: Option<&'a Pace>,
    /// The entries of an index that must be there; none for all.
    pub platforms: Option<&'a RequestedPlatforms>,
    pub found: Found,
}

/// What was found.
#[derive(Default)]
pub(super) struct Found {
    pub problems: Mutex<Vec<PartProblem>>,
    pub problem_count: AtomicUsize,
    /// By kind: missing, corrupt, unknown.
    pub by_kind: [AtomicUsize; 3],
    pub parts: AtomicUsize,
    pub read: AtomicU64,
}

impl Found {
    pub fn count(&self, kind: PartProblemKind) -> usize {
        let [missing, corrupt, unknown] = &self.by_kind;
        let counter = match kind {
            PartProblemKind::Missing => missing,
            PartProblemKind::Corrupt => corrupt,
            PartProblemKind::Unknown => unknown,
        };
        counter.load(Ordering::Relaxed)
    }

    async fn add(&self, problem: PartProblem) {
        let [missing, corrupt, unknown] = &self.by_kind;
        let counter = match problem.kind {
            PartProblemKind::Missing => missing,
            PartProblemKind::Corrupt => corrupt,
            PartProblemKind::Unknown => unknown,
        };
        counter.fetch_add(1, Ordering::Relaxed);
        self.problem_count.fetch_add(1, Ordering::Relaxed);
        let mut problems = self.problems.lock().await;
        if problems.len() < MAX_PART_PROBLEMS {
            problems.push(problem);
        }
    }
}

impl Tree<'_> {
    /// Looks at a manifest and everything below it; returns the manifest, if it is there.
    pub async fn look_at_root(&self, digest: &Digest) -> Option<Manifest> {
        let limits = ManifestTreeLimits::default();
        let root = self.manifest(digest).await?;
        self.look_below(&root, 0, &limits).await;
        Some(root)
    }

    async fn manifest(&self, digest: &Digest) -> Option<Manifest> {
        self.found.parts.fetch_add(1, Ordering::Relaxed);
        self.wait().await;
        let (kind, message) = match self.repository.read_manifest(digest).await {
            Ok(Some(manifest)) => return Some(manifest),
            Ok(None) => (PartProblemKind::Missing, "the target does not have it".to_owned()),
            Err(error) if error.is_wrong_content() => (PartProblemKind::Corrupt, error_chain(&error)),
            Err(error) => (PartProblemKind::Unknown, error_chain(&error)),
        };
        self.found.add(PartProblem { digest: digest.clone(), part: ImagePart::Manifest, kind, message }).await;
        None
    }

    fn look_below<'b>(
        &'b self,
        manifest: &'b Manifest,
        depth: usize,
        limits: &'b ManifestTreeLimits,
    ) -> BoxFuture<'b, ()> {
        async move {
            let contents = match manifest.contents() {
                Ok(contents) => contents,
                Err(error) => return self.malformed(manifest, error.to_string()).await,
            };
            let (Contents::Image { blobs: parts } | Contents::Index { manifests: parts }) = &contents;
            if let Err(failure) = limits.count(manifest.bytes().len(), parts.len(), depth) {
                return self.malformed(manifest, failure.message).await;
            }
            match contents {
                Contents::Image { blobs } => self.look_at_all(blobs, Vec::new(), depth, limits).await,
                Contents::Index { manifests } => {
                    let required = self.required(manifest, manifests, depth);
                    let (children, blobs) = required.into_iter().partition(Descriptor::is_manifest);
                    self.look_at_all(blobs, children, depth, limits).await;
                }
            }
        }
        .boxed()
    }

    /// Of the entries of the root those that are requested: a target may have an index without the others.
    fn required(&self, index: &Manifest, entries: Vec<Descriptor>, depth: usize) -> Vec<Descriptor> {
        let (Some(platforms), 0, Ok(Some(known))) = (self.platforms, depth, index.entries()) else { return entries };
        let kept = platforms.matching(&known).kept;
        entries.into_iter().filter(|entry| kept.contains(&entry.digest)).collect()
    }

    async fn look_at_all(
        &self,
        blobs: Vec<Descriptor>,
        children: Vec<Descriptor>,
        depth: usize,
        limits: &ManifestTreeLimits,
    ) {
        let blobs = blobs.into_iter().filter(|blob| !blob.foreign);
        let mut looks = stream::iter(blobs)
            .map(|blob| async move { self.look_at_blob(&blob).await })
            .buffer_unordered(CONCURRENT_LOOKS);
        while looks.next().await.is_some() {}
        let mut looks = stream::iter(children)
            .map(|child| async move {
                if let Some(manifest) = self.manifest(&child.digest).await {
                    self.look_below(&manifest, depth + 1, limits).await;
                }
            })
            .buffer_unordered(CONCURRENT_LOOKS);
        while looks.next().await.is_some() {}
    }

    async fn look_at_blob(&self, blob: &Descriptor) {
        let look = async {
            self.wait().await;
            let (kind, message) = match self.repository.blob_size(blob).await {
                Ok(Some(size)) if size.is_none_or(|size| size == blob.size) => {
                    return match self.deep {
                        Some(deep) => deep.read(self.target_name, self.repository, blob).await,
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
        match state {
            PartState::Present { read } if is_first => {
                self.found.parts.fetch_add(1, Ordering::Relaxed);
                self.found.read.fetch_add(read, Ordering::Relaxed);
            }
            PartState::Present { .. } => {}
            PartState::Problem(kind, message) => {
                self.found.parts.fetch_add(usize::from(is_first), Ordering::Relaxed);
                self.found.add(PartProblem { digest: blob.digest.clone(), part: ImagePart::Blob, kind, message }).await;
            }
        }
    }

    async fn wait(&self) {
        if let Some(pace) = self.pace {
            pace.wait().await;
        }
    }

    async fn malformed(&self, manifest: &Manifest, message: String) {
        let (digest, kind) = (manifest.digest().clone(), PartProblemKind::Corrupt);
        self.found.add(PartProblem { digest, part: ImagePart::Manifest, kind, message }).await;
    }
}
