//! Which referrers are copied.

use std::collections::HashMap;

use patterns::{GlobError, NamePattern};

use crate::model::ReferrerScope;

/// Artifact types of signatures and attestations: of cosign 3, cosign 2, notation, and in-toto.
const SIGNATURES: [&str; 7] = [
    "application/vnd.dev.sigstore.bundle*",
    "application/vnd.dev.cosign.artifact.sig*",
    "application/vnd.dev.cosign.artifact.att*",
    "application/vnd.dev.cosign.simplesigning*",
    "application/vnd.cncf.notary.signature*",
    "application/vnd.in-toto*",
    "application/vnd.dsse.envelope*",
];

/// The tags by which cosign 2 finds what belongs to a digest: `sha256-<hex>` and one of these, with the artifact type that
/// cosign gives to the same content as a referrer.
const DIGEST_TAGS: [(&str, &str); 3] = [
    ("sig", "application/vnd.dev.cosign.artifact.sig.v1+json"),
    ("att", "application/vnd.dev.cosign.artifact.att.v1+json"),
    ("sbom", "application/vnd.dev.cosign.artifact.sbom.v1+json"),
];

/// How referrers are copied.
#[derive(Debug, Default)]
pub struct ReferrerSettings {
    /// What each target gets, by its name. A target that is missing here gets none.
    pub targets: HashMap<String, ReferrerSelection>,
    /// Whether an image fails, and its tag is not moved, if one of its referrers can't be copied.
    pub required: bool,
    /// When an image's referrers are looked for again; none for never.
    pub recheck: Option<std::time::Duration>,
}

impl ReferrerSettings {
    /// What a target gets; none if it gets no referrers.
    pub(in crate::mirror) fn of(&self, target: &str) -> Option<&ReferrerSelection> {
        self.targets.get(target).filter(|selection| !selection.is_empty())
    }
}

/// Which referrers are copied.
#[derive(Debug)]
pub struct ReferrerSelection {
    scope: ReferrerScope,
    types: Vec<NamePattern>,
    signatures: Vec<NamePattern>,
}

impl ReferrerSelection {
    /// `types` are globs of artifact types; if empty, the scope alone decides.
    ///
    /// # Errors
    /// A malformed glob.
    pub fn new(scope: ReferrerScope, types: &[String]) -> Result<Self, GlobError> {
        let patterns = |texts: &[&str]| texts.iter().map(|text| NamePattern::new(text)).collect::<Result<Vec<_>, _>>();
        let types: Vec<&str> = types.iter().map(String::as_str).collect();
        Ok(Self { scope, types: patterns(&types)?, signatures: patterns(&SIGNATURES)? })
    }

    /// Whether nothing is copied.
    pub fn is_empty(&self) -> bool {
        self.scope == ReferrerScope::None
    }

    /// Whether referrers of this type are copied.
    pub(in crate::mirror) fn accepts(&self, artifact_type: &str) -> bool {
        let in_scope = match self.scope {
            ReferrerScope::None => false,
            ReferrerScope::Signatures => self.is_signature(artifact_type),
            ReferrerScope::All => true,
        };
        in_scope && (self.types.is_empty() || self.types.iter().any(|pattern| pattern.matches(artifact_type)))
    }

    /// Whether a referrer of this type can have referrers that are copied: an SBOM is signed, a signature is not.
    pub(in crate::mirror) fn continues_below(&self, artifact_type: &str) -> bool {
        self.scope == ReferrerScope::All && !self.is_signature(artifact_type)
    }

    /// The suffixes and artifact types of the tags that are copied.
    pub(in crate::mirror) fn digest_tags(&self) -> impl Iterator<Item = (&'static str, &'static str)> {
        DIGEST_TAGS.into_iter().filter(|(_, artifact_type)| self.accepts(artifact_type))
    }

    /// Whether a referrer of this type is a signature or an attestation.
    pub(in crate::mirror) fn is_signature(&self, artifact_type: &str) -> bool {
        self.signatures.iter().any(|pattern| pattern.matches(artifact_type))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn selection(scope: ReferrerScope, types: &[&str]) -> ReferrerSelection {
        let types: Vec<String> = types.iter().map(|&text| text.to_owned()).collect();
        ReferrerSelection::new(scope, &types).unwrap()
    }

    fn suffixes(selection: &ReferrerSelection) -> Vec<&'static str> {
        selection.digest_tags().map(|(suffix, _)| suffix).collect()
    }

    #[test]
    fn signatures_and_attestations_are_no_sboms() {
        let signatures = selection(ReferrerScope::Signatures, &[]);
        for artifact_type in [
            "application/vnd.dev.sigstore.bundle.v0.3+json",
            "application/vnd.cncf.notary.signature",
            "application/vnd.in-toto+json",
        ] {
            assert!(signatures.accepts(artifact_type) && !signatures.continues_below(artifact_type), "{artifact_type}");
        }
        for artifact_type in ["application/spdx+json", "application/vnd.oci.image.config.v1+json", ""] {
            assert!(!signatures.accepts(artifact_type), "{artifact_type}");
        }
        assert_eq!(suffixes(&signatures), ["sig", "att"]);
    }

    #[test]
    fn all_referrers_include_those_of_sboms() {
        let all = selection(ReferrerScope::All, &[]);
        assert!(all.accepts("application/spdx+json") && all.continues_below("application/spdx+json"));
        assert!(!all.continues_below("application/vnd.cncf.notary.signature"));
        assert_eq!(suffixes(&all), ["sig", "att", "sbom"]);
        let none = selection(ReferrerScope::None, &[]);
        assert!(none.is_empty() && !none.accepts("application/spdx+json") && suffixes(&none).is_empty());
    }

    #[test]
    fn types_narrow_the_scope() {
        let sboms = selection(ReferrerScope::All, &["application/spdx*", "application/*.sbom.v1+json"]);
        assert!(sboms.accepts("application/spdx+json") && !sboms.accepts("application/vnd.cncf.notary.signature"));
        assert_eq!(suffixes(&sboms), ["sbom"]);
        let notation = selection(ReferrerScope::Signatures, &["application/vnd.cncf.*", "application/spdx*"]);
        assert!(
            notation.accepts("application/vnd.cncf.notary.signature") && !notation.accepts("application/spdx+json")
        );
    }
}
