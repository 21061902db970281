//! The state of the mirror at one moment, as shown to operators.

use std::{sync::Arc, time::SystemTime};

use super::{CopyProgress, Destination, ImageRecord, Reference, Workload};

/// Everything that the mirror knows at one moment.
#[derive(Clone, Debug, Default)]
pub struct MirrorStatus {
    /// What the mirror does.
    pub phase: MirrorPhase,
    /// Every claimed image at each of its destinations, in no particular order.
    pub images: Vec<ImageStatus>,
    /// Image uses that are not mirrored, in no particular order.
    pub unmirrored: Vec<Arc<UnmirroredUse>>,
    /// The number of workloads.
    pub workloads: usize,
    /// When the running pass began; none if none is running.
    pub pass_began: Option<SystemTime>,
}

/// What the mirror does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum MirrorPhase {
    /// Another replica leads, or none yet.
    #[default]
    Standby,
    /// The workloads that existed at the start are still being listed.
    Listing,
    /// All workloads are being decided; nothing is copied before that.
    Deciding,
    /// It mirrors.
    Mirroring,
    /// It starts no copy, because the Lease could not be renewed.
    Paused,
}

impl MirrorPhase {
    /// In one word.
    pub fn name(self) -> &'static str {
        match self {
            Self::Standby => "standby",
            Self::Listing => "listing",
            Self::Deciding => "deciding",
            Self::Mirroring => "mirroring",
            Self::Paused => "paused",
        }
    }
}

/// One image at one destination.
#[derive(Clone, Debug)]
pub struct ImageStatus {
    /// The image as written by the oldest workload that uses it.
    pub image: String,
    /// The fully qualified source.
    pub source: Reference,
    /// The destination.
    pub destination: Destination,
    /// What is known of it.
    pub record: ImageRecord,
    /// What happens to it now.
    pub activity: Activity,
    /// The image that owns the destination, as `IMAGE of WORKLOAD`; none unless there is a conflict.
    pub owner: Option<String>,
    /// The workloads that use the image, oldest first.
    pub workloads: Vec<Arc<Workload>>,
}

/// What happens to an image.
#[derive(Clone, Debug)]
pub enum Activity {
    /// Nothing.
    Idle,
    /// It waits for a permit.
    Waiting,
    /// It is inspected or copied.
    Copying {
        /// Since when.
        started: SystemTime,
        /// How far it is.
        progress: Arc<CopyProgress>,
    },
    /// It failed, and is tried again then.
    Cooldown {
        /// The next attempt.
        until: SystemTime,
    },
}

impl Activity {
    /// In one word.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Idle => "idle",
            Self::Waiting => "waiting",
            Self::Copying { .. } => "copying",
            Self::Cooldown { .. } => "cooldown",
        }
    }
}

/// An image use that is not mirrored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnmirroredUse {
    /// The workload.
    pub workload: Arc<Workload>,
    /// The container's name.
    pub container: String,
    /// The image as written.
    pub image: String,
    /// Why it is not mirrored.
    pub reason: String,
    /// Whether the policy skips it; otherwise it could not decide.
    pub is_skipped: bool,
    /// Since when.
    pub since: SystemTime,
}
