//! What images are copied into: a registry, or a layout on disk.

mod remote;

use crate::model::{Digest, Retry};

use crate::registry::{
    BlobStream, Descriptor, EcrRepositories, Error, Layout, LayoutError, LayoutRepository, LayoutUploadError, Manifest,
    Registries, Selector, UploadError,
};

pub use remote::RemoteRepository;

/// A place that images are copied into.
#[derive(Clone)]
pub enum Store {
    /// A registry.
    Registry {
        /// Who speaks to it, with its own credentials.
        registries: Registries,
        /// `host[:port]`
        host: String,
        /// What stands between the host and each repository; may be empty.
        path: String,
        /// Where its repositories have to be made first.
        ecr: Option<EcrRepositories>,
    },
    /// An OCI image layout.
    Layout(Layout),
}

/// One repository of a [`Store`].
#[derive(Clone)]
pub enum StoreRepository {
    /// In a registry.
    Remote(RemoteRepository),
    /// In a layout.
    Layout(LayoutRepository),
}

/// How a manifest is to be found in a repository.
#[derive(Clone, Copy, Debug)]
pub enum Place<'a> {
    /// Under a tag.
    Tag(&'a str),
    /// By its digest, and kept from being collected.
    Kept(&'a Digest),
    /// By its digest; an index that names it keeps it.
    Child(&'a Digest),
}

/// A store did not do what it was asked for.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// A registry.
    #[error(transparent)]
    Remote(#[from] Error),
    /// A layout.
    #[error(transparent)]
    Layout(#[from] LayoutError),
}

impl StoreError {
    /// Whether the store says no to what was sent, as it does to a manifest that names what it does not have.
    pub fn is_rejection(&self) -> bool {
        match self {
            Self::Remote(error) => error.is_rejection(),
            Self::Layout(error) => matches!(error, LayoutError::Incomplete { .. }),
        }
    }

    /// Whether a tag that is there must not be moved.
    pub fn is_immutable_tag(&self) -> bool {
        matches!(self, Self::Remote(error) if error.is_immutable_tag())
    }

    /// Whether the store says that we ask too often.
    pub fn is_throttling(&self) -> bool {
        matches!(self, Self::Remote(error) if error.is_throttling())
    }

    /// Whether the store broke down over what it was asked for: that is no answer, and says nothing of the rest.
    pub fn is_breakdown(&self) -> bool {
        matches!(self, Self::Remote(error) if error.is_breakdown())
    }

    /// Whether another try can help.
    pub fn retry(&self) -> Retry {
        match self {
            Self::Remote(error) => error.retry(),
            Self::Layout(error) => error.retry(),
        }
    }
}

/// Which side of a blob's way into a store broke.
#[derive(Debug, thiserror::Error)]
pub enum StoreUploadError {
    /// The blob could not be read.
    #[error(transparent)]
    Source(Error),
    /// The blob could not be written.
    #[error(transparent)]
    Target(StoreError),
}

impl Store {
    /// A store for a registry given as `host[:port][/path]`.
    pub fn registry(registries: Registries, registry: &str) -> Self {
        let (host, path) = registry.split_once('/').unwrap_or((registry, ""));
        Self::Registry { registries, host: host.to_owned(), path: path.to_owned(), ecr: None }
    }

    /// A store for a private registry of Amazon's, `host` its name.
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

    /// Ends all pauses that its registry has asked for.
    pub fn reset_pauses(&self) {
        if let Self::Registry { registries, .. } = self {
            registries.reset_pauses();
        }
    }

    /// Takes back the uploads that were begun at its registry and are not needed any more.
    pub fn clear(&self) {
        if let Self::Registry { registries, .. } = self {
            registries.clear();
        }
    }

    /// The name by which another repository of the same store mounts from this one.
    pub fn mount_name(&self, repository: &str) -> String {
        match self {
            Self::Registry { path, .. } if !path.is_empty() => format!("{path}/{repository}"),
            _ => repository.to_owned(),
        }
    }
}

impl StoreRepository {
    /// Whether the store is at work, whatever it has to say: one request.
    pub async fn is_up(&self) -> bool {
        match self {
            Self::Remote(repository) => repository.is_up().await,
            Self::Layout(_) => true,
        }
    }

    /// The digest of what is there; one request.
    ///
    /// # Errors
    /// When the store can't be asked.
    pub async fn find(&self, place: Place<'_>) -> Result<Option<Digest>, StoreError> {
        match self {
            Self::Remote(repository) => {
                let found = match place {
                    Place::Tag(tag) => repository.head(Selector::Tag(tag)).await?,
                    Place::Kept(digest) => repository.head(Selector::Tag(&digest.keep_alive_tag())).await?,
                    Place::Child(digest) => repository.head(Selector::Digest(digest)).await?,
                };
                Ok(found)
            }
            Self::Layout(repository) => {
                let found = match place {
                    Place::Tag(tag) => repository.head(Selector::Tag(tag)).await?,
                    Place::Kept(digest) => repository.head(Selector::Digest(digest)).await?,
                    Place::Child(digest) => repository.has_child(digest).await?.then(|| digest.clone()),
                };
                Ok(found)
            }
        }
    }

    /// A manifest that is there, its digest checked; none where it is not there.
    ///
    /// # Errors
    /// When the store can't be asked.
    pub async fn manifest(&self, digest: &Digest) -> Result<Option<Manifest>, StoreError> {
        match self {
            Self::Remote(repository) => match repository.head(Selector::Digest(digest)).await? {
                Some(_) => Ok(Some(repository.manifest(Selector::Digest(digest)).await?)),
                None => Ok(None),
            },
            Self::Layout(repository) => Ok(repository.manifest(digest).await?),
        }
    }

    /// Stores a manifest, all of whose parts are known to be there.
    ///
    /// # Errors
    /// When the store can't be reached, or refuses it.
    pub async fn put(&self, place: Place<'_>, manifest: &Manifest) -> Result<(), StoreError> {
        match self {
            Self::Remote(repository) => match place {
                Place::Tag(tag) => repository.put_manifest(Selector::Tag(tag), manifest).await?,
                Place::Kept(digest) => {
                    repository.put_manifest(Selector::Tag(&digest.keep_alive_tag()), manifest).await?;
                }
                Place::Child(digest) => repository.put_manifest(Selector::Digest(digest), manifest).await?,
            },
            Self::Layout(repository) => match place {
                Place::Tag(tag) => repository.put_manifest(Selector::Tag(tag), manifest).await?,
                Place::Kept(digest) => repository.put_manifest(Selector::Digest(digest), manifest).await?,
                Place::Child(_) => repository.put_child(manifest).await?,
            },
        }
        Ok(())
    }

    /// Whether a blob is there.
    ///
    /// # Errors
    /// When the store can't be asked.
    pub async fn has_blob(&self, blob: &Descriptor) -> Result<bool, StoreError> {
        match self {
            Self::Remote(repository) => Ok(repository.has_blob(&blob.digest).await?),
            Self::Layout(repository) => Ok(repository.has_blob(blob).await?),
        }
    }

    /// Takes a blob over from another repository of the same store; false where the store does not do that.
    ///
    /// # Errors
    /// When the store can't be asked.
    pub async fn mount(&self, blob: &Descriptor, from: &str) -> Result<bool, StoreError> {
        match self {
            Self::Remote(repository) => Ok(repository.mount(&blob.digest, from).await?),
            Self::Layout(repository) => Ok(repository.has_blob(blob).await?),
        }
    }

    /// Writes a blob.
    ///
    /// # Errors
    /// Which side broke, and how.
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
