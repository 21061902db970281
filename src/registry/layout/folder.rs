//! The folder of a layout and its blobs. Everything here blocks.

use std::{
    collections::HashSet,
    fs::{self, File},
    path::{Path, PathBuf},
    sync::atomic::{AtomicBool, Ordering},
};

use serde::Deserialize;

use super::{LayoutError, blob::BlobWriter, files, index::EMPTY, names::Names};
use crate::{
    model::Digest,
    registry::{Contents, Descriptor, Manifest},
};

/// The version of the specification that is written and understood.
const VERSION: &str = "1.0.0";
/// The longest manifest that is read, in bytes; what is longer was not written here.
const MANIFEST_LIMIT: u64 = 16 << 20;

/// A layout's folder; need not exist before something is written.
pub(super) struct Folder {
    path: PathBuf,
    names: Names,
    cleaned: AtomicBool,
}

/// The file `oci-layout`.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Marker {
    image_layout_version: String,
}

impl Folder {
    pub(super) fn new(path: PathBuf) -> Self {
        Self { names: Names::of(&path), path, cleaned: AtomicBool::new(false) }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// The names of the images.
    pub(super) fn names(&self) -> &Names {
        &self.names
    }

    /// Whether there is a blob, with its size.
    pub(super) fn has(&self, digest: &Digest, size: u64) -> Result<bool, LayoutError> {
        Ok(files::size(&self.blob_path(digest))? == Some(size))
    }

    /// The digest of the first entry of that name, if all that it names, directly or not, is there with its size.
    pub(super) fn find(&self, name: &str) -> Result<Option<Digest>, LayoutError> {
        self.check_version()?;
        let Some(index) = self.names.read()? else { return Ok(None) };
        for entry in index.named(name) {
            let Some(digest) = entry.digest() else { continue };
            if self.has(&digest, entry.size())? && self.complete(&digest, Some(entry.media_type()))? {
                return Ok(Some(digest));
            }
        }
        Ok(None)
    }

    /// Whether a manifest is there, and all that it names, directly or not.
    pub(super) fn complete(&self, digest: &Digest, media_type: Option<&str>) -> Result<bool, LayoutError> {
        match self.manifest(digest, media_type)? {
            Some(manifest) => Ok(self.missing(&manifest)?.is_none()),
            None => Ok(false),
        }
    }

    /// Starts a blob.
    pub(super) fn begin(&self, digest: &Digest, size: u64) -> Result<BlobWriter, LayoutError> {
        self.prepare(digest)?;
        BlobWriter::create(&self.path, digest, size)
    }

    /// Ends a blob.
    pub(super) fn finish(&self, blob: BlobWriter, digest: &Digest) -> Result<(), LayoutError> {
        blob.finish(&self.blob_path(digest))
    }

    /// Stores a manifest that is complete; it has no name yet.
    pub(super) fn put(&self, manifest: &Manifest) -> Result<(), LayoutError> {
        let Descriptor { digest, size, .. } = manifest.descriptor();
        if let Some(missing) = self.missing(manifest)? {
            return Err(LayoutError::Incomplete { path: self.path.clone(), manifest: digest, missing });
        }
        self.prepare(&digest)?;
        if files::read(&self.blob_path(&digest))?.as_deref() != Some(&**manifest.bytes()) {
            let mut blob = self.begin(&digest, size)?;
            blob.write(&[manifest.bytes().clone()])?;
            self.finish(blob, &digest)?;
        }
        Ok(())
    }

    /// The first thing that a manifest names, or that a manifest named by it names, and that is not there.
    fn missing(&self, manifest: &Manifest) -> Result<Option<Digest>, LayoutError> {
        let mut seen = HashSet::new();
        let mut waiting = vec![manifest.clone()];
        while let Some(manifest) = waiting.pop() {
            match manifest.contents() {
                // Of what can't be read it can't be said that all it names is there.
                Err(_) => return Ok(Some(manifest.digest().clone())),
                Ok(Contents::Image { blobs }) => {
                    for blob in blobs.into_iter().filter(|blob| !blob.foreign) {
                        if !self.has(&blob.digest, blob.size)? {
                            return Ok(Some(blob.digest));
                        }
                    }
                }
                Ok(Contents::Index { manifests }) => {
                    for child in manifests.into_iter().filter(|child| !child.foreign) {
                        if !seen.insert(child.digest.clone()) {
                            continue;
                        }
                        if !self.has(&child.digest, child.size)? {
                            return Ok(Some(child.digest));
                        }
                        // Build caches are indexes of layers.
                        if child.is_manifest() {
                            match self.manifest(&child.digest, Some(&child.media_type))? {
                                Some(manifest) => waiting.push(manifest),
                                None => return Ok(Some(child.digest)),
                            }
                        }
                    }
                }
            }
        }
        Ok(None)
    }

    /// A stored manifest; none when it is not there, or is not what its name says.
    pub(super) fn manifest(&self, digest: &Digest, media_type: Option<&str>) -> Result<Option<Manifest>, LayoutError> {
        let path = self.blob_path(digest);
        if files::size(&path)?.is_none_or(|size| size > MANIFEST_LIMIT) {
            return Ok(None);
        }
        let Some(bytes) = files::read(&path)? else { return Ok(None) };
        if !digest.matches(&bytes) {
            return Ok(None);
        }
        Ok(Manifest::new(bytes.into(), media_type).ok())
    }

    /// Makes what a layout must have, and takes away what was left behind; what is there already is not touched.
    fn prepare(&self, digest: &Digest) -> Result<(), LayoutError> {
        let blobs = self.path.join("blobs");
        let folder = blobs.join(digest.algorithm().name());
        if !folder.is_dir() {
            fs::create_dir_all(&folder).map_err(LayoutError::io("create", &folder))?;
            for parent in [&blobs, &self.path] {
                File::open(parent).and_then(|parent| parent.sync_all()).map_err(LayoutError::io("write", parent))?;
            }
        }
        if !self.check_version()? {
            let _lock = files::lock(&self.path)?;
            let index = self.names.path();
            if files::size(index)?.is_none() {
                files::write(&self.path, index, EMPTY)?;
            }
            if !self.check_version()? {
                let marker = format!(r#"{{"imageLayoutVersion":"{VERSION}"}}"#);
                files::write(&self.path, &self.marker_path(), marker.as_bytes())?;
            }
        }
        if !self.cleaned.swap(true, Ordering::Relaxed) {
            // Another's leftovers need not be ours to remove, and do not stand in the way of what is written.
            if let Err(error) = files::remove_stale(&self.path) {
                tracing::warn!(error = %error, "files left behind by an earlier run could not be removed");
            }
        }
        Ok(())
    }

    /// Whether the folder says that it is a layout; one of another version is an error.
    fn check_version(&self) -> Result<bool, LayoutError> {
        let path = self.marker_path();
        let Some(bytes) = files::read(&path)? else { return Ok(false) };
        let marker: Marker = serde_json::from_slice(&bytes).map_err(corrupt(&path))?;
        if marker.image_layout_version == VERSION {
            return Ok(true);
        }
        let reason = format!("image layout version {:?} is not supported, {VERSION} is", marker.image_layout_version);
        Err(LayoutError::Corrupt { path, reason })
    }

    fn blob_path(&self, digest: &Digest) -> PathBuf {
        self.path.join("blobs").join(digest.algorithm().name()).join(digest.hex())
    }

    fn marker_path(&self) -> PathBuf {
        self.path.join("oci-layout")
    }
}

/// For `map_err`: which file has that mistake.
pub(super) fn corrupt(path: &Path) -> impl FnOnce(serde_json::Error) -> LayoutError {
    let path = path.to_owned();
    move |error| LayoutError::Corrupt { path, reason: error.to_string() }
}
