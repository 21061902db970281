//! Reads a whole layout, to copy it elsewhere. Unlike lookups, which treat what is damaged as missing, this tells which file
//! it is.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};

use bytes::Bytes;
use futures::{Stream, StreamExt as _, stream};
use tokio::task::spawn_blocking;

use super::{Layout, LayoutError, folder::Folder, index::LayoutEntry, tar::LayoutTar};
use crate::{
    model::Digest,
    registry::{
        error::Error,
        fault::Fault,
        manifest::{Descriptor, Manifest},
        repository::pull::BlobStream,
    },
};

/// Pieces in which a blob in a tar file is read, in bytes.
const PIECE: u64 = 1 << 18;

/// A layout that is copied elsewhere: its folder, or a tar file of it.
#[derive(Clone)]
pub enum LayoutSource {
    /// The folder.
    Folder(Layout),
    /// The tar file.
    Tar(Arc<LayoutTar>),
}

impl LayoutSource {
    /// A folder, or a file, which must be an uncompressed tar file.
    ///
    /// # Errors
    /// When there is neither, or when the file can't be read or is no tar file of a layout.
    pub async fn open(path: PathBuf) -> Result<Self, LayoutError> {
        let opening = path.clone();
        blocking(path, move || {
            let found = fs::metadata(&opening).map_err(LayoutError::io("read", &opening))?;
            if found.is_dir() {
                return Ok(Self::Folder(Layout::new(opening)));
            }
            if !found.is_file() {
                let reason = "is no file that can be read at any place, such as a pipe: write it to a file first";
                return Err(LayoutError::Unusable { path: opening, reason: reason.to_owned() });
            }
            LayoutTar::open(&opening).map(|tar| Self::Tar(Arc::new(tar)))
        })
        .await
    }

    /// The folder or the tar file.
    pub fn path(&self) -> &Path {
        match self {
            Self::Folder(layout) => layout.path(),
            Self::Tar(tar) => tar.path(),
        }
    }

    /// The entries of `index.json`, in order.
    ///
    /// # Errors
    /// When the folder is no layout, or can't be read, is damaged, or is of an unknown version.
    pub async fn entries(&self) -> Result<Vec<LayoutEntry>, LayoutError> {
        match self {
            Self::Folder(layout) => layout.repository("").blocking(Folder::entries).await,
            Self::Tar(tar) => of_tar(tar, LayoutTar::entries).await,
        }
    }

    /// A manifest with a verified digest. `media_type` is that of the reference to it, and may be empty.
    ///
    /// # Errors
    /// When its file is missing, can't be read, or is damaged.
    pub async fn read_manifest(&self, digest: &Digest, media_type: &str) -> Result<Manifest, LayoutError> {
        let (digest, media_type) = (digest.clone(), media_type.to_owned());
        match self {
            Self::Folder(layout) => {
                layout.repository("").blocking(move |folder| folder.read_manifest(&digest, &media_type)).await
            }
            Self::Tar(tar) => of_tar(tar, move |tar| tar.read_manifest(&digest, &media_type)).await,
        }
    }

    /// Whether there is a file for a manifest or a blob.
    ///
    /// # Errors
    /// When the layout can't be read.
    pub async fn has(&self, digest: &Digest) -> Result<bool, LayoutError> {
        match self {
            Self::Folder(layout) => Ok(layout.repository("").blob_size(digest).await?.is_some()),
            Self::Tar(tar) => Ok(tar.has(digest)),
        }
    }

    /// Whether the file of a blob is there, with the right length.
    ///
    /// # Errors
    /// When it is not, or when the layout can't be read.
    pub async fn check_blob(&self, blob: &Descriptor) -> Result<(), LayoutError> {
        let (digest, size) = (blob.digest.clone(), blob.size);
        match self {
            Self::Folder(layout) => {
                layout.repository("").blocking(move |folder| folder.check_blob(&digest, size)).await
            }
            Self::Tar(tar) => of_tar(tar, move |tar| tar.check_blob(&digest, size)).await,
        }
    }

