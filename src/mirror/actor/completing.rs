//! What follows from the end of the work on a destination.

use tokio::time::Instant;

use crate::{
    mirror::{
        destination_key::DestinationKey,
        job::{CopyJob, CopyResult, Role},
        queue::Next,
    },
    model::{Failure, FailureKind, Outcome, Reference, Retry, Status},
};

use super::state::{Active, Actor, Completed, as_system_time};

impl Actor {
    pub(super) fn complete(&mut self, completed: Completed) {
        match completed {
            Completed::Copied { key, done } => {
                self.active.remove(&key);
                self.apply_outcomes(&key, done);
            }
            Completed::Cancelled { key } => {
                self.active.remove(&key);
                self.finish(&key, &[], &[]);
            }
            Completed::OwnerFound { key, owner } => {
                if let Some(active) = self.active.remove(&key) {
                    self.apply_owner(key, active, owner);
                }
            }
        }
    }

    fn apply_owner(&mut self, key: DestinationKey, active: Active, owner: Result<Option<Reference>, Failure>) {
        let Active { jobs, resolve_tag, .. } = active;
        match owner {
            Err(failure) => {
                let failed = jobs.into_iter().map(|(job, _)| {
                    let outcome = job.failed_before_start(failure.clone());
                    (
                        job,
                        CopyResult {
                            outcome,
                            source_failure: None,
                            source_answered: false,
                            registry_is_up: false,
                            asked_elsewhere: false,
                            found_corrupt: false,
                        },
                    )
                });
                self.apply_outcomes(&key, failed.collect());
            }
            Ok(owner) => {
                if let Some(owner) = owner {
                    self.claims.set_owner(&key, &owner);
                }
                if self.may_copy() && self.claims.contenders(&key).is_none() {
                    self.start(Next { key, resolve_tag });
                } else {
                    self.finish(&key, &[], &[]);
                }
            }
        }
    }

    fn apply_outcomes(&mut self, key: &DestinationKey, done: Vec<(CopyJob, CopyResult)>) {
        let now = Instant::now();
        let claimed = self.claims.jobs(key);
        let mut reported = Vec::with_capacity(done.len());
        let mut jobs = Vec::with_capacity(done.len());
        let asked_elsewhere: Vec<Reference> =
            done.iter().filter(|(_, result)| result.asked_elsewhere).map(|(job, _)| job.source.clone()).collect();
        for (job, result) in done {
            self.note_availability(&result, now);
            let job = CopyJob { is_damaged: job.is_damaged || result.found_corrupt, ..job };
            let mut outcome = result.outcome;
            // Outcomes of images that are not claimed any more are not reported.
            if claimed.iter().any(|claimed| claimed.has_same_route(&job)) {
                self.apply_outcome(key, &job, &mut outcome, now);
                if self.is_old_news(key, &job, &outcome) {
                    if let Some(pass) = self.passes.current() {
                        pass.record(key, std::slice::from_ref(&outcome), now);
                    }
                } else {
                    reported.push((job.clone(), outcome));
                }
            }
            jobs.push(job);
        }
        if !reported.is_empty() {
            self.plan_look(key, &reported, now);
            self.plan_verification(key, &reported, now);
        }
        let outcomes: Vec<Outcome> = reported.into_iter().map(|(_, outcome)| outcome).collect();
        self.finish(key, &jobs, &outcomes);
        for source in asked_elsewhere {
            self.records.set_asked_elsewhere(key, &source, now);
        }
    }

    /// Whether it is the failure of a paused repair, which was reported when it happened.
    fn is_old_news(&self, key: &DestinationKey, job: &CopyJob, outcome: &Outcome) -> bool {
        matches!(&outcome.status, Status::Failed(failure) if job.is_pause(failure))
            && self.records.is_failure(key, &job.source)
    }

    fn apply_outcome(&mut self, key: &DestinationKey, job: &CopyJob, outcome: &mut Outcome, now: Instant) {
        if let Status::Failed(failure) = &outcome.status
            && let Some(until) = self.next_repair(key, job, failure, outcome.bytes, now)
        {
            self.queue.postpone_repair(key, &job.source, &failure.message, until, now);
            outcome.next_try = (!self.is_single_pass).then(|| as_system_time(until));
            return;
        }
        match &outcome.status {
            // A conflict is not retried: it is checked again when a claim changes.
            Status::Failed(failure) if failure.kind == FailureKind::Conflict => {
                self.queue.succeeded(key, &job.source);
            }
            Status::Failed(Failure { kind: FailureKind::Source, message, .. }) if job.source_unavailable.is_some() => {
                let until = job.source_unavailable.as_ref().map_or(now, |unavailable| unavailable.until);
                self.queue.postpone(key, &job.source, message, until, now);
                outcome.next_try = (!self.is_single_pass).then(|| as_system_time(until));
            }
            Status::Failed(failure) => {
                let pause = self.queue.failed(key, &job.source, &failure.message, failure.retry, now);
                outcome.next_try = (!self.is_single_pass).then(|| as_system_time(now + pause));
            }
            Status::Copied(_) | Status::AlreadyThere(_) if job.role == Role::Owner => {
                self.queue.succeeded(key, &job.source);
                self.claims.set_owner(key, &job.source);
            }
            _ => self.queue.succeeded(key, &job.source),
        }
    }

    /// When a repair that failed is tried again. None if the copy was no repair, or if it sent nothing and may succeed soon:
    /// then it is retried as any other.
    fn next_repair(
        &mut self,
        key: &DestinationKey,
        job: &CopyJob,
        failure: &Failure,
        sent: u64,
        now: Instant,
    ) -> Option<Instant> {
        if let Some(pause) = job.repair_pause.as_ref().filter(|_| job.is_pause(failure)) {
            return Some(pause.until);
        }
        let is_other = match failure.kind {
            FailureKind::Conflict | FailureKind::DifferentDigest => true,
            FailureKind::Source => job.source_unavailable.is_some(),
            _ => false,
        };
        let is_repair = job.is_damaged && !is_other && (failure.retry == Retry::Later || sent > 0);
        let longest = self.longest_repair_pause();
        is_repair.then(|| self.damage.repair_failed(key, &job.source, failure, longest, now))
    }

    /// Ends the work on a destination: with the jobs that were done, and the outcomes of those that are still claimed.
    pub(super) fn finish(&mut self, key: &DestinationKey, done: &[CopyJob], outcomes: &[Outcome]) {
        let now = Instant::now();
        let claimed = self.claims.jobs(key);
        let is_done = |claimed: &CopyJob| {
            let same = done.iter().find(|job| job.has_same_route(claimed));
            same.is_some_and(|job| job.is_same_work(claimed))
                || self.queue.cooldown(key, &claimed.source, now).is_some()
        };
        let run_again = !claimed.iter().all(is_done);
        let is_claimed = |source: &Reference| claimed.iter().any(|job| job.source == *source);
        self.record(key, outcomes, is_claimed);
        let host = self.claims.source_registry(key).unwrap_or_default();
        let is_waiting = self.queue.complete(key, host, run_again);
        if claimed.is_empty() && !is_waiting {
            self.queue.forget(key);
        }
        if let Some(pass) = self.passes.current() {
            pass.record(key, outcomes, now);
            if claimed.is_empty() {
                pass.forget(key);
            } else if !is_waiting {
                pass.complete(key);
            }
        }
    }
}
