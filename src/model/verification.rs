//! What a verification of an image at a destination finds.

use std::time::SystemTime;

use super::{Destination, Digest, Reference, WorkloadId};

/// Whether a destination has all of an image; a closed list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Wholeness {
    /// The target has nothing under the tag or digest.
    Missing,
    /// A manifest, a blob, a tag or a referrer is missing.
    Incomplete,
    /// The bytes of a part are not those of its digest, or have another length.
    Corrupt,
    /// A part could not be checked, and no other is wrong.
    Unknown,
    /// Everything is there, but the source has something else now.
    Drifted,
    /// Everything is there.
    Whole,
}

impl Wholeness {
    /// Every value, the worst first.
    pub const ALL: [Self; 6] =
        [Self::Missing, Self::Incomplete, Self::Corrupt, Self::Unknown, Self::Drifted, Self::Whole];

    /// Whether parts are missing or wrong, so that the image has to be copied again.
    pub fn is_damage(self) -> bool {
        matches!(self, Self::Missing | Self::Incomplete | Self::Corrupt)
    }

    /// The word in reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::Incomplete => "incomplete",
            Self::Corrupt => "corrupt",
            Self::Unknown => "unknown",
            Self::Drifted => "drifted",
            Self::Whole => "whole",
        }
    }
}

/// The word in reports for the result of an image that was not verified since the start.
pub const NOT_VERIFIED: &str = "none";

/// The last verification of an image at a destination.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verification {
    /// When it ended.
    pub at: SystemTime,
    /// What it found.
    pub result: Wholeness,
    /// Why the image is not whole, or why that is not known.
    pub reason: Option<String>,
    /// A later verification that told nothing, of an image that is known to be damaged.
    pub unanswered: Option<Unanswered>,
}

/// A verification that told nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unanswered {
    /// When it ended.
    pub at: SystemTime,
    /// Why.
    pub reason: Option<String>,
}

/// What is wrong with a part of an image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartProblem {
    /// Of the manifest or blob.
    pub digest: Digest,
    /// What it is.
    pub part: ImagePart,
    /// `missing`, `corrupt` or `unknown`
    pub kind: PartProblemKind,
    /// What was found; one line, without secrets.
    pub message: String,
}

/// What a part of an image is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ImagePart {
    /// A manifest or an index.
    Manifest,
    /// A configuration or a layer.
    Blob,
    /// The tag that the image has, or that keeps its digest.
    Tag,
    /// The manifest of a signature, an attestation or another referrer, or the list that names it.
    Referrer,
    /// A configuration or a layer of a referrer.
    ReferrerBlob,
}

impl ImagePart {
    /// The word in reports that programs read.
    pub fn name(self) -> &'static str {
        match self {
            Self::Manifest => "manifest",
            Self::Blob => "blob",
            Self::Tag => "tag",
            Self::Referrer => "referrer",
            Self::ReferrerBlob => "referrer_blob",
        }
    }

    /// The words in sentences, without an article.
    pub fn text(self) -> &'static str {
        match self {
            Self::Tag => "tag of",
            Self::ReferrerBlob => "referrer's blob",
            _ => self.name(),
        }
    }
}

/// How a part is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PartProblemKind {
    /// The target does not have it.
    Missing,
    /// Its bytes or its length are wrong.
    Corrupt,
    /// It could not be checked.
    Unknown,
}

impl PartProblemKind {
    /// The word in reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::Corrupt => "corrupt",
            Self::Unknown => "unknown",
        }
    }
}

/// The most problems of one image that are listed.
pub const MAX_PART_PROBLEMS: usize = 20;

/// The verification of one image at one destination.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerifiedImage {
    /// The image as written by the oldest workload that uses it.
    pub image: String,
    /// The fully qualified source.
    pub source: Reference,
    /// The destination.
    pub destination: Destination,
    /// The workloads that use it, at most the ten oldest, oldest first.
    pub workloads: Vec<WorkloadId>,
    /// The result.
    pub wholeness: Wholeness,
    /// Why it is not whole, or why that is not known; also why a whole image could not be compared with its source.
    pub reason: Option<String>,
    /// At most [`MAX_PART_PROBLEMS`].
    pub problems: Vec<PartProblem>,
    /// The number of all problems.
    pub problem_count: usize,
    /// The digest at the target.
    pub digest_at_target: Option<Digest>,
    /// The digest that the source has now, or that the reference names; none if the source was not asked or did not answer.
    pub digest_at_source: Option<Digest>,
    /// The digests that Pods run, the newest Pod's first.
    pub running: Vec<Digest>,
    /// Manifests and blobs that were looked at, each once for all images of a repository.
    pub parts: usize,
    /// Bytes that were read and hashed.
    pub bytes_read: u64,
}
