//! What images are copied to: a registry, or an image layout on disk.

pub(super) mod error;
pub(super) mod permit;
pub(super) mod reader;
pub(super) mod referrers;
pub(super) mod remote;

use std::pin::Pin;

use bytes::Bytes;
use futures::{Stream, StreamExt as _};

use self::{
    error::{StoreError, StoreUploadError},
    remote::RemoteRepository,
};
use crate::{
    model::Digest,
    registry::{
        ecr::EcrRepositories,
        error::UploadError,
        layout::{Layout, LayoutRepository, LayoutUploadError},
        manifest::{Descriptor, Manifest, TagOrDigest},
        registries::Registries,
        repository::pull::BlobStream,
    },
};

/// A registry or an image layout.
#[derive(Clone)]
pub enum Store {
    /// A registry.
    Registry {
        /// Access with the credentials of this registry.
        registries: Registries,
        /// `host[:port]`
        host: String,
        /// The path before each repository; may be empty.
        path: String,
        /// Creates missing repositories, if the registry requires that.
        ecr: Option<EcrRepositories>,
    },
    /// An OCI image layout.
    Layout(Layout),
}

/// A repository of a [`Store`].
#[derive(Clone)]
pub enum StoreRepository {
    /// In a registry.
    Remote(RemoteRepository),
    /// In a layout.
    Layout(LayoutRepository),
}

/// The bytes of a blob of a store.
pub type StoredBlob = Pin<Box<dyn Stream<Item = Result<Bytes, StoreError>> + Send>>;

