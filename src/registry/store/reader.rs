//! Reads by digest what a store has: as the source of copies when an image's own registry can't give it.

use std::time::Duration;

use futures::{StreamExt as _, TryStreamExt as _, stream};
use tokio::time::timeout;

use super::{Store, StoreRepository, error::StoreError, permit::TransferPermit};
use crate::{
    model::Digest,
    registry::{
        error::Error,
        fault::Fault,
        layout::{LayoutSource, unreadable},
        manifest::{Descriptor, Manifest, TagOrDigest},
        registries::Registries,
        repository::{Repository, pull::BlobStream},
    },
};

/// The longest read of one piece of a layout: it may be on another machine.
const LONGEST_READ: Duration = Duration::from_secs(60);

/// A repository of a registry, or a layout, read by digest only: whatever it answers, other bytes are not accepted.
#[derive(Clone)]
pub enum DigestReader {
    /// A repository of a registry.
    Registry(Box<Repository>),
    /// A layout, whatever the names of its images.
    Layout(LayoutSource),
}

impl Store {
    /// One of its repositories, to read from.
    pub fn reader(&self, repository: &str) -> DigestReader {
        match self {
            Self::Registry { registries, host, .. } => {
                DigestReader::registry(registries, host, &self.mount_name(repository))
            }
            Self::Layout(layout) => DigestReader::Layout(LayoutSource::Folder(layout.clone())),
        }
    }
}

impl DigestReader {
    /// A repository of a registry, named as for [`Registries::repository`].
    pub fn registry(registries: &Registries, host: &str, repository: &str) -> Self {
        Self::Registry(Box::new(registries.repository(host, repository)))
    }

    /// A manifest with a verified digest; none if the place does not have it.
    ///
    /// # Errors
    /// When it can't be read.
    pub async fn manifest(&self, digest: &Digest) -> Result<Option<Manifest>, StoreError> {
        match self {
            Self::Registry(repository) => match repository.manifest(TagOrDigest::Digest(digest)).await {
                Err(error) if error.is_not_found() => Ok(None),
                read => Ok(Some(read?)),
            },
            Self::Layout(layout) if layout.has(digest).await? => Ok(Some(layout.read_manifest(digest, "").await?)),
            Self::Layout(_) => Ok(None),
        }
    }

    /// The bytes of a blob; nothing is read before the stream is polled. The caller must hold [a permit](Self::permit).
    pub fn blob(&self, blob: &Descriptor) -> BlobStream {
        match self {
            Self::Registry(repository) => repository.blob(blob),
            Self::Layout(layout) => {
                let (layout, blob) = (layout.clone(), blob.clone());
                // The length first: a file may be of any length.
                let checked = async move {
                    layout.check_blob(&blob).await.map_err(|error| unreadable(&error))?;
                    Ok(layout.blob(&blob))
                };
                in_time(Box::pin(stream::once(checked).try_flatten()))
            }
        }
    }

    /// The permit to transfer a blob to a target.
    pub async fn permit(&self, target: &StoreRepository) -> TransferPermit {
        match self {
            Self::Registry(repository) => TransferPermit::acquire(repository, target).await,
            Self::Layout(_) => TransferPermit::to(target).await,
        }
    }
}

/// Ends with an error if a piece takes too long.
fn in_time(bytes: BlobStream) -> BlobStream {
    let pieces = stream::unfold(Some(bytes), |bytes| async {
        let mut bytes = bytes?;
        match timeout(LONGEST_READ, bytes.next()).await {
            Ok(piece) => piece.map(|piece| (piece, Some(bytes))),
            Err(_) => {
                let fault = Fault::Timeout(LONGEST_READ);
                Some((Err(Error::new("reading the layout".to_owned(), fault)), None))
            }
        }
    });
    Box::pin(pieces)
}
