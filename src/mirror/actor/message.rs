//! What the actor receives.

use std::{sync::Arc, time::Duration};

use tokio::sync::oneshot;

use crate::{
    mirror::{copying::Copier, passes::PassRequest, verification::ContinualVerifier},
    model::{ImageUse, MirrorStatus, WorkloadId},
    policy::PreparedPolicy,
};

/// A message to the actor.
pub enum Message {
    Command(Command),
    /// Start nothing more, wait this long for active copies, and end.
    Stop(Duration, oneshot::Sender<()>),
}

/// What the actor is to do.
pub enum Command {
    /// Replace all image uses of a workload.
    Set(WorkloadId, Vec<ImageUse>),
    /// Remove a deleted workload.
    Remove(WorkloadId),
    /// Every workload that existed at the start has been set.
    InventoryComplete,
    /// Begin to decide and copy.
    Begin,
    /// A pause has begun: return the number of active copies, which may end.
    Pause(oneshot::Sender<usize>),
    /// Run a pass; with `referrers` look for the referrers of all images.
    Pass { request: PassRequest, referrers: bool },
    /// Begin, run a single pass, and retry nothing.
    SinglePass(PassRequest),
    /// Replace policy and settings.
    Reconfigure(Box<Reconfiguration>),
    /// Report everything that is known.
    Status(oneshot::Sender<MirrorStatus>),
    /// Return the image uses of a workload; none if there is no such workload.
    ImageUses(WorkloadId, oneshot::Sender<Option<Arc<Vec<ImageUse>>>>),
    /// End all cooldowns, and return their number; none if no cooldown is configured.
    ResetCooldown(oneshot::Sender<Option<usize>>),
}

/// A changed policy and changed settings.
pub struct Reconfiguration {
    /// The new policy.
    pub policy: PreparedPolicy,
    /// The new copier; none to keep the present one.
    pub copier: Option<Copier>,
    /// The new verifier, if there is a new copier; none to verify nothing in the background.
    pub verifier: Option<ContinualVerifier>,
    /// The longest pause after a failed copy.
    pub cooldown: Option<Duration>,
    /// How many destinations are copied to at once.
    pub max_concurrency: usize,
}