    /// The bytes of a blob, to upload it: the last of them come only after the digest was verified.
    pub fn blob(&self, blob: &Descriptor) -> BlobStream {
        match self {
            Self::Folder(layout) => until_verified(layout.repository("").read_blob(blob.clone())),
            Self::Tar(tar) => until_verified(read_in_tar(Arc::clone(tar), blob.clone())),
        }
    }
}

/// The bytes of a blob in a tar file; the stream ends with an error if they have another digest.
fn read_in_tar(tar: Arc<LayoutTar>, blob: Descriptor) -> impl Stream<Item = Result<Bytes, LayoutError>> + Send {
    let start = Some((0, blob.digest.algorithm().hasher()));
    stream::try_unfold(start, move |state| {
        let (tar, blob) = (Arc::clone(&tar), blob.clone());
        async move {
            let Some((read, mut hasher)) = state else { return Ok(None) };
            of_tar(&tar, move |tar| {
                let (member, path) = tar.blob(&blob.digest)?;
                let left = member.size.saturating_sub(read).min(PIECE);
                if left == 0 {
                    let found = hasher.finish();
                    let is_right = found == blob.digest;
                    return if is_right { Ok(None) } else { Err(LayoutError::WrongContent { path, found }) };
                }
                let length = usize::try_from(left).unwrap_or_default();
                let bytes = tar.read_at(member.offset.saturating_add(read), length);
                let bytes = bytes.map_err(LayoutError::io("read", path))?;
                hasher.update(&bytes);
                Ok(Some((Bytes::from(bytes), Some((read.saturating_add(left), hasher)))))
            })
            .await
        }
    })
}

/// Holds one piece back, because the digest is known after the last one.
fn until_verified(bytes: impl Stream<Item = Result<Bytes, LayoutError>> + Send + 'static) -> BlobStream {
    let bytes = Box::pin(bytes.fuse());
    Box::pin(stream::try_unfold((bytes, None), |(mut bytes, mut held)| async move {
        while let Some(next) = bytes.next().await {
            let next = next.map_err(|error| unreadable(&error))?;
            if let Some(earlier) = held.replace(next) {
                return Ok(Some((earlier, (bytes, held))));
            }
        }
        Ok(held.take().map(|last| (last, (bytes, None))))
    }))
}

async fn of_tar<T: Send + 'static>(
    tar: &Arc<LayoutTar>,
    work: impl FnOnce(&LayoutTar) -> Result<T, LayoutError> + Send + 'static,
) -> Result<T, LayoutError> {
    let (tar, path) = (Arc::clone(tar), tar.path().to_owned());
    blocking(path, move || work(&tar)).await
}

async fn blocking<T: Send + 'static>(
    path: PathBuf,
    work: impl FnOnce() -> Result<T, LayoutError> + Send + 'static,
) -> Result<T, LayoutError> {
    spawn_blocking(work).await.unwrap_or_else(|aborted| Err(LayoutError::io("read", path)(aborted.into())))
}

pub(in crate::registry) fn unreadable(error: &LayoutError) -> Error {
    Error::new("reading the layout".to_owned(), Fault::Permanent(error.to_string()))
}

#[cfg(test)]
mod tests {
    use futures::TryStreamExt as _;

    use super::*;
    use crate::registry::{manifest::TagOrDigest, testing::descriptor};

    const INDEX: &str = "application/vnd.oci.image.index.v1+json";

    async fn with_blob(content: &[u8]) -> (tempfile::TempDir, LayoutSource, Descriptor) {
        let folder = tempfile::tempdir().unwrap();
        let layout = Layout::new(folder.path().to_owned());
        let blob = descriptor(content);
        let body = Box::pin(stream::iter([Ok(Bytes::copy_from_slice(content))]));
        layout.repository("a").upload(&blob, body, |_| ()).await.unwrap();
        (folder, LayoutSource::Folder(layout), blob)
    }

