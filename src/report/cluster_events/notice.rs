//! What an event says, and about what.

use std::sync::Arc;

use kube::runtime::events::EventType;

use crate::model::{Destination, Reference, WorkloadId};

/// The subject of a notice. A new notice about a topic replaces the earlier one.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Topic {
    /// An image that is mirrored to a destination.
    Image(Destination, Reference),
    /// The signatures and other referrers of an image at a destination.
    Referrers(Destination, Reference),
    /// An undecided image of a workload.
    Undecided(WorkloadId, String),
    /// An image of a workload whose copy is in cooldown.
    InCooldown(WorkloadId, Destination, Reference),
    /// A tag that may have belonged to another source.
    TagTaken(Destination),
    /// The configuration of this program.
    Configuration,
}

/// The content of an event, for one or more workloads.
#[derive(Clone, Debug)]
pub(super) struct Notice {
    pub kind: EventType,
    pub reason: &'static str,
    pub note: Arc<str>,
    pub image: Option<String>,
    /// The workloads that get the event.
    pub workloads: Vec<WorkloadId>,
    /// Whether it describes a state that lasts: it is then repeated before the API server deletes it.
    pub is_lasting: bool,
}
