//! Lookups at the target.

use crate::{
    model::{Digest, Failure},
    registry::{Manifest, StoreError, StoreRepository},
};

use super::{attempt::Attempt, failure::at_target};

/// The result of a lookup.
#[derive(Debug)]
pub(super) enum Lookup<T> {
    Found(T),
    Missing,
    /// The request failed although the target works otherwise: it may have anything, and a push repairs it.
    Unknown(Failure),
}

impl<T> Lookup<T> {
    pub fn found(self) -> Option<T> {
        match self {
            Self::Found(found) => Some(found),
            Self::Missing | Self::Unknown(_) => None,
        }
    }

    pub fn as_found(&self) -> Option<&T> {
        match self {
            Self::Found(found) => Some(found),
            Self::Missing | Self::Unknown(_) => None,
        }
    }
}

/// Classifies the result of a lookup. If the target is down this is an error, so that nothing is requested from the
/// source, which may count pulls.
pub(super) async fn lookup<T>(
    target: &StoreRepository,
    result: Result<Option<T>, StoreError>,
) -> Result<Lookup<T>, Failure> {
    match result {
        Ok(Some(found)) => Ok(Lookup::Found(found)),
        Ok(None) => Ok(Lookup::Missing),
        Err(error) if error.is_server_error() && target.is_up().await => Ok(Lookup::Unknown(at_target(&error))),
        Err(error) => Err(at_target(&error)),
    }
}

/// A manifest with a verified digest. Other bytes under the digest count as missing: nobody can pull them.
pub(super) async fn manifest(target: &StoreRepository, digest: &Digest) -> Result<Option<Manifest>, Failure> {
    uncorrupted(target.manifest(digest).await).map_err(|error| at_target(&error))
}

/// The same for a copy, which then is a repair.
pub(super) async fn noted_manifest(
    target: &StoreRepository,
    digest: &Digest,
    attempt: &Attempt<'_>,
) -> Result<Option<Manifest>, StoreError> {
    let found = target.manifest(digest).await;
    if found.as_ref().is_err_and(StoreError::is_wrong_content) {
        attempt.saw_corrupt();
    }
    uncorrupted(found)
}

fn uncorrupted<T>(found: Result<Option<T>, StoreError>) -> Result<Option<T>, StoreError> {
    match found {
        Err(error) if error.is_wrong_content() => Ok(None),
        found => found,
    }
}

/// Whether what the target has as `present` has the digest `wanted`. Registries report digests of one algorithm, mostly
/// SHA-256; a digest of another algorithm is computed from the bytes.
pub(in crate::mirror) async fn is_same(
    target: &StoreRepository,
    present: &Digest,
    wanted: &Digest,
) -> Result<bool, Failure> {
    if present.algorithm() == wanted.algorithm() {
        return Ok(present == wanted);
    }
    let manifest = manifest(target, present).await?;
    Ok(manifest.is_some_and(|manifest| wanted.matches(manifest.bytes())))
}

/// The source's digest of an index that was made for the target; none if it was not made, or is missing.
pub(super) async fn source_digest(target: &StoreRepository, digest: &Digest) -> Result<Option<Digest>, Failure> {
    Ok(manifest(target, digest).await?.and_then(|manifest| manifest.subset_of()))
}
