//! A registry's repository as a target: creates it where that is required, and handles the peculiarities of registries.

use crate::{
    model::Digest,
    registry::{
        ecr::EcrRepositories,
        error::{Error, UploadError},
        fault::Fault,
        limits::connections::RequestLimit,
        manifest::{Descriptor, Manifest, TagOrDigest},
        repository::{Repository, pull::BlobStream, referrers::ReferrerList},
    },
};

/// The longest layer that Amazon ECR accepts, in bytes: "Amazon ECR service quotas", 52,000 MiB.
const MAX_ECR_LAYER: u64 = 52_000 * 1024 * 1024;

/// A repository of a registry that images are copied to.
#[derive(Clone)]
pub struct RemoteRepository {
    repository: Repository,
    ecr: Option<EcrRepositories>,
}

impl RemoteRepository {
    /// `ecr` creates the repository before the first write.
    pub(in crate::registry) fn new(repository: Repository, ecr: Option<EcrRepositories>) -> Self {
        Self { repository, ecr }
    }

    pub(in crate::registry) fn request_limit(&self) -> &RequestLimit {
        &self.repository.host.requests
    }

    pub(in crate::registry) async fn is_up(&self) -> bool {
        self.repository.is_up().await
    }

    pub(in crate::registry) async fn head(&self, selector: TagOrDigest<'_>) -> Result<Option<Digest>, Error> {
        self.repository.head(selector).await
    }

    pub(in crate::registry) async fn manifest(&self, selector: TagOrDigest<'_>) -> Result<Manifest, Error> {
        self.repository.manifest(selector).await
    }

    pub(in crate::registry) async fn referrers(&self, subject: &Digest) -> Result<Option<ReferrerList>, Error> {
        self.repository.referrers(subject).await
    }

    pub(in crate::registry) async fn has_blob(&self, digest: &Digest) -> Result<bool, Error> {
        self.repository.has_blob(digest).await
    }

    pub(in crate::registry) async fn blob_size(&self, digest: &Digest) -> Result<Option<Option<u64>>, Error> {
        self.repository.blob_size(digest).await
    }

    pub(in crate::registry) fn blob(&self, blob: &Descriptor) -> BlobStream {
        self.repository.blob(blob)
    }

    pub(in crate::registry) async fn mount(&self, digest: &Digest, from: &str) -> Result<bool, Error> {
        if let Some(ecr) = &self.ecr
            && self.ensure_exists(ecr).await.is_err()
        {
            // A mount only saves work: the upload that follows reports the error, and is retried.
            return Ok(false);
        }
        self.repository.mount(digest, from).await
    }

    pub(in crate::registry) async fn upload(
        &self,
        descriptor: &Descriptor,
        body: BlobStream,
        progress: impl Fn(u64) + Send + Sync + 'static,
    ) -> Result<(), UploadError> {
        let Some(ecr) = &self.ecr else { return self.repository.upload(descriptor, body, progress).await };
        if descriptor.size > MAX_ECR_LAYER {
            let reason =
                format!("its {} bytes exceed the 52,000 MiB that Amazon ECR accepts for a layer", descriptor.size);
            let fault = Fault::Permanent(reason);
            return Err(UploadError::Target(self.repository.blob_error("writing", &descriptor.digest, fault)));
        }
        self.ensure_exists(ecr).await.map_err(UploadError::Target)?;
        match self.repository.upload(descriptor, body, progress).await {
            Err(UploadError::Target(error)) => {
                Err(UploadError::Target(ecr.explain_missing(self.repository.name(), error).await))
            }
            uploaded => uploaded,
        }
    }

    /// Writes a manifest. An immutable tag is no error if it already has this digest.
    pub(in crate::registry) async fn put_manifest(
        &self,
        selector: TagOrDigest<'_>,
        manifest: &Manifest,
    ) -> Result<(), Error> {
        match self.write(self.repository.put_manifest(selector, manifest)).await {
            Err(error) if error.is_immutable_tag() => match self.repository.head(selector).await? {
                Some(existing) if existing == *manifest.digest() => Ok(()),
                _ => Err(error),
            },
            Err(error) if error.is_not_allowed() && manifest.has_subject() => {
                let reason = "the registry accepts no manifests that refer to another one (`subject`), and this one has \
                              to be copied unchanged";
                Err(error.with_fault(Fault::Permanent(reason.to_owned())))
            }
            put => put,
        }
    }

    async fn write<T>(&self, write: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
        let Some(ecr) = &self.ecr else { return write.await };
        self.ensure_exists(ecr).await?;
        match write.await {
            Err(error) => Err(ecr.explain_missing(self.repository.name(), error).await),
            written => written,
        }
    }

    async fn ensure_exists(&self, ecr: &EcrRepositories) -> Result<(), Error> {
        let result = ecr.ensure_exists(self.repository.name()).await;
        result.map_err(|error| Error::new(format!("writing to {}", self.repository), Fault::Aws(error)))
    }
}
