//! From decisions to what is wanted.

use std::sync::Arc;

use tokio::time::Instant;
use tracing::{debug, warn};

use super::{Actor, as_time};
use crate::{
    mirror::{
        decisions::Decided,
        queue::{Admission, Cause},
    },
    model::{Destination, Event, ImageUse, Reference, Verdict, WorkloadId},
};

/// An image use, where its image comes from, and where it is to be.
type Wish = (ImageUse, Reference, Vec<Destination>);

impl Actor {
    pub(super) fn decided(&mut self, decided: Decided) {
        if !self.decisions.are_current(&decided) {
            return;
        }
        let Decided { workload, uses, decisions, .. } = decided;
        let mut wishes: Vec<Wish> = Vec::new();
        let mut failed = Vec::new();
        let mut containers = Vec::new();
        let mut ask_again = false;
        for (image_use, decision) in uses.iter().zip(decisions) {
            let id = &image_use.workload.id;
            match (decision.verdict, decision.source) {
                (Verdict::Mirror(destinations), Some(source)) => {
                    containers.push((image_use, source.clone()));
                    wishes.push((image_use.clone(), source, destinations));
                }
                (Verdict::Mirror(_), None) => {}
                (Verdict::Skip(reason), _) => {
                    debug!(workload = %id, container = image_use.container.name, image = image_use.image, reason, "skipped");
                }
                (Verdict::Error { reason, retry }, _) => {
                    self.observer.observe(&Event::Undecided { workload: id, image: &image_use.image, reason: &reason });
                    failed.push(format!("{}: {reason}", image_use.image));
                    ask_again |= retry;
                    // What was decided before holds until there is another decision: its name is not for others.
                    if let Some((source, destinations)) = self.claims.wish_of(image_use).filter(|_| retry) {
                        wishes.push((image_use.clone(), source, destinations));
                    }
                }
            }
        }
        self.undecided_now(&workload, failed.len());
        if ask_again && !self.only_pass {
            self.decisions.retry(&workload, Instant::now());
        } else {
            self.decisions.hold(&workload);
        }
        self.claim(&workload, wishes);
        self.count_in_pass(&workload, failed, containers);
    }

    /// What a pass that waits for the decisions about a workload has to wait for now.
    fn count_in_pass(&mut self, workload: &WorkloadId, failed: Vec<String>, containers: Vec<(&ImageUse, Reference)>) {
        let now = Instant::now();
        let Some(pass) = self.passes.current() else { return };
        if !pass.decided(workload, now) {
            return;
        }
        for reason in failed {
            pass.failed(workload, reason);
        }
        for (image_use, source) in containers {
            let names = self.claims.names_of(image_use);
            for name in &names {
                // Another workload of this pass wanted it as well.
                let is_looked_at = pass.is_awaiting(name) || pass.has_finished(name) && !self.queue.is_due(name);
                if is_looked_at && self.queue.resting(name, &source, now).is_none() {
                    continue;
                }
                let host = self.claims.source_registry(name).unwrap_or_default();
                match self.queue.want(name, &source, host, Cause::Pass, now) {
                    Admission::Queued | Admission::Active => pass.awaits(name),
                    Admission::Cooling { until, error } => {
                        let minutes = until.saturating_duration_since(now).as_secs().div_ceil(60);
                        let reason = format!("{name} is in cooldown for {minutes} more minutes: {error}");
                        pass.cooling(name, &source, reason);
                    }
                }
            }
            pass.container(workload, source, names);
        }
    }

    pub(super) fn claim(&mut self, workload: &WorkloadId, wishes: Vec<Wish>) {
        let effect = self.claims.set(workload, wishes);
        let now = Instant::now();
        for (name, source) in &effect.wanted {
            if let Some([one, other]) = self.registries_in_use.take_in(name.target(), source) {
                warn!(
                    target = name.target().name,
                    "images of {one} and {other} can get the same name at the target, and only one of them can have it: \
                     put $registry into its repository prefix"
                );
            }
            let host = self.claims.source_registry(name).unwrap_or_default();
            if let Admission::Cooling { until, error } = self.queue.want(name, source, host, Cause::New, now) {
                self.tell_of_cooldown(workload, source, &name.destination(source), until, &error);
            }
        }
        for name in &effect.reassigned {
            let host = self.claims.source_registry(name).unwrap_or_default();
            for job in self.claims.jobs(name) {
                self.queue.want(name, &job.source, host, Cause::Change, now);
            }
        }
        for name in &effect.forgotten {
            self.queue.forget(name);
            self.forget_told(name);
            if let Some(pass) = self.passes.current() {
                pass.forgotten(name);
            }
        }
        for name in effect.wanted.iter().map(|(name, _)| name).chain(&effect.reassigned).chain(&effect.forgotten) {
            self.cancel_if_unwanted(name);
        }
    }

    pub(super) fn undecided_now(&mut self, workload: &WorkloadId, count: usize) {
        if self.undecided.set(workload, count) {
            self.observer.observe(&Event::Decided { workload });
        }
    }

    fn tell_of_cooldown(
        &self,
        workload: &WorkloadId,
        source: &Reference,
        destination: &Destination,
        until: Instant,
        error: &Arc<str>,
    ) {
        self.observer.observe(&Event::InCooldown {
            workload,
            source,
            destination,
            until: as_time(until),
            reason: error,
        });
    }
}
