//! What the running pass has to wait for.

use tokio::time::Instant;

use crate::{
    mirror::queue::{Admission, Cause},
    model::{ImageUse, Reference, WorkloadId},
};

use super::{deciding::Undecided, state::Actor};

impl Actor {
    /// Counts a workload's image uses if the pass was waiting for their decisions, and requests their destinations.
    pub(super) fn count_in_pass(
        &mut self,
        workload: &WorkloadId,
        undecided: Vec<Undecided>,
        mirrored: Vec<(ImageUse, Reference)>,
    ) {
        let now = Instant::now();
        let Some(pass) = self.passes.current() else { return };
        if !pass.decided(workload, now) {
            return;
        }
        for Undecided { image, reason, .. } in undecided {
            pass.add_undecided(workload, format!("{image}: {reason}"));
        }
        for (image_use, source) in mirrored {
            let keys = self.claims.keys_of(&image_use);
            for key in &keys {
                // Another workload of this pass may have requested it.
                let is_requested = pass.is_waiting_for(key) || pass.has_completed(key) && !self.queue.is_due(key);
                if is_requested && self.queue.cooldown(key, &source, now).is_none() {
                    continue;
                }
                let host = self.claims.source_registry(key).unwrap_or_default();
                if pass.looks_for_referrers() {
                    self.referrer_looks.request(key);
                }
                match self.queue.request(key, &source, host, Cause::Pass, now) {
                    Admission::Queued | Admission::Active => pass.wait_for(key),
                    Admission::InCooldown { until, error } => {
                        let minutes = until.saturating_duration_since(now).as_secs().div_ceil(60);
                        let reason = format!("{key} is in cooldown for {minutes} more minutes: {error}");
                        pass.add_in_cooldown(key, &source, reason);
                    }
                }
            }
            pass.add_image_use(workload, source, keys);
        }
    }
}
