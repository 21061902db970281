//! One image on its way to one destination.

use std::collections::BTreeSet;

use crate::model::{Destination, Digest, Platform, Reference, WorkloadId};

/// How many of its users a job names: enough to tell their owners, whatever the number of users.
pub const MOST_WORKLOADS: usize = 10;

/// What is to be copied where, and for whom.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CopyJob {
    /// The image as the oldest of its users writes it.
    pub image: String,
    /// The image's fully qualified name.
    pub source: Reference,
    /// Where it goes.
    pub destination: Destination,
    /// Who uses it, the oldest [`MOST_WORKLOADS`] first; never empty.
    pub workloads: Vec<WorkloadId>,
    /// The digests that Pods say they run of it; the newest Pod's first, none twice.
    pub running: Vec<Digest>,
    /// The platforms of the nodes that run it, or may; none where that is not known.
    pub platforms: Option<BTreeSet<Platform>>,
    /// How it stands to the others that want the same name.
    pub role: Role,
    /// Whether the source is asked what the tag means even where all Pods run the same digest: a pass looks for tags
    /// that have moved.
    pub resolve_tag: bool,
    /// Whether what the target has under the tag is known to have come from this source.
    pub holds_tag: bool,
}

/// How a job stands to the others that want the same name at the target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Role {
    /// It gets the name.
    Holder,
    /// Others follow the tag, or a newer object asks for another digest of the same image under it: this one is kept by
    /// its digest.
    ByDigest,
    /// Another source has the name: it is there only if both are the same bytes.
    Rival {
        /// The image that has the name, and whose it is.
        holder: String,
    },
}

impl CopyJob {
    /// The tag that it is to be found under; none where it is kept by its digest.
    pub fn tag(&self) -> Option<&str> {
        self.destination.tag.as_deref()
    }

    /// Whether both ask for the same bytes under the same name: who asks does not matter.
    pub fn same_work(&self, other: &Self) -> bool {
        self.source == other.source
            && self.destination == other.destination
            && self.running == other.running
            && self.platforms == other.platforms
            && self.role == other.role
    }
}