/// How a repository refers to a manifest.
#[derive(Clone, Copy, Debug)]
pub enum ManifestRef<'a> {
    /// By a tag.
    Tag(&'a str),
    /// By its digest, with a keep-alive tag against garbage collection.
    KeptDigest(&'a Digest),
    /// By its digest, as a child manifest of an index.
    Child(&'a Digest),
}

impl Store {
    /// The store below `path` of a registry.
    pub fn registry(registries: Registries, host: &str, path: &str) -> Self {
        Self::Registry { registries, host: host.to_owned(), path: path.to_owned(), ecr: None }
    }

    /// The store of a private registry of Amazon ECR.
    pub fn ecr(registries: Registries, host: &str, repositories: EcrRepositories) -> Self {
        Self::Registry { registries, host: host.to_owned(), path: String::new(), ecr: Some(repositories) }
    }

    /// One of its repositories.
    pub fn repository(&self, name: &str) -> StoreRepository {
        match self {
            Self::Registry { registries, host, ecr, .. } => {
                let repository = registries.repository(host, &self.mount_name(name));
                StoreRepository::Remote(RemoteRepository::new(repository, ecr.clone()))
            }
            Self::Layout(layout) => StoreRepository::Layout(layout.repository(name)),
        }
    }

    /// Ends all pauses that its registry has requested.
    pub fn end_rate_limit_waits(&self) {
        if let Self::Registry { registries, .. } = self {
            registries.end_rate_limit_waits();
        }
    }

    /// Cancels, in the background, uploads to its registry that were started and are not needed.
    pub fn cancel_unused_uploads(&self) {
        if let Self::Registry { registries, .. } = self {
            registries.cancel_unused_uploads();
        }
    }

    /// The name by which other repositories of the same store mount blobs from this one.
    pub fn mount_name(&self, repository: &str) -> String {
        match self {
            Self::Registry { path, .. } if !path.is_empty() => format!("{path}/{repository}"),
            _ => repository.to_owned(),
        }
    }
}

impl StoreRepository {
    /// Whether the store responds, with whatever status below 500: one request.
    pub async fn is_up(&self) -> bool {
        match self {
            Self::Remote(repository) => repository.is_up().await,
            Self::Layout(_) => true,
        }
    }

    /// The digest of a manifest; None if it does not exist. One request.
    ///
    /// # Errors
    /// When the store can't be read.
    pub async fn find(&self, manifest: ManifestRef<'_>) -> Result<Option<Digest>, StoreError> {
        match self {
            Self::Remote(repository) => {
                let found = match manifest {
                    ManifestRef::Tag(tag) => repository.head(TagOrDigest::Tag(tag)).await?,
                    ManifestRef::KeptDigest(digest) => {
                        repository.head(TagOrDigest::Tag(&digest.keep_alive_tag())).await?
                    }
                    ManifestRef::Child(digest) => repository.head(TagOrDigest::Digest(digest)).await?,
                };
                Ok(found)
            }
            Self::Layout(repository) => {
                let found = match manifest {
                    ManifestRef::Tag(tag) => repository.head(TagOrDigest::Tag(tag)).await?,
                    ManifestRef::KeptDigest(digest) => repository.head(TagOrDigest::Digest(digest)).await?,
                    ManifestRef::Child(digest) => repository.has_child(digest).await?.then(|| digest.clone()),
                };
                Ok(found)
            }
        }
    }

    /// A manifest with a verified digest; None if it does not exist.
    ///
    /// # Errors
    /// When the store can't be read.
    pub async fn manifest(&self, digest: &Digest) -> Result<Option<Manifest>, StoreError> {
        match self {
            Self::Remote(repository) => match repository.head(TagOrDigest::Digest(digest)).await? {
                Some(_) => self.read_manifest(digest).await,
                None => Ok(None),
            },
            Self::Layout(_) => self.read_manifest(digest).await,
        }
    }

    /// The same in one request, which counts as a pull where pulls are counted.
    ///
    /// # Errors
    /// When the store can't be read.
    pub async fn read_manifest(&self, digest: &Digest) -> Result<Option<Manifest>, StoreError> {
        match self {
            Self::Remote(repository) => match repository.manifest(TagOrDigest::Digest(digest)).await {
                Err(error) if error.is_not_found() => Ok(None),
                read => Ok(Some(read?)),
            },
            Self::Layout(repository) => Ok(repository.manifest(digest).await?),
        }
    }

    /// Writes a manifest. All blobs and child manifests that it references must exist.
    ///
    /// # Errors
    /// When the store can't be written, or rejects the manifest.
    pub async fn put(&self, reference: ManifestRef<'_>, manifest: &Manifest) -> Result<(), StoreError> {
        match self {
            Self::Remote(repository) => match reference {
                ManifestRef::Tag(tag) => repository.put_manifest(TagOrDigest::Tag(tag), manifest).await?,
                ManifestRef::KeptDigest(digest) => {
                    repository.put_manifest(TagOrDigest::Tag(&digest.keep_alive_tag()), manifest).await?;
                }
                ManifestRef::Child(digest) => repository.put_manifest(TagOrDigest::Digest(digest), manifest).await?,
            },
            Self::Layout(repository) => match reference {
                ManifestRef::Tag(tag) => repository.put_manifest(TagOrDigest::Tag(tag), manifest).await?,
                ManifestRef::KeptDigest(digest) => {
                    repository.put_manifest(TagOrDigest::Digest(digest), manifest).await?;
                }
                ManifestRef::Child(_) => repository.put_child(manifest).await?,
            },
        }
        Ok(())
    }

    /// Whether a blob exists.
    ///
    /// # Errors
    /// When the store can't be read.
    pub async fn has_blob(&self, blob: &Descriptor) -> Result<bool, StoreError> {
        match self {
            Self::Remote(repository) => Ok(repository.has_blob(&blob.digest).await?),
            Self::Layout(repository) => Ok(repository.has_blob(blob).await?),
        }
    }

    /// The digest that the store has under a tag or keeps, whether or not it is complete.
    ///
    /// # Errors
    /// When the store can't be read.
    pub async fn entry(&self, manifest: ManifestRef<'_>) -> Result<Option<Digest>, StoreError> {
        match (self, manifest) {
            (Self::Layout(repository), ManifestRef::Tag(tag)) => Ok(repository.entry(TagOrDigest::Tag(tag)).await?),
            (Self::Layout(repository), ManifestRef::KeptDigest(digest) | ManifestRef::Child(digest)) => {
                Ok(repository.entry(TagOrDigest::Digest(digest)).await?)
            }
            (Self::Remote(_), _) => self.find(manifest).await,
        }
    }

    /// The length of a blob; None if it does not exist, an inner None if the registry does not tell.
    ///
    /// # Errors
    /// When the store can't be read.
    pub async fn blob_size(&self, blob: &Descriptor) -> Result<Option<Option<u64>>, StoreError> {
        match self {
            Self::Remote(repository) => Ok(repository.blob_size(&blob.digest).await?),
            Self::Layout(repository) => Ok(repository.blob_size(&blob.digest).await?.map(Some)),
        }
    }

    /// The bytes of a blob, which end with an error if they have another digest.
    pub async fn read_blob(&self, blob: &Descriptor) -> StoredBlob {
        match self {
            Self::Remote(repository) => {
                let permit = repository.request_limit().acquire().await;
                let bytes = repository.blob(blob).map(|chunk| chunk.map_err(StoreError::from));
                // The permit lives as long as the stream.
                Box::pin(bytes.map(move |chunk| {
                    let _permit = &permit;
                    chunk
                }))
            }
            Self::Layout(repository) => {
                Box::pin(repository.read_blob(blob.clone()).map(|chunk| chunk.map_err(StoreError::from)))
            }
        }
    }

    /// Mounts a blob from another repository of the same store; false if the store does not.
    ///
    /// # Errors
    /// When the store can't be reached.
    pub async fn mount(&self, blob: &Descriptor, from: &str) -> Result<bool, StoreError> {
        match self {
            Self::Remote(repository) => Ok(repository.mount(&blob.digest, from).await?),
            Self::Layout(repository) => Ok(repository.has_blob(blob).await?),
        }
    }

    /// Uploads a blob.
    ///
    /// # Errors
    /// Which side failed, and why.
    pub async fn upload(
        &self,
        descriptor: &Descriptor,
        body: BlobStream,
        progress: impl Fn(u64) + Send + Sync + 'static,
    ) -> Result<(), StoreUploadError> {
        match self {
            Self::Remote(repository) => {
                repository.upload(descriptor, body, progress).await.map_err(|error| match error {
                    UploadError::Source(error) => StoreUploadError::Source(error),
                    UploadError::Target(error) => StoreUploadError::Target(error.into()),
                })
            }
            Self::Layout(repository) => {
                repository.upload(descriptor, body, progress).await.map_err(|error| match error {
                    LayoutUploadError::Source(error) => StoreUploadError::Source(error),
                    LayoutUploadError::Target(error) => StoreUploadError::Target(error.into()),
                })
            }
        }
    }
}
