//! What an inspection of source and target found.

use crate::model::Digest;

use super::{platforms::RequestedPlatforms, target_lookup::Lookup};

/// The result of an inspection.
pub(super) enum Inspection {
    /// The target has everything; with the digest that it has.
    UpToDate(Digest),
    /// Something is missing.
    Missing(Box<Findings>),
}

/// What is known before anything is copied.
pub(super) struct Findings {
    /// The image's digest at the source.
    pub wanted: Digest,
    pub origin: DigestOrigin,
    /// The target's digest under the tag.
    pub present: Lookup<Digest>,
    /// The target has `wanted`, but not all requested platforms of it.
    pub is_incomplete: bool,
    /// Which part of an index is requested; none if every image is copied whole.
    pub part: Option<PartRequest>,
}

/// Where the wanted digest comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum DigestOrigin {
    /// The image reference.
    Reference,
    /// The Pods, which may run an image from elsewhere.
    Pods,
    /// The tag.
    Tag,
    /// What the tag meant when it was last known: the source did not tell.
    LastKnown,
}

/// The part of an index that a repository at a target must have.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct PartRequest {
    /// The target's name.
    pub target: String,
    pub repository: String,
    /// The index's digest, as reported by the source or a Pod.
    pub digest: Digest,
    pub platforms: RequestedPlatforms,
}
