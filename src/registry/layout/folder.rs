//! The folder of a layout and its blobs. All functions block.

use std::{
    collections::HashSet,
    fs::{self, File},
    path::{Path, PathBuf},
    sync::atomic::{AtomicBool, Ordering},
};

use super::{
    blob::BlobWriter,
    error::LayoutError,
    files,
    index::{EMPTY, LayoutEntry},
    index_file::IndexFile,
    verified::{self, MAX_MANIFEST, damaged},
};
use crate::{
    model::Digest,
    registry::manifest::{Contents, Descriptor, Manifest},
};

/// The supported version of the specification.
pub(super) const VERSION: &str = "1.0.0";
/// The folder of a layout; created by the first write.
pub(super) struct Folder {
    path: PathBuf,
    index_file: IndexFile,
    cleaned: AtomicBool,
}

impl Folder {
    pub(super) fn new(path: PathBuf) -> Self {
        Self { index_file: IndexFile::new(&path), path, cleaned: AtomicBool::new(false) }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn index_file(&self) -> &IndexFile {
        &self.index_file
    }

    /// Whether a blob of this size exists.
    pub(super) fn has(&self, digest: &Digest, size: u64) -> Result<bool, LayoutError> {
        Ok(files::size(&self.blob_path(digest))? == Some(size))
    }

    /// The length of a blob.
    pub(super) fn blob_size(&self, digest: &Digest) -> Result<Option<u64>, LayoutError> {
        files::size(&self.blob_path(digest))
    }

    /// The digest of the first entry with this name.
    pub(super) fn entry(&self, name: &str) -> Result<Option<Digest>, LayoutError> {
        self.check_version()?;
        let Some(index) = self.index_file.read()? else { return Ok(None) };
        Ok(index.named(name).find_map(|entry| entry.digest()))
    }

    /// The digest of the first entry with this name that is complete: everything it references exists.
    pub(super) fn find(&self, name: &str) -> Result<Option<Digest>, LayoutError> {
        self.check_version()?;
        let Some(index) = self.index_file.read()? else { return Ok(None) };
        for entry in index.named(name) {
            let Some(digest) = entry.digest() else { continue };
            if self.has(&digest, entry.size())? && self.is_complete(&digest, Some(entry.media_type()))? {
                return Ok(Some(digest));
            }
        }
        Ok(None)
    }

    /// Whether a manifest exists, and everything it references, directly or indirectly.
    pub(super) fn is_complete(&self, digest: &Digest, media_type: Option<&str>) -> Result<bool, LayoutError> {
        match self.manifest(digest, media_type)? {
            Some(manifest) => Ok(self.missing(&manifest)?.is_none()),
            None => Ok(false),
        }
    }

    pub(super) fn begin(&self, digest: &Digest, size: u64) -> Result<BlobWriter, LayoutError> {
        self.prepare(digest)?;
        BlobWriter::create(&self.path, digest, size)
    }

    pub(super) fn finish(&self, blob: BlobWriter, digest: &Digest) -> Result<(), LayoutError> {
        blob.finish(&self.blob_path(digest))
    }

    /// Writes a manifest, without an entry. Everything it references must exist.
    pub(super) fn put(&self, manifest: &Manifest) -> Result<(), LayoutError> {
        let Descriptor { digest, size, .. } = manifest.descriptor();
        if let Some(missing) = self.missing(manifest)? {
            return Err(LayoutError::Incomplete { path: self.path.clone(), manifest: digest, missing });
        }
        self.prepare(&digest)?;
        // What can't be read is replaced, too.
        let present = files::read(&self.blob_path(&digest), MAX_MANIFEST).ok().flatten();
        if present.as_deref() != Some(&**manifest.bytes()) {
            let mut blob = self.begin(&digest, size)?;
            blob.write(&[manifest.bytes().clone()])?;
            self.finish(blob, &digest)?;
        }
        Ok(())
    }

    /// The first missing reference of a manifest, direct or indirect.
    fn missing(&self, manifest: &Manifest) -> Result<Option<Digest>, LayoutError> {
        let mut seen = HashSet::new();
        let mut unchecked = vec![manifest.clone()];
        while let Some(manifest) = unchecked.pop() {
            match manifest.contents() {
                // Its references are unknown.
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
                        // Build caches are indexes with layers as entries.
                        if child.is_manifest() {
                            match self.manifest(&child.digest, Some(&child.media_type))? {
                                Some(manifest) => unchecked.push(manifest),
                                None => return Ok(Some(child.digest)),
                            }
                        }
                    }
                }
            }
        }
        Ok(None)
    }

    /// Whether the folder is a layout already. Creates a file and removes it in every existing folder that a write uses, or
    /// in the nearest parent of one that does not exist.
    pub(super) fn probe(&self) -> Result<bool, LayoutError> {
        let is_layout = self.check_version()?;
        let blobs = self.path.join("blobs");
        let folders = [self.path.clone(), blobs.clone(), blobs.join("sha256")];
        let existing: Vec<&Path> = folders.iter().map(PathBuf::as_path).filter(|folder| folder.exists()).collect();
        let parent = self.path.ancestors().skip(1).find(|parent| parent.as_os_str().is_empty() || parent.exists());
        let written = if existing.is_empty() { parent.into_iter().collect() } else { existing };
        for folder in written {
            let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
            drop(files::temporary(folder)?);
        }
        Ok(is_layout)
    }

    /// A manifest; None if it does not exist, or has another digest.
    pub(super) fn manifest(&self, digest: &Digest, media_type: Option<&str>) -> Result<Option<Manifest>, LayoutError> {
        let path = self.blob_path(digest);
        if files::size(&path)?.is_none_or(|size| size > MAX_MANIFEST) {
            return Ok(None);
        }
        let Some(bytes) = files::read(&path, MAX_MANIFEST)? else { return Ok(None) };
        if !digest.matches(&bytes) {
            return Ok(None);
        }
        Ok(Manifest::new(bytes.into(), media_type).ok())
    }

    /// The entries of `index.json` of a layout that must exist.
    pub(super) fn entries(&self) -> Result<Vec<LayoutEntry>, LayoutError> {
        if !self.check_version()? {
            return Err(LayoutError::NoLayout { path: self.path.clone() });
        }
        let index = self.index_file.read()?.ok_or_else(|| damaged(self.index_file.path(), "is missing"))?;
        Ok(index.entries().collect())
    }

    /// A manifest that must exist.
    pub(super) fn read_manifest(&self, digest: &Digest, media_type: &str) -> Result<Manifest, LayoutError> {
        let path = self.blob_path(digest);
        match files::size(&path)? {
            None => return Err(damaged(&path, "is missing")),
            Some(size) if size > MAX_MANIFEST => {
                return Err(damaged(&path, format!("is too long for a manifest, with {size} bytes")));
            }
            Some(_) => {}
        }
        let bytes = files::read(&path, MAX_MANIFEST)?.ok_or_else(|| damaged(&path, "is missing"))?;
        verified::manifest(bytes, digest, media_type, &path)
    }

    /// Fails unless a blob is there with this length.
    pub(super) fn check_blob(&self, digest: &Digest, size: u64) -> Result<(), LayoutError> {
        let path = self.blob_path(digest);
        verified::size(files::size(&path)?, size, &path)
    }

    /// Creates the folder and the files of an empty layout if they are missing, and removes stale temporary files.
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
            let index = self.index_file.path();
            if files::size(index)?.is_none() {
                files::write(&self.path, index, EMPTY)?;
            }
            if !self.check_version()? {
                let marker = format!(r#"{{"imageLayoutVersion":"{VERSION}"}}"#);
                files::write(&self.path, &self.marker_path(), marker.as_bytes())?;
            }
        }
        if !self.cleaned.swap(true, Ordering::Relaxed) {
            // Files of another user, perhaps; they are no obstacle.
            if let Err(error) = files::remove_stale(&self.path) {
                tracing::warn!(error = %error, "can't remove temporary files of an earlier run");
            }
        }
        Ok(())
    }

    /// Whether the folder is marked as a layout; another version is an error.
    fn check_version(&self) -> Result<bool, LayoutError> {
        let path = self.marker_path();
        let Some(bytes) = files::read(&path, files::MAX_MARKER)? else { return Ok(false) };
        verified::version(&bytes, &path, VERSION).map(|()| true)
    }

    pub(super) fn blob_path(&self, digest: &Digest) -> PathBuf {
        self.path.join("blobs").join(digest.algorithm().name()).join(digest.hex())
    }

    fn marker_path(&self) -> PathBuf {
        self.path.join("oci-layout")
    }
}
