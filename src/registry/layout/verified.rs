//! Checks of what is read of a layout, which name the file that is damaged.

use std::path::Path;

use serde::Deserialize;

use super::{
    error::LayoutError,
    index::{Index, LayoutEntry},
};
use crate::{model::Digest, registry::manifest::Manifest};

/// In bytes; longer manifests were not written by this program.
pub(super) const MAX_MANIFEST: u64 = 16 << 20;

/// The file `oci-layout`.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Marker {
    image_layout_version: String,
}

/// Fails unless the file `oci-layout` has this version of the specification.
pub(super) fn version(marker: &[u8], path: &Path, supported: &str) -> Result<(), LayoutError> {
    let marker: Marker = serde_json::from_slice(marker).map_err(LayoutError::corrupt(path))?;
    if marker.image_layout_version == supported {
        return Ok(());
    }
    let reason = format!("image layout version {:?} is not supported, only {supported}", marker.image_layout_version);
    Err(LayoutError::Corrupt { path: path.to_owned(), reason })
}

/// The entries of an `index.json`.
pub(super) fn entries(index: &[u8], path: &Path) -> Result<Vec<LayoutEntry>, LayoutError> {
    Ok(Index::parse(index).map_err(LayoutError::corrupt(path))?.entries().collect())
}

/// A manifest with this digest.
pub(super) fn manifest(
    bytes: Vec<u8>,
    digest: &Digest,
    media_type: &str,
    path: &Path,
) -> Result<Manifest, LayoutError> {
    let mut hasher = digest.algorithm().hasher();
    hasher.update(&bytes);
    let found = hasher.finish();
    if found != *digest {
        return Err(LayoutError::WrongContent { path: path.to_owned(), found });
    }
    let media_type = Some(media_type).filter(|media_type| !media_type.is_empty());
    Manifest::with_digest(bytes.into(), media_type, found)
        .map_err(|fault| damaged(path, format!("can't be used: {fault}")))
}

/// Fails unless a file has this size.
pub(super) fn size(found: Option<u64>, size: u64, path: &Path) -> Result<(), LayoutError> {
    match found {
        Some(found) if found == size => Ok(()),
        Some(found) => Err(damaged(path, format!("has {found} bytes instead of {size}"))),
        None => Err(damaged(path, "is missing")),
    }
}

pub(super) fn damaged(path: &Path, reason: impl Into<String>) -> LayoutError {
    LayoutError::Damaged { path: path.to_owned(), reason: reason.into() }
}
