//! Whether the target has everything of a manifest that it has: registries keep a manifest when they lose what it names.

use futures::{FutureExt, StreamExt, TryStreamExt, future::BoxFuture, stream};

use crate::{
    model::Failure,
    registry::{Contents, Descriptor, Manifest, StoreError, StoreRepository},
};

use super::{failure::at_target, manifest_tree_limits::ManifestTreeLimits, platforms::RequestedPlatforms};

/// Parts of one manifest that are looked up at once.
const CONCURRENT_LOOKUPS: usize = 4;

/// Looks up every part: a HEAD for each blob, a GET for each child manifest. Of an index only the entries of `platforms` count.
pub(super) async fn has_all_parts(
    target: &StoreRepository,
    root: &Manifest,
    platforms: Option<&RequestedPlatforms>,
) -> Result<bool, Failure> {
    let entries = root.entries().map_err(|error| at_target(&error.into()))?;
    let kept = platforms.zip(entries).map(|(platforms, entries)| platforms.matching(&entries).kept);
    let wanted = match kept {
        Some(kept) => &root.subset(&kept).map_err(|error| at_target(&error.into()))?,
        None => root,
    };
    has_below(target, wanted, 0, &ManifestTreeLimits::default()).await
}

fn has_below<'a>(
    target: &'a StoreRepository,
    manifest: &'a Manifest,
    depth: usize,
    limits: &'a ManifestTreeLimits,
) -> BoxFuture<'a, Result<bool, Failure>> {
    async move {
        let contents = manifest.contents().map_err(|error| at_target(&error.into()))?;
        // An image's config or layer is a blob, whatever its media type says.
        let is_index = matches!(contents, Contents::Index { .. });
        let (Contents::Image { blobs: parts } | Contents::Index { manifests: parts }) = contents;
        limits.count(manifest.bytes().len(), parts.len(), depth)?;
        stream::iter(parts.into_iter().filter(|part| !part.foreign))
            .map(|part| async move {
                if is_index && part.is_manifest() {
                    has_child(target, &part, depth, limits).await
                } else {
                    or_missing(target.has_blob(&part).await.map(|has| has.then_some(()))).map(|has| has.is_some())
                }
            })
            .buffer_unordered(CONCURRENT_LOOKUPS)
            .try_all(|has| async move { has })
            .await
    }
    .boxed()
}

async fn has_child(
    target: &StoreRepository,
    child: &Descriptor,
    depth: usize,
    limits: &ManifestTreeLimits,
) -> Result<bool, Failure> {
    match or_missing(target.read_manifest(&child.digest).await)? {
        Some(manifest) => has_below(target, &manifest, depth + 1, limits).await,
        None => Ok(false),
    }
}

/// What can't be read, or has other bytes, has to be copied again.
fn or_missing<T>(found: Result<Option<T>, StoreError>) -> Result<Option<T>, Failure> {
    match found {
        Err(error) if error.is_server_error() || error.is_wrong_content() => Ok(None),
        found => found.map_err(|error| at_target(&error)),
    }
}
