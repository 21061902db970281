//! What the metrics listener shows, and what it can do.

use futures::future::BoxFuture;

use super::plugins::PluginsReport;
use crate::{
    model::{Decision, ImageUse, WorkloadId},
    report::status::ReplicaStatus,
};

/// The result of clearing the cooldowns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CooldownReset {
    /// This replica does not mirror: it is starting, on standby, or shutting down.
    NotReady,
    /// `failureCooldownMinutes` is 0.
    Disabled,
    /// The number of destinations whose cooldown was cleared.
    Cleared(usize),
}

/// The result of a forced pass.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ForcedPass {
    /// This replica does not mirror: it is starting, on standby, or shutting down.
    NotReady,
    /// The pass has ended.
    Ended {
        /// Workloads that were not skipped, including failed ones.
        workloads: usize,
        /// Containers that were processed without an error.
        images: usize,
        /// Failures, each as `deployment namespace/name: cause`; empty on success.
        failures: Vec<String>,
    },
}

/// Operations on the mirror.
pub trait Operations: Send + Sync + 'static {
    /// Clears all cooldowns.
    fn reset_cooldown(&self) -> BoxFuture<'_, CooldownReset>;

    /// Runs a pass over all workloads. Dropping the future only stops waiting; queued copies still run.
    fn force_reconcile(&self) -> BoxFuture<'_, ForcedPass>;

    /// The active plugins.
    fn plugins(&self) -> PluginsReport;

    /// The state of this replica; none if the mirror has stopped.
    fn status(&self) -> BoxFuture<'_, Option<ReplicaStatus>>;

    /// Lets the plugins decide, without any effect, about the containers of a workload that use this image (as written), at
    /// most ten; none if there is no such workload.
    fn decide(&self, workload: WorkloadId, image: String) -> BoxFuture<'static, Option<Vec<(ImageUse, Decision)>>>;
}