    async fn read(layout: &LayoutSource, blob: &Descriptor) -> (usize, Result<(), Error>) {
        let mut stream = layout.blob(blob);
        let mut received = 0;
        loop {
            match stream.try_next().await {
                Ok(Some(bytes)) => received += bytes.len(),
                Ok(None) => return (received, Ok(())),
                Err(error) => return (received, Err(error)),
            }
        }
    }

    #[tokio::test]
    async fn a_damaged_blob_ends_with_an_error_before_its_last_bytes() {
        for length in [0, 3, 1 << 20, (5 << 20) + 7] {
            let content = vec![7; length];
            let (folder, layout, blob) = with_blob(&content).await;
            let (received, end) = read(&layout, &blob).await;
            assert_eq!(received, length);
            end.unwrap();
            if length == 0 {
                continue;
            }
            let path = folder.path().join("blobs/sha256").join(blob.digest.hex());
            fs::write(&path, vec![8; length]).unwrap();
            layout.check_blob(&blob).await.unwrap();
            let (received, end) = read(&layout, &blob).await;
            let error = end.unwrap_err().to_string();
            assert!(received < length, "{received} of {length}");
            assert!(error.contains(&path.display().to_string()) && error.contains("has the digest"), "{error}");
        }
    }

    #[tokio::test]
    async fn what_is_missing_or_too_short_is_told_with_its_file() {
        let (folder, layout, blob) = with_blob(b"content").await;
        let path = folder.path().join("blobs/sha256").join(blob.digest.hex());
        let name = path.display().to_string();
        fs::write(&path, b"cont").unwrap();
        let short = layout.check_blob(&blob).await.unwrap_err().to_string();
        assert!(short.contains(&name) && short.contains("4 bytes instead of 7"), "{short}");
        let no_manifest = layout.read_manifest(&blob.digest, "").await.unwrap_err().to_string();
        assert!(no_manifest.contains(&name) && no_manifest.contains("has the digest"), "{no_manifest}");
        fs::remove_file(&path).unwrap();
        for missing in [
            layout.check_blob(&blob).await.unwrap_err().to_string(),
            layout.read_manifest(&blob.digest, "").await.unwrap_err().to_string(),
        ] {
            assert!(missing.contains(&name) && missing.contains("missing"), "{missing}");
        }
    }

    #[tokio::test]
    async fn entries_of_other_tools_are_listed_too() {
        let folder = tempfile::tempdir().unwrap();
        let layout = Layout::new(folder.path().to_owned());
        let source = LayoutSource::open(folder.path().to_owned()).await.unwrap();
        let no_layout = source.entries().await.unwrap_err().to_string();
        assert!(no_layout.contains("no file oci-layout"), "{no_layout}");
        let index = format!(r#"{{"schemaVersion":2,"mediaType":"{INDEX}","manifests":[]}}"#);
        let manifest = Manifest::new(index.into(), None).unwrap();
        layout.repository("team/app").put_manifest(TagOrDigest::Tag("1"), &manifest).await.unwrap();
        let entry = LayoutEntry {
            name: Some("team/app:1".to_owned()),
            media_type: INDEX.to_owned(),
            digest: manifest.digest().to_string(),
        };
        assert_eq!(source.entries().await.unwrap(), [entry]);
        let other = r#"{"manifests":[{"mediaType":"x","digest":"md5:1","size":1},{"digest":"sha256:2","size":2}]}"#;
        fs::write(folder.path().join("index.json"), other).unwrap();
        let names: Vec<_> =
            source.entries().await.unwrap().into_iter().map(|entry| (entry.name, entry.digest)).collect();
        assert_eq!(names, [(None, "md5:1".to_owned()), (None, "sha256:2".to_owned())]);
    }
}
