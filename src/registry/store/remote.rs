//! A repository of a registry that is written to, with what some registries want besides.

use crate::model::Digest;
use crate::registry::{
    BlobStream, Descriptor, EcrRepositories, Error, Manifest, Repository, Selector, UploadError, error::Fault,
    limits::connections::Places,
};

/// The longest layer that Amazon ECR takes, in bytes: "Amazon ECR service quotas", 52,000 MiB.
const LONGEST_ECR_LAYER: u64 = 52_000 * 1024 * 1024;

/// A repository of a registry, as a place to write to.
#[derive(Clone)]
pub struct RemoteRepository {
    repository: Repository,
    ecr: Option<EcrRepositories>,
}

impl RemoteRepository {
    /// `ecr` where it has to be made first.
    pub(in crate::registry) fn new(repository: Repository, ecr: Option<EcrRepositories>) -> Self {
        Self { repository, ecr }
    }

    /// For how many requests at once its registry has places.
    pub(in crate::registry) fn places(&self) -> &Places {
        &self.repository.host.places
    }

    /// As [`Repository::is_up`].
    pub(in crate::registry) async fn is_up(&self) -> bool {
        self.repository.is_up().await
    }

    /// As [`Repository::head`].
    pub(in crate::registry) async fn head(&self, selector: Selector<'_>) -> Result<Option<Digest>, Error> {
        self.repository.head(selector).await
    }

    /// As [`Repository::manifest`].
    pub(in crate::registry) async fn manifest(&self, selector: Selector<'_>) -> Result<Manifest, Error> {
        self.repository.manifest(selector).await
    }

    /// As [`Repository::has_blob`].
    pub(in crate::registry) async fn has_blob(&self, digest: &Digest) -> Result<bool, Error> {
        self.repository.has_blob(digest).await
    }

    /// As [`Repository::mount`].
    pub(in crate::registry) async fn mount(&self, digest: &Digest, from: &str) -> Result<bool, Error> {
        if let Some(ecr) = &self.ecr
            && self.ready(ecr).await.is_err()
        {
            // A mount saves work, no more: the upload that follows tells what is wrong, and tries again.
            return Ok(false);
        }
        self.repository.mount(digest, from).await
    }

    /// As [`Repository::upload`].
    pub(in crate::registry) async fn upload(
        &self,
        descriptor: &Descriptor,
        body: BlobStream,
        progress: impl Fn(u64) + Send + Sync + 'static,
    ) -> Result<(), UploadError> {
        let Some(ecr) = &self.ecr else { return self.repository.upload(descriptor, body, progress).await };
        if descriptor.size > LONGEST_ECR_LAYER {
            let text = format!("its {} bytes are more than the 52,000 MiB that Amazon ECR takes", descriptor.size);
            let fault = Fault::Refused(text);
            return Err(UploadError::Target(self.repository.blob_error("writing", &descriptor.digest, fault)));
        }
        self.ready(ecr).await.map_err(UploadError::Target)?;
        match self.repository.upload(descriptor, body, progress).await {
            Err(UploadError::Target(error)) => {
                Err(UploadError::Target(ecr.explain(self.repository.name(), error).await))
            }
            uploaded => uploaded,
        }
    }

    /// As [`Repository::put_manifest`]. A tag that can't be moved is no obstacle where it is right already.
    pub(in crate::registry) async fn put_manifest(
        &self,
        selector: Selector<'_>,
        manifest: &Manifest,
    ) -> Result<(), Error> {
        match self.write(self.repository.put_manifest(selector, manifest)).await {
            Err(error) if error.is_immutable_tag() => match self.repository.head(selector).await? {
                Some(there) if there == *manifest.digest() => Ok(()),
                _ => Err(error),
            },
            Err(error) if error.is_not_allowed() && manifest.has_subject() => {
                let text = "the registry takes no manifests that refer to another one (`subject`), and this one may \
                            not be changed on its way";
                Err(error.because(Fault::Refused(text.to_owned())))
            }
            put => put,
        }
    }

    async fn write<T>(&self, write: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
        let Some(ecr) = &self.ecr else { return write.await };
        self.ready(ecr).await?;
        match write.await {
            Err(error) => Err(ecr.explain(self.repository.name(), error).await),
            written => written,
        }
    }

    async fn ready(&self, ecr: &EcrRepositories) -> Result<(), Error> {
        let ready = ecr.ensure(self.repository.name()).await;
        ready.map_err(|error| Error::new(format!("writing to {}", self.repository), Fault::Aws(error)))
    }
}
