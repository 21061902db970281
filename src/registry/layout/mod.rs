//! A target that needs no server: a folder of the form "OCI Image Layout" of the image specification, version 1.0.0.
//!
//! Blobs are stored once for all repositories. An image is named by the annotation `org.opencontainers.image.ref.name`
//! of its entry in `index.json`: `REPOSITORY:TAG`, or `REPOSITORY@DIGEST` where it has no tag. So
//! `oci:PATH:REPOSITORY:TAG` is how skopeo and its kin refer to it.
//!
//! `index.json` is read once, and again when another has changed it, and many new names share one writing of it: what is
//! asked or stored costs the same whether there are ten images or a hundred thousand.
//!
//! Files get their names only when they are complete and on the disk, and `index.json` is changed under a lock: neither
//! a crash nor another writer (of this program) leaves anything but a valid layout behind. An upload that was cut off
//! leaves a file `.k8s-copycat-*.tmp` at most; a program that starts writing a day later removes it.

mod blob;
mod error;
mod files;
mod folder;
mod index;
mod names;

use std::{io, mem, path::PathBuf, sync::Arc, time::Duration};

use futures::StreamExt as _;
use tokio::{task::spawn_blocking, time::sleep};

pub use self::error::{LayoutError, LayoutUploadError};
use self::{folder::Folder, index::Entry, names::Written};
use super::{BlobStream, Descriptor, Manifest, Selector};
use crate::model::Digest;

/// How many bytes of a blob are gathered before they are hashed and written, away from the async threads.
const BATCH: usize = 1 << 20;
/// How long names wait for others at most before they are written together.
const LONGEST_GATHERING: Duration = Duration::from_millis(50);

/// An image layout in a folder; a clone is cheap.
#[derive(Clone)]
pub struct Layout {
    folder: Arc<Folder>,
}

impl Layout {
    /// Nothing is touched. The folder is made, with all above it, when something is written.
    pub fn new(path: PathBuf) -> Self {
        Self { folder: Arc::new(Folder::new(path)) }
    }

    /// The repository of that path, which must be clean: its images are named `name:TAG` and `name@DIGEST`.
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
    /// The digest of the image that has a tag, or of the one that is kept by this digest: a tag that happens to point to
    /// it may move away, and does not keep it. A manifest that an index alone names has no entry of its own and is not
    /// found: ask [`Self::has_child`] for it.
    ///
    /// There is no server that vouches for what a manifest names. So the digest is given only when all of that is there
    /// too, each with its size, down to the layers of every platform; otherwise the answer is none, as for an image
    /// that was never stored.
    ///
    /// # Errors
    /// When the layout can't be read, is damaged, or is of an unknown version.
    pub async fn head(&self, selector: Selector<'_>) -> Result<Option<Digest>, LayoutError> {
        let name = self.ref_name(selector);
        self.blocking(move |folder| folder.find(&name)).await
    }

    /// A stored manifest, its digest checked; none where it is not there.
    ///
    /// # Errors
    /// When the layout can't be read.
    pub async fn manifest(&self, digest: &Digest) -> Result<Option<Manifest>, LayoutError> {
        let digest = digest.clone();
        self.blocking(move |folder| folder.manifest(&digest, None)).await
    }

    /// Whether the layout has a manifest and all that it names, whether it has an entry or not; no matter from which
    /// repository.
    ///
    /// # Errors
    /// When the layout can't be read.
    pub async fn has_child(&self, digest: &Digest) -> Result<bool, LayoutError> {
        let digest = digest.clone();
        self.blocking(move |folder| folder.complete(&digest, None)).await
    }

    /// Whether the layout has a blob with its size; no matter from which repository.
    ///
    /// # Errors
    /// When the layout can't be read.
    pub async fn has_blob(&self, descriptor: &Descriptor) -> Result<bool, LayoutError> {
        let (digest, size) = (descriptor.digest.clone(), descriptor.size);
        self.blocking(move |folder| folder.has(&digest, size)).await
    }

