//! The manifest of what a job is to copy.

use super::{
    failure::at_source,
    inspection::{DigestOrigin, Findings, Inspection},
    inspector::Inspector,
};
use crate::{
    model::{Digest, Failure},
    registry::{Manifest, TagOrDigest},
};

/// What has to be done for a job.
pub(super) enum Found {
    /// Nothing: the target has this digest.
    UpToDate(Digest),
    /// To copy the manifest, and what it names.
    Missing(Box<Findings>, Manifest),
    /// To mend what the manifest names, which the target itself has.
    Damaged(Box<Findings>, Manifest),
}

/// Inspects, and pulls the manifest if something is missing.
pub(super) async fn find_manifest(inspector: &Inspector<'_>) -> Result<Found, Failure> {
    let mut has_repeated = false;
    let mut trust_pods = true;
    loop {
        let findings = match inspector.inspect(trust_pods).await? {
            Inspection::UpToDate(digest) => return Ok(Found::UpToDate(digest)),
            Inspection::Missing(findings) => findings,
        };
        if !needs_manifest_to_compare(&findings) {
            inspector.may_write(&findings)?;
        }
        let endpoints = inspector.endpoints;
        if endpoints.further.is_empty() {
            endpoints.source_is_available()?;
        }
        // It costs no pull, and the source may not have it any more.
        if inspector.job.is_damaged
            && let Ok(Some(manifest)) = endpoints.target.read_manifest(&findings.wanted).await
        {
            return Ok(Found::Damaged(findings, manifest));
        }
        if endpoints.further.precede_source() {
            let manifest = endpoints.root_elsewhere(&findings.wanted, None).await?;
            return Ok(Found::Missing(findings, manifest));
        }
        let failure = match endpoints.source.manifest(TagOrDigest::Digest(&findings.wanted)).await {
            Ok(manifest) => return Ok(Found::Missing(findings, manifest)),
            // The tag may have been moved and its previous digest deleted since it was resolved.
            Err(error) if error.is_not_found() && findings.origin == DigestOrigin::Tag && !has_repeated => {
                (has_repeated, trust_pods) = (true, false);
                continue;
            }
            // A Pod may run an image from elsewhere, which the source does not have.
            Err(error) if error.is_not_found() && findings.origin == DigestOrigin::Pods && trust_pods => {
                trust_pods = false;
                continue;
            }
            Err(error) => at_source(&error),
        };
        endpoints.further.source_failed(&failure);
        let manifest = endpoints.root_elsewhere(&findings.wanted, Some(failure)).await?;
        return Ok(Found::Missing(findings, manifest));
    }
}

/// Whether only the source's manifest tells if the target's own index is already complete.
pub(super) fn needs_manifest_to_compare(findings: &Findings) -> bool {
    findings.part.is_some() && findings.present.as_found().is_some()
}
