//! Where a job reads and writes.

use crate::{
    model::{Digest, Failure, FailureKind, Retry},
    registry::{
        BlobStream, Descriptor, Error, Manifest, ReferrerList, Repository, Store, StoreRepository, TagOrDigest,
        TransferPermit,
    },
};

use super::{
    failure::at_source,
    further_sources::{FurtherReads, Given, Opened, with_answers},
    source::Source,
};

pub(super) struct Endpoints<'a> {
    /// The image's repository at the source.
    pub source: Source,
    /// Why the source is not to be queried; none if it is.
    pub source_unavailable: Option<&'a Failure>,
    /// Where else the image may be had.
    pub further: FurtherReads<'a>,
    /// The target.
    pub store: &'a Store,
    /// The image's repository at the target.
    pub target: StoreRepository,
}

/// A place that may list the referrers of an image.
pub(super) enum ReferrerOrigin<'a> {
    Source(&'a Source),
    /// What gave the image, because the source fails; with its name.
    Further(&'a Repository, &'a str),
}

/// A place that a blob may be read from.
pub(super) enum Origin<'a> {
    Source(&'a Source),
    Further(&'a Opened<'a>),
}

impl<'a> Endpoints<'a> {
    /// Fails if the source is not to be queried.
    pub fn source_is_available(&self) -> Result<(), Failure> {
        self.source_unavailable.map_or(Ok(()), |failure| Err(failure.clone()))
    }

    /// A manifest by its digest: from the source, or from a further source if it can't give it.
    pub async fn manifest(&self, digest: &Digest) -> Result<Manifest, Failure> {
        if self.further.precede_source() {
            return self.manifest_elsewhere(digest, None).await;
        }
        match self.manifest_at_source(digest).await {
            Ok(manifest) => Ok(manifest),
            Err(failure) => self.manifest_elsewhere(digest, Some(failure)).await,
        }
    }

    /// A manifest by its digest, from a further source; with the failure of the source if it was asked, otherwise it is asked
    /// last.
    async fn manifest_elsewhere(&self, digest: &Digest, failure: Option<Failure>) -> Result<Manifest, Failure> {
        match self.further.manifest(digest).await {
            Ok(manifest) => Ok(manifest),
            Err(answers) => self.source_last(digest, failure, &answers).await,
        }
    }

    /// The same for the image's own manifest.
    pub async fn root_elsewhere(&self, digest: &Digest, failure: Option<Failure>) -> Result<Manifest, Failure> {
        match self.further.root_manifest(digest).await {
            Ok(manifest) => Ok(manifest),
            Err(answers) => self.source_last(digest, failure, &answers).await,
        }
    }

    async fn source_last(
        &self,
        digest: &Digest,
        failure: Option<Failure>,
        answers: &[String],
    ) -> Result<Manifest, Failure> {
        let failure = match failure {
            Some(failure) => failure,
            None => match self.manifest_at_source(digest).await {
                Ok(manifest) => return Ok(manifest),
                Err(failure) => failure,
            },
        };
        Err(with_answers(failure, answers))
    }

    /// Where referrers are looked for: where the image's own manifest came from; for one that the target has, at the source, or
    /// if that fails at what gave a part of the image.
    ///
    /// # Errors
    /// When nothing that is to be asked can tell.
    pub fn referrer_origin(&self) -> Result<ReferrerOrigin<'_>, Failure> {
        let given = match self.further.root() {
            None if self.further.precede_source() => self.further.repository(),
            root => root,
        };
        match given {
            Some(Given { name, repository: Some(repository) }) => Ok(ReferrerOrigin::Further(repository, name)),
            Some(Given { name, repository: None }) => Err(Failure {
                kind: FailureKind::Referrer,
                message: format!(
                    "{name} does not tell what belongs to the image, and the source does not have the image"
                ),
                retry: Retry::Later,
            }),
            None => self.source_is_available().map(|()| ReferrerOrigin::Source(&self.source)),
        }
    }

    async fn manifest_at_source(&self, digest: &Digest) -> Result<Manifest, Failure> {
        self.source_is_available()?;
        let read = self.source.manifest(TagOrDigest::Digest(digest)).await.map_err(|error| at_source(&error));
        read.inspect_err(|failure| self.further.source_failed(failure))
    }
}

impl ReferrerOrigin<'_> {
    /// As [`Repository::head`].
    pub async fn head(&self, tag: &str) -> Result<Option<Digest>, Error> {
        match self {
            Self::Source(source) => source.head(TagOrDigest::Tag(tag)).await,
            Self::Further(repository, _) => repository.head(TagOrDigest::Tag(tag)).await,
        }
    }

    /// As [`Repository::referrers`].
    pub async fn referrers(&self, subject: &Digest) -> Result<Option<ReferrerList>, Error> {
        match self {
            Self::Source(source) => source.referrers(subject).await,
            Self::Further(repository, _) => repository.referrers(subject).await,
        }
    }

    /// As [`Repository::fallback_referrers`].
    pub async fn fallback_referrers(&self, subject: &Digest) -> Result<ReferrerList, Error> {
        match self {
            Self::Source(source) => source.fallback_referrers(subject).await,
            Self::Further(repository, _) => repository.fallback_referrers(subject).await,
        }
    }
}

impl Origin<'_> {
    pub fn blob(&self, blob: &Descriptor) -> BlobStream {
        match self {
            Self::Source(source) => source.blob(blob),
            Self::Further(opened) => opened.blob(blob),
        }
    }

    pub async fn permit(&self, target: &StoreRepository) -> TransferPermit {
        match self {
            Self::Source(source) => TransferPermit::acquire(source.repository(), target).await,
            Self::Further(opened) => opened.permit(target).await,
        }
    }
}
