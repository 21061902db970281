//! The operations that the HTTP endpoints offer.

use std::sync::{Arc, Mutex, PoisonError};

use futures::{FutureExt, future::BoxFuture};
use tokio_util::sync::CancellationToken;

use super::leader::LeaderStatus;
use crate::{
    cli::{build, reload::ReloadState},
    mirror::{Mirror, Stopped},
    model::{Decision, ImageUse, WorkloadId},
    policy::Policy,
    report::{CooldownReset, ForcedPass, Operations, PluginsReport, status::ReplicaStatus},
};

/// The most containers that are decided on request.
const MAX_DECISIONS: usize = 10;

/// Operations on the mirror while this replica is the leader.
pub struct MirrorOperations {
    pub mirror: Mirror,
    pub policy: Arc<Policy>,
    pub reload: Arc<Mutex<ReloadState>>,
    pub leader: LeaderStatus,
    /// Cancelled when all existing workloads are known: an earlier pass would not be complete.
    pub all_known: CancellationToken,
}

impl MirrorOperations {
    fn is_ready(&self) -> bool {
        self.leader.is_leader() && self.all_known.is_cancelled()
    }
}

impl Operations for MirrorOperations {
    fn reset_cooldown(&self) -> BoxFuture<'_, CooldownReset> {
        async move {
            if !self.is_ready() {
                return CooldownReset::NotReady;
            }
            match self.mirror.reset_cooldown().await {
                Ok(Some(cleared)) => CooldownReset::Cleared(cleared),
                Ok(None) => CooldownReset::Disabled,
                Err(Stopped) => CooldownReset::NotReady,
            }
        }
        .boxed()
    }

    fn force_reconcile(&self) -> BoxFuture<'_, ForcedPass> {
        async move {
            if !self.is_ready() {
                return ForcedPass::NotReady;
            }
            match self.mirror.pass(true).await {
                Ok(report) => ForcedPass::Ended {
                    workloads: report.workloads,
                    images: report.images,
                    failures: report.failures.iter().map(|(id, cause)| format!("{id}: {cause}")).collect(),
                },
                Err(Stopped) => ForcedPass::NotReady,
            }
        }
        .boxed()
    }

    fn status(&self) -> BoxFuture<'_, Option<ReplicaStatus>> {
        async move {
            let mirror = self.mirror.status().await.ok()?;
            let config = self.reload.lock().unwrap_or_else(PoisonError::into_inner).active.clone();
            Some(ReplicaStatus {
                is_leader: self.leader.is_leader(),
                leader: self.leader.holder(),
                targets: build::targets(&config),
                dry_run: config.copy.dry_run,
                dry_pull: config.copy.dry_pull,
                next_pass: self.leader.next_pass(),
                mirror,
            })
        }
        .boxed()
    }

    fn decide(&self, workload: WorkloadId, image: String) -> BoxFuture<'static, Option<Vec<(ImageUse, Decision)>>> {
        let (mirror, policy) = (self.mirror.clone(), Arc::clone(&self.policy));
        async move {
            let uses = mirror.image_uses(workload).await.ok()??;
            let uses = uses.iter().filter(|image_use| image_use.image == image).take(MAX_DECISIONS);
            let uses: Vec<ImageUse> = uses.cloned().collect();
            let decisions = policy.decide(uses.clone()).await;
            Some(uses.into_iter().zip(decisions).collect())
        }
        .boxed()
    }

    fn plugins(&self) -> PluginsReport {
        let ReloadState { error, needs_restart, .. } =
            self.reload.lock().unwrap_or_else(PoisonError::into_inner).clone();
        PluginsReport { plugins: self.policy.plugins(), reload_error: error, needs_restart }
    }
}
