//! OCI image layouts: folders as in the "OCI Image Layout" of the image specification, version 1.0.0.
//!
//! Blobs are stored once for all repositories. The annotation `org.opencontainers.image.ref.name` of an entry in
//! `index.json` names the image: `REPOSITORY:TAG`, or `REPOSITORY@DIGEST` if it has no tag. Tools such as skopeo refer to
//! it by `oci:PATH:REPOSITORY:TAG`.
//!
//! `index.json` is cached until another process changes it, and concurrent new entries are written together, so that the
//! cost of a read or write does not depend on the number of images.
//!
//! Files are renamed to their final names only when they are complete and on disk, and `index.json` is changed under a
//! lock: after a crash, and with several writers (of this program), the layout is valid. An interrupted upload leaves at
//! most a file `.k8s-copycat-*.tmp`, which the first write after a day removes.

mod blob;
mod contents;
mod error;
mod files;
mod folder;
mod index;
mod index_file;
mod read;
mod tar;
mod tar_members;
mod verified;

use std::{
    io, mem,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use futures::StreamExt as _;
use tokio::{task::spawn_blocking, time::sleep};

pub(in crate::registry) use self::contents::unreadable;
pub use self::{
    contents::LayoutSource,
    error::{LayoutError, LayoutUploadError},
    index::LayoutEntry,
};
use self::{folder::Folder, index::Entry, index_file::Write};
use crate::{
    model::Digest,
    registry::{
        manifest::{Descriptor, Manifest, TagOrDigest},
        repository::pull::BlobStream,
    },
};

/// The number of bytes of a blob that are hashed and written together, outside of the async threads.
const BATCH: usize = 1 << 20;
/// The longest wait for further entries to write together.
const MAX_BATCH_WAIT: Duration = Duration::from_millis(50);

/// An image layout; a clone is cheap.
#[derive(Clone)]
pub struct Layout {
    folder: Arc<Folder>,
}

impl Layout {
    /// Reads and writes nothing yet. The first write creates the folder and its parents.
    pub fn new(path: PathBuf) -> Self {
        Self { folder: Arc::new(Folder::new(path)) }
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Whether a write can succeed: creates a file and removes it. True if the folder is a layout already; one that does
    /// not exist is not created.
    ///
    /// # Errors
    /// When the folder can't be written or created, is damaged, or is of an unknown version.
    pub async fn probe(&self) -> Result<bool, LayoutError> {
        self.repository("").blocking(Folder::probe).await
    }

    /// A repository, whose images are named `name:TAG` and `name@DIGEST`; `name` must be a valid repository path.
    pub fn repository(&self, name: &str) -> LayoutRepository {
        LayoutRepository { folder: Arc::clone(&self.folder), name: name.into() }
    }
}

/// One repository of a layout; a clone is cheap.
#[derive(Clone)]
pub struct LayoutRepository {
    folder: Arc<Folder>,
    name: Arc<str>,
}

impl LayoutRepository {
    /// The digest of the image with a tag, or of the image stored under this digest (a tag that points to it does not
    /// count, since tags move). For the child manifests of an index, which have no entry, use [`Self::has_child`].
    ///
    /// A registry guarantees that a manifest's blobs exist; a folder does not. So None is returned if anything that the
    /// manifest references, down to the layers of every platform, is missing or has another size.
    ///
    /// # Errors
    /// When the layout can't be read, is damaged, or is of an unknown version.
    pub async fn head(&self, selector: TagOrDigest<'_>) -> Result<Option<Digest>, LayoutError> {
        let name = self.ref_name(selector);
        self.blocking(move |folder| folder.find(&name)).await
    }

    /// A manifest with a verified digest; None if it does not exist.
    ///
    /// # Errors
    /// When the layout can't be read.
    pub async fn manifest(&self, digest: &Digest) -> Result<Option<Manifest>, LayoutError> {
        let digest = digest.clone();
        self.blocking(move |folder| folder.manifest(&digest, None)).await
    }

    /// Whether the layout has a manifest and everything that it references, in any repository.
    ///
    /// # Errors
    /// When the layout can't be read.
    pub async fn has_child(&self, digest: &Digest) -> Result<bool, LayoutError> {
        let digest = digest.clone();
        self.blocking(move |folder| folder.is_complete(&digest, None)).await
    }

    /// The digest of the entry in `index.json` with a tag, or with this digest, whether or not everything it references
    /// exists.
    ///
    /// # Errors
    /// When the layout can't be read, is damaged, or is of an unknown version.
    pub async fn entry(&self, selector: TagOrDigest<'_>) -> Result<Option<Digest>, LayoutError> {
        let name = self.ref_name(selector);
        self.blocking(move |folder| folder.entry(&name)).await
    }

    /// The length of a blob in bytes; None if the layout does not have it.
    ///
    /// # Errors
    /// When the layout can't be read.
    pub async fn blob_size(&self, digest: &Digest) -> Result<Option<u64>, LayoutError> {
        let digest = digest.clone();
        self.blocking(move |folder| folder.blob_size(&digest)).await
    }

    /// Whether the layout has a blob of this size, in any repository.
    ///
    /// # Errors
    /// When the layout can't be read.
    pub async fn has_blob(&self, descriptor: &Descriptor) -> Result<bool, LayoutError> {
        let (digest, size) = (descriptor.digest.clone(), descriptor.size);
        self.blocking(move |folder| folder.has(&digest, size)).await
    }

    /// Writes a blob, and verifies its digest and size. `progress` is called with the number of bytes written. Dropping the
    /// future discards the blob.
    ///
    /// # Errors
    /// Which side failed, and why.
    pub async fn upload(
        &self,
        descriptor: &Descriptor,
        mut body: BlobStream,
        progress: impl Fn(u64) + Send + Sync + 'static,
    ) -> Result<(), LayoutUploadError> {
        let (digest, size) = (descriptor.digest.clone(), descriptor.size);
        let mut blob = self.blocking(move |folder| folder.begin(&digest, size)).await?;
        let (mut batch, mut batch_bytes) = (Vec::new(), 0);
        loop {
            let chunk = body.next().await.transpose().map_err(LayoutUploadError::Source)?;
            let is_last = chunk.is_none();
            if let Some(chunk) = chunk {
                batch_bytes += chunk.len();
                batch.push(chunk);
            }
            if batch_bytes >= BATCH || is_last {
                let chunks = mem::take(&mut batch);
                batch_bytes = 0;
                let written;
                (blob, written) = self.blocking(move |_| blob.write(&chunks).map(|written| (blob, written))).await?;
                progress(written);
            }
            if is_last {
                break;
            }
        }
        let digest = descriptor.digest.clone();
        Ok(self.blocking(move |folder| folder.finish(blob, &digest)).await?)
    }

    /// Writes a manifest and its entry in `index.json`, under a tag or, as an image without a tag, under its digest.
    /// Everything that it references must exist: write the children of an index first, by [`Self::put_child`].
    ///
    /// # Errors
    /// When something that it references is missing, when `selector` is another digest, or when the layout can't be
    /// written, is damaged, or stays locked.
    pub async fn put_manifest(&self, selector: TagOrDigest<'_>, manifest: &Manifest) -> Result<(), LayoutError> {
        if let TagOrDigest::Digest(requested) = selector
            && requested != manifest.digest()
        {
            return Err(LayoutError::OtherDigest { manifest: manifest.digest().clone(), requested: requested.clone() });
        }
        let Descriptor { media_type, digest, size, .. } = manifest.descriptor();
        let entry = Entry::new(self.ref_name(selector), media_type, &digest, size);
        self.put_child(manifest).await?;
        self.add_to_index(entry).await
    }

    /// Writes a child manifest of an index, without an entry in `index.json`.
    ///
    /// # Errors
    /// As [`Self::put_manifest`].
    pub async fn put_child(&self, manifest: &Manifest) -> Result<(), LayoutError> {
        let manifest = manifest.clone();
        self.blocking(move |folder| folder.put(&manifest)).await
    }

    /// Waits until the entry is in `index.json`, written together with others. It is written even if the future is
    /// dropped.
    async fn add_to_index(&self, entry: Entry<'static>) -> Result<(), LayoutError> {
        let (written, needs_writer) = self.folder.index_file().add(entry);
        if needs_writer {
            tokio::spawn(write_entries(Arc::clone(&self.folder)));
        }
        written.await.unwrap_or_else(|_| Err(self.aborted(io::Error::other("the write was aborted"))))
    }

    fn ref_name(&self, selector: TagOrDigest<'_>) -> String {
        match selector {
            TagOrDigest::Tag(tag) => format!("{}:{tag}", self.name),
            TagOrDigest::Digest(digest) => format!("{}@{digest}", self.name),
        }
    }

    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Folder) -> Result<T, LayoutError> + Send + 'static,
    ) -> Result<T, LayoutError> {
        let folder = Arc::clone(&self.folder);
        spawn_blocking(move || work(&folder)).await.unwrap_or_else(|aborted| Err(self.aborted(aborted.into())))
    }

    fn aborted(&self, error: io::Error) -> LayoutError {
        LayoutError::io("write to", self.folder.path())(error)
    }
}

/// Writes entries until none are pending. The longer a write takes, the longer it waits for further entries to share the
/// next one, unless as many are pending already.
async fn write_entries(folder: Arc<Folder>) {
    loop {
        let writing = Arc::clone(&folder);
        match spawn_blocking(move || writing.index_file().write()).await {
            Ok(Some(Write { took, entries })) => {
                if folder.index_file().pending() < entries {
                    sleep(took.min(MAX_BATCH_WAIT)).await;
                }
            }
            Ok(None) => return,
            Err(_) => return folder.index_file().drop_pending(),
        }
    }
}

#[cfg(test)]
mod tests;
