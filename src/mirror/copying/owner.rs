//! Which image the target has under a tag, if several repositories' images claim it and this process does not remember.

use crate::{
    mirror::job::{CopyJob, Role},
    model::{Digest, Failure, Reference, error_chain},
    registry::{ManifestRef, StoreRepository, TagOrDigest},
};

use super::{endpoints::Endpoints, failure::at_target, inspection::Findings, source::Source, target_lookup};

/// The candidate whose repository has the digest that the target has. If none has it: one that did not answer, or else the
/// first. `may_be_made`: the target may have an index that was made for it.
pub(super) async fn find_owner(
    target: &StoreRepository,
    tag: &str,
    candidates: &[(&Reference, Source)],
    may_be_made: bool,
) -> Result<Option<Reference>, Failure> {
    let first = candidates.first().map(|(image, _)| (*image).clone());
    let present = match target.find(ManifestRef::Tag(tag)).await {
        // As if it were missing: the push repairs it, and must not wait for an answer that never comes.
        Err(error) if error.is_server_error() => None,
        found => found.map_err(|error| at_target(&error))?,
    };
    let Some(present) = present else { return Ok(first) };
    let present = source_digest(target, present, may_be_made).await?;
    let mut silent = None;
    for (candidate, source) in candidates {
        match has(source, &present).await {
            Some(true) => return Ok(Some((*candidate).clone())),
            Some(false) => {}
            None => silent = silent.or(Some(*candidate)),
        }
    }
    Ok(silent.cloned().or(first))
}

/// The tag's digest that the job is about to replace, if the source does not have it. A source that cannot answer counts
/// as having it: it has just resolved the tag.
pub(super) async fn replaced_digest(
    job: &CopyJob,
    endpoints: &Endpoints<'_>,
    findings: &Findings,
    may_be_made: bool,
) -> Result<Option<Digest>, Failure> {
    let replaced = findings.present.as_found().filter(|present| **present != findings.wanted);
    let Some(present) = replaced.filter(|_| job.role == Role::Owner && !job.owns_tag) else { return Ok(None) };
    // A source that fails is not asked. Whose the digest was is then not known.
    if endpoints.further.precede_source() {
        return Ok(None);
    }
    let digest_at_source = source_digest(&endpoints.target, present.clone(), may_be_made).await?;
    let is_own = digest_at_source == findings.wanted || has(&endpoints.source, &digest_at_source).await.unwrap_or(true);
    Ok((!is_own).then(|| present.clone()))
}

/// The source's digest of what the target has.
async fn source_digest(target: &StoreRepository, present: Digest, may_be_made: bool) -> Result<Digest, Failure> {
    if !may_be_made {
        return Ok(present);
    }
    Ok(target_lookup::source_digest(target, &present).await?.unwrap_or(present))
}

/// Whether a repository has this manifest; none if it does not answer.
async fn has(source: &Source, digest: &Digest) -> Option<bool> {
    match source.head(TagOrDigest::Digest(digest)).await {
        Ok(found) => Some(found.is_some()),
        Err(error) => {
            tracing::debug!(%digest, error = error_chain(&error), "looking up the digest at the source failed");
            None
        }
    }
}
