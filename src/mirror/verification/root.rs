//! Which manifest of the target is the image: the one that its tag names, or the one with the digest that the workload names.

use super::tree::Tree;
use crate::{
    mirror::job::{CopyJob, Role},
    model::{Algorithm, Digest, ImagePart, PartProblemKind, error_chain},
    registry::{Manifest, ManifestRef, StoreRepository},
};

/// What a target has for an image.
pub(super) enum Root {
    Found(FoundRoot),
    /// Nothing, or something else; with the reason.
    Missing(String),
    /// It did not tell; with the reason.
    Unknown(String),
}

/// The manifest of an image.
pub(super) struct FoundRoot {
    /// None if it is missing or damaged, which is noted.
    pub manifest: Option<Manifest>,
    /// Its digest as the workload or the tag names it.
    pub digest: Digest,
    /// What the tag has instead, if the workload names a digest.
    pub tag_has: Option<Digest>,
}

/// Finds the image of a job. `wanted` is the digest that the workload names, or that the image without a tag has; also
/// returns what the target has under the tag or digest.
pub(super) async fn find(tree: &Tree<'_>, job: &CopyJob, wanted: Option<&Digest>) -> (Root, Option<Digest>) {
    match (job.tag(), wanted) {
        (tag, Some(wanted)) => by_digest(tree, job, tag, wanted).await,
        (Some(tag), None) => by_tag(tree, tag).await,
        (None, None) => (Root::Unknown("neither a tag nor a digest is known".to_owned()), None),
    }
}

async fn by_tag(tree: &Tree<'_>, tag: &str) -> (Root, Option<Digest>) {
    match tree.entry(ManifestRef::Tag(tag)).await {
        Ok(Some(digest)) => {
            let manifest = tree.manifest(&digest).await;
            (Root::Found(FoundRoot { manifest, digest: digest.clone(), tag_has: None }), Some(digest))
        }
        Ok(None) => (Root::Missing("the target does not have it".to_owned()), None),
        Err(error) => (Root::Unknown(error_chain(&error)), None),
    }
}

/// Whoever pulls by a digest gets what the repository has by this digest, whatever its tags name.
async fn by_digest(tree: &Tree<'_>, job: &CopyJob, tag: Option<&str>, wanted: &Digest) -> (Root, Option<Digest>) {
    let tagged = match tag {
        Some(tag) => match tree.entry(ManifestRef::Tag(tag)).await {
            Ok(tagged) => tagged,
            Err(error) => return (Root::Unknown(error_chain(&error)), None),
        },
        None => None,
    };
    let manifest = match tree.read(wanted).await {
        Ok(Some(manifest)) => Some(manifest),
        Ok(None) => return (Root::Missing(missing(tree, wanted, tag, tagged.as_ref()).await), tagged),
        Err((kind, message)) => {
            tree.add(wanted, ImagePart::Manifest, kind, message);
            None
        }
    };
    let is_image = |digest: &Digest| is_same(digest, wanted, manifest.as_ref());
    let is_tagged = tagged.as_ref().is_some_and(is_image);
    if let Role::Conflict { owner } = &job.role
        && !is_tagged
    {
        return (Root::Missing(conflict(owner)), tagged);
    }
    if !is_tagged && let Some(reason) = look_at_keeper(tree, wanted, is_image).await {
        return (Root::Missing(reason), tagged);
    }
    if let (Some(tag), None) = (tag, &tagged) {
        let message = format!("tag {tag} is missing; the image is there by its digest");
        tree.add(wanted, ImagePart::Tag, PartProblemKind::Missing, message);
    }
    let at_target = if tag.is_some() { tagged.clone() } else { manifest.as_ref().map(|_| wanted.clone()) };
    let tag_has = tagged.filter(|_| !is_tagged);
    (Root::Found(FoundRoot { manifest, digest: wanted.clone(), tag_has }), at_target)
}

/// Registries report digests of one algorithm, mostly SHA-256: another one is compared with the bytes.
fn is_same(digest: &Digest, wanted: &Digest, manifest: Option<&Manifest>) -> bool {
    if digest.algorithm() == wanted.algorithm() {
        return digest == wanted;
    }
    manifest.is_some_and(|manifest| digest.matches(manifest.bytes()))
}

/// The reason why an image is missing that belongs to nobody else's destination.
pub(super) fn conflict(owner: &str) -> String {
    format!("the destination belongs to {owner}: this is not the image that the workload names")
}

async fn missing(tree: &Tree<'_>, wanted: &Digest, tag: Option<&str>, tagged: Option<&Digest>) -> String {
    let mut reason = format!("the target does not have {wanted}");
    if wanted.algorithm() != Algorithm::Sha256
        && let Some(same) = under_other_digest(tree, wanted, tagged).await
    {
        reason += &format!(
            ": it has the same image as {same}, but its registry does not serve digests of {}, so whoever pulls by the \
             digest gets nothing; name the image by {same}",
            wanted.algorithm().name()
        );
    } else if let (Some(tag), Some(tagged)) = (tag, tagged) {
        reason += &format!("; its tag {tag} has {tagged}");
    }
    reason
}

/// What has the bytes of `wanted` under a digest of another algorithm.
async fn under_other_digest(tree: &Tree<'_>, wanted: &Digest, tagged: Option<&Digest>) -> Option<Digest> {
    let kept = tree.entry(ManifestRef::KeptDigest(wanted)).await.ok().flatten();
    for digest in kept.iter().chain(tagged) {
        if let Ok(Some(manifest)) = tree.read(digest).await
            && wanted.matches(manifest.bytes())
        {
            return Some(digest.clone());
        }
    }
    None
}

/// What no tag names is removed by the garbage collection of some registries. A layout has in a repository what its entries
/// name, and nothing else: returns why it does not have the image.
async fn look_at_keeper(tree: &Tree<'_>, wanted: &Digest, is_image: impl Fn(&Digest) -> bool) -> Option<String> {
    let tag = wanted.keep_alive_tag();
    let kept = tree.entry(ManifestRef::KeptDigest(wanted)).await;
    let (kind, message) = match (tree.repository, kept) {
        (_, Ok(Some(kept))) if is_image(&kept) => return None,
        (StoreRepository::Layout(_), Ok(_)) => {
            return Some(format!("index.json has no entry for {wanted} in this repository"));
        }
        (_, Ok(Some(other))) => (PartProblemKind::Missing, format!("the keep-alive tag {tag} has {other}")),
        (_, Ok(None)) => {
            let message = format!("the keep-alive tag {tag} is missing: a garbage collection may remove the image");
            (PartProblemKind::Missing, message)
        }
        (_, Err(error)) => (PartProblemKind::Unknown, error_chain(&error)),
    };
    tree.add(wanted, ImagePart::Tag, kind, message);
    None
}
