//! One repository of a registry.

use super::{BlobStream, Descriptor, Error, Manifest, Selector, UploadError};
use crate::model::Digest;

/// One repository of a registry; a clone is cheap.
#[derive(Clone)]
pub struct Repository;

impl Repository {
    /// The digest of a manifest: one HEAD; none where there is no such manifest or repository.
    ///
    /// # Errors
    /// When the registry can't be asked, or answers with anything but the manifest or 404.
    pub async fn head(&self, _selector: Selector<'_>) -> Result<Option<Digest>, Error> {
        unimplemented!()
    }

    /// A manifest, its digest checked.
    ///
    /// # Errors
    /// When it is not there, can't be had, has another digest, is no manifest, or is of the long dead schema 1.
    pub async fn manifest(&self, _selector: Selector<'_>) -> Result<Manifest, Error> {
        unimplemented!()
    }

    /// Whether the repository has a blob.
    ///
    /// # Errors
    /// When the registry can't be asked.
    pub async fn has_blob(&self, _digest: &Digest) -> Result<bool, Error> {
        unimplemented!()
    }

    /// The bytes of a blob; nothing is asked before the first is.
    pub fn blob(&self, _descriptor: &Descriptor) -> BlobStream {
        unimplemented!()
    }

    /// Asks the registry to take a blob over from its repository `from`; false where it does not.
    ///
    /// # Errors
    /// When the registry can't be asked.
    pub async fn mount(&self, _digest: &Digest, _from: &str) -> Result<bool, Error> {
        unimplemented!()
    }

    /// Sends a blob in one streamed request. `progress` is told the length of every piece as it is handed to the
    /// connection. Not tried again, since the stream is spent: the caller does that.
    ///
    /// # Errors
    /// Which side broke, and how.
    pub async fn upload(
        &self,
        _descriptor: &Descriptor,
        _body: BlobStream,
        _progress: impl Fn(u64) + Send + Sync + 'static,
    ) -> Result<(), UploadError> {
        unimplemented!()
    }

    /// Stores a manifest under a tag, or under its digest.
    ///
    /// # Errors
    /// When the registry can't be reached, refuses it, or says that it understood another digest.
    pub async fn put_manifest(&self, _selector: Selector<'_>, _manifest: &Manifest) -> Result<(), Error> {
        unimplemented!()
    }
}