    /// Stores a blob, if it has the digest and the size announced. `progress` is told how many bytes were written, as
    /// they are. When the future is dropped on the way, nothing stays.
    ///
    /// # Errors
    /// Which side broke, and how.
    pub async fn upload(
        &self,
        descriptor: &Descriptor,
        mut body: BlobStream,
        progress: impl Fn(u64) + Send + Sync + 'static,
    ) -> Result<(), LayoutUploadError> {
        let (digest, size) = (descriptor.digest.clone(), descriptor.size);
        let mut blob = self.blocking(move |folder| folder.begin(&digest, size)).await?;
        let (mut batch, mut gathered) = (Vec::new(), 0);
        loop {
            let piece = body.next().await.transpose().map_err(LayoutUploadError::Source)?;
            let last = piece.is_none();
            if let Some(piece) = piece {
                gathered += piece.len();
                batch.push(piece);
            }
            if gathered >= BATCH || last {
                let pieces = mem::take(&mut batch);
                gathered = 0;
                let written;
                (blob, written) = self.blocking(move |_| blob.write(&pieces).map(|written| (blob, written))).await?;
                progress(written);
            }
            if last {
                break;
            }
        }
        let digest = descriptor.digest.clone();
        Ok(self.blocking(move |folder| folder.finish(blob, &digest)).await?)
    }

    /// Stores a manifest byte for byte, and lets the tag point to it. Under its digest it is stored as an image without
    /// a tag. All that it names must be there: children of an index come before it, by [`Self::put_child`].
    ///
    /// # Errors
    /// When something that it names is missing, when it has another digest than the one it is to be stored under, or
    /// when the layout can't be written, is damaged, or stays locked.
    pub async fn put_manifest(&self, selector: Selector<'_>, manifest: &Manifest) -> Result<(), LayoutError> {
        if let Selector::Digest(asked) = selector
            && asked != manifest.digest()
        {
            return Err(LayoutError::OtherDigest { manifest: manifest.digest().clone(), asked: asked.clone() });
        }
        let Descriptor { media_type, digest, size, .. } = manifest.descriptor();
        let entry = Entry::new(self.ref_name(selector), media_type, &digest, size);
        self.put_child(manifest).await?;
        self.enter(entry).await
    }

    /// Stores a manifest that an index is going to name, byte for byte and without an entry in `index.json`: it is
    /// reached through the index.
    ///
    /// # Errors
    /// As [`Self::put_manifest`].
    pub async fn put_child(&self, manifest: &Manifest) -> Result<(), LayoutError> {
        let manifest = manifest.clone();
        self.blocking(move |folder| folder.put(&manifest)).await
    }

    /// Waits until the entry is in `index.json`, written together with all others that wait by then. When the future is
    /// dropped on the way it is written all the same.
    async fn enter(&self, entry: Entry<'static>) -> Result<(), LayoutError> {
        let (written, nobody_writes) = self.folder.names().enlist(entry);
        if nobody_writes {
            tokio::spawn(write_names(Arc::clone(&self.folder)));
        }
        written.await.unwrap_or_else(|_| Err(self.broke_off(io::Error::other("the writing broke off"))))
    }

    fn ref_name(&self, selector: Selector<'_>) -> String {
        match selector {
            Selector::Tag(tag) => format!("{}:{tag}", self.name),
            Selector::Digest(digest) => format!("{}@{digest}", self.name),
        }
    }

    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Folder) -> Result<T, LayoutError> + Send + 'static,
    ) -> Result<T, LayoutError> {
        let folder = Arc::clone(&self.folder);
        spawn_blocking(move || work(&folder)).await.unwrap_or_else(|ended| Err(self.broke_off(ended.into())))
    }

    fn broke_off(&self, ended: io::Error) -> LayoutError {
        LayoutError::io("finish the work in", self.folder.path())(ended)
    }
}

/// Writes names until none wait. The more writing them costs, the longer further ones are waited for, unless as many wait
/// already.
async fn write_names(folder: Arc<Folder>) {
    loop {
        let writing = Arc::clone(&folder);
        match spawn_blocking(move || writing.names().write()).await {
            Ok(Some(Written { took, names })) => {
                if folder.names().waiting() < names {
                    sleep(took.min(LONGEST_GATHERING)).await;
                }
            }
            Ok(None) => return,
            Err(_) => return folder.names().give_up(),
        }
    }
}

#[cfg(test)]
mod tests;
