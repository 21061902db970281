//! From claims to requests for destinations.

use std::time::SystemTime;

use tokio::time::Instant;
use tracing::warn;

use crate::{
    mirror::{
        claims::DesiredImage,
        destination_key::DestinationKey,
        queue::{Admission, Cause},
    },
    model::{Event, Reference, WorkloadId},
};

use super::state::{Actor, as_system_time};

impl Actor {
    /// Replaces a workload's claims.
    pub(super) fn claim(&mut self, workload: &WorkloadId, desired: Vec<DesiredImage>) {
        let changes = self.claims.set(workload, desired);
        let now = Instant::now();
        for (key, source) in &changes.requested {
            if let Some(change) = self.records.claim(key, source, SystemTime::now()) {
                self.report_changes([change]);
                self.restore_damage(key, source, now);
            }
            self.warn_of_possible_conflicts(key, source);
            if let Admission::InCooldown { until, error } = self.request(key, source, Cause::New, now)
                && let Some(record) = self.records.get(key, source)
            {
                self.observer.observe(&Event::InCooldown {
                    workload,
                    source,
                    destination: &key.destination(source),
                    record,
                    until: as_system_time(until),
                    reason: &error,
                });
            }
        }
        // What is at the target needs no source. What is not may be readable now.
        for (key, source) in &changes.openable {
            if self.queue.is_due(key) || self.queue.cooldown(key, source, now).is_some() {
                self.request(key, source, Cause::New, now);
            }
        }
        for key in &changes.reassigned {
            self.request_all(key, now);
        }
        for key in &changes.released {
            self.forget(key);
        }
        let requested = changes.requested.iter().map(|(key, _)| key);
        for key in requested.chain(&changes.reassigned).chain(&changes.released) {
            self.cancel_if_unclaimed(key);
        }
    }

    fn forget(&mut self, key: &DestinationKey) {
        self.queue.forget(key);
        self.referrer_looks.forget(key);
        self.rounds.forget(key);
        self.damage.release(key, Instant::now());
        let changes = self.records.update(key, &[], |_| false, SystemTime::now());
        self.report_changes(changes);
        if let Some(pass) = self.passes.current() {
            pass.forget(key);
        }
    }

    /// Ends the work on a destination if no workload claims any of it.
    fn cancel_if_unclaimed(&self, key: &DestinationKey) {
        let Some(active) = self.active.get(key) else { return };
        let claimed = self.claims.jobs(key);
        if !active.jobs.iter().any(|(job, _)| claimed.iter().any(|claimed| claimed.has_same_route(job))) {
            active.cancel.cancel();
        }
    }

    fn warn_of_possible_conflicts(&mut self, key: &DestinationKey, source: &Reference) {
        if let Some([one, other]) = self.registries_in_use.record(key.target(), source) {
            warn!(
                target = key.target().name,
                "images of {one} and {other} can conflict at this target; add $registry to its repository prefix"
            );
        }
    }
}
