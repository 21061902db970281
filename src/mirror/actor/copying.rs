//! Starting the work on a name, and what follows from how it ended.

use std::{collections::HashMap, panic::AssertUnwindSafe, sync::Arc, time::Duration};

use futures::FutureExt;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::{Actor, as_time};
use crate::{
    mirror::{
        availability::Unavailable,
        claims::Name,
        copy::Copied,
        defect,
        job::{CopyJob, Role},
        queue::Next,
    },
    model::{Event, Failure, FailureKind, Outcome, Reference, Retry, Status},
};

/// The work on a name that is under way.
pub(super) struct Active {
    cancel: CancellationToken,
    jobs: Vec<CopyJob>,
    resolve_tag: bool,
}

/// The work on a name that has ended.
pub(super) enum Ended {
    /// Its jobs were carried out.
    Copied { name: Name, done: Vec<(CopyJob, Copied)> },
    /// The target was asked which of several repositories it has the name from.
    Asked { name: Name, holder: Result<Option<Reference>, Failure> },
    /// Nobody wanted it any more.
    Cancelled { name: Name },
}

impl Actor {
    /// Starts copies while there are places. Says whether there are places and names left.
    pub(super) fn start_copies(&mut self) -> bool {
        for _ in 0..super::STARTS_AT_ONCE {
            if !self.may_start() || self.copying.len() >= self.places {
                return false;
            }
            let (sources, places) = (&self.sources, self.places);
            let Some(next) = self.queue.next(|host| sources.limit(host, places)) else { return false };
            self.start(next);
        }
        true
    }

    fn start(&mut self, next: Next) {
        let Next { name, resolve_tag } = next;
        let now = Instant::now();
        let jobs = self.claims.jobs(&name);
        let due = jobs.into_iter().filter(|job| self.queue.resting(&name, &job.source, now).is_none());
        let jobs: Vec<CopyJob> = due.map(|job| CopyJob { resolve_tag, ..job }).collect();
        let jobs = self.without_unavailable(&name, jobs, now);
        if jobs.is_empty() {
            self.finish(&name, &[], &[]);
            return;
        }
        let cancel = CancellationToken::new();
        let (copier, answering) = (Arc::clone(&self.copier), self.answering.clone());
        let task = {
            let (name, jobs, cancel) = (name.clone(), jobs.clone(), cancel.clone());
            let contenders = self.claims.contenders(&name);
            async move {
                let work = async {
                    if let Some(contenders) = contenders {
                        let holder = AssertUnwindSafe(copier.holder(&jobs, &contenders)).catch_unwind().await;
                        let holder = holder.unwrap_or_else(|_| Err(defect::broken_copy()));
                        return Ended::Asked { name: name.clone(), holder };
                    }
                    let mut done = Vec::with_capacity(jobs.len());
                    for job in jobs {
                        let on_answer = || {
                            // Nobody listens any more at the end.
                            let _ = answering.send(job.source.registry().to_owned());
                        };
                        // A defect in one copy must not leave its name under way for ever.
                        let copied = AssertUnwindSafe(copier.copy(&job, &on_answer)).catch_unwind().await;
                        let copied = copied.unwrap_or_else(|_| defect::broken_off(&job));
                        done.push((job, copied));
                    }
                    Ended::Copied { name: name.clone(), done }
                };
                tokio::select! {
                    ended = work => ended,
                    () = cancel.cancelled() => Ended::Cancelled { name: name.clone() },
                }
            }
        };
        self.active.insert(name, Active { cancel, jobs, resolve_tag });
        self.copying.spawn(task);
    }

    /// Leaves out what can't be had as long as a registry does not answer, and tells of it as failed.
    fn without_unavailable(&mut self, name: &Name, jobs: Vec<CopyJob>, now: Instant) -> Vec<CopyJob> {
        let (mut sources, mut targets) = (HashMap::new(), HashMap::new());
        let mut left = Vec::new();
        for job in jobs {
            let target = job.destination.target.registry.clone();
            let admission = targets.entry(target.clone()).or_insert_with(|| self.targets.admit(&target, now)).clone();
            if let Err(unavailable) = admission {
                self.postpone(name, &job, FailureKind::Target, &target, &unavailable, now);
                continue;
            }
            let host = job.source.registry().to_owned();
            let admission = sources.entry(host.clone()).or_insert_with(|| self.sources.admit(&host, now)).clone();
            match admission {
                Ok(()) => left.push(job),
                Err(unavailable) => self.postpone(name, &job, FailureKind::Source, &host, &unavailable, now),
            }
        }
        left
    }

    fn postpone(
        &mut self,
        name: &Name,
        job: &CopyJob,
        kind: FailureKind,
        host: &str,
        unavailable: &Unavailable,
        now: Instant,
    ) {
        let Unavailable { until, failures, error } = unavailable;
        let message = format!("not tried: {host} failed {failures} times in a row, last with: {error}");
        self.queue.postpone(name, &job.source, &message, *until, now);
        let retry = Retry::After(until.saturating_duration_since(now));
        let failure = Failure { kind, message, retry };
        let outcome = Outcome { next_try: Some(as_time(*until)), ..defect::not_tried(job, failure) };
        if !self.told.is_failure(name, &job.source) {
            self.observer.observe(&Event::Finished(&outcome));
            // It may have been told at another place, before others wanted the name as well.
            for (destination, source) in self.told.update(name, std::slice::from_ref(&outcome), |_| true) {
                self.observer.observe(&Event::Forgotten { destination: &destination, source: &source });
            }
        }
        if let Some(pass) = self.passes.current() {
            pass.came_of(name, std::slice::from_ref(&outcome), now);
        }
    }

    pub(super) fn ended(&mut self, ended: Ended) {
        match ended {
            Ended::Copied { name, done } => {
                self.active.remove(&name);
                self.copied(&name, done);
            }
            Ended::Cancelled { name } => {
                self.active.remove(&name);
                self.finish(&name, &[], &[]);
            }
            Ended::Asked { name, holder } => {
                let Some(Active { jobs, resolve_tag, .. }) = self.active.remove(&name) else { return };
                let failed = |failure: &Failure, job: CopyJob| {
                    let outcome = defect::not_tried(&job, failure.clone());
                    (job, Copied { outcome, source_answered: false })
                };
                match holder {
                    Err(failure) => {
                        let done = jobs.into_iter().map(|job| failed(&failure, job)).collect();
                        self.copied(&name, done);
                    }
                    Ok(holder) => {
                        if let Some(holder) = holder {
                            self.claims.hold(&name, &holder);
                        }
                        if self.may_start() && self.claims.contenders(&name).is_none() {
                            self.start(Next { name, resolve_tag });
                        } else {
                            self.finish(&name, &[], &[]);
                        }
                    }
                }
            }
        }
    }

    fn copied(&mut self, name: &Name, done: Vec<(CopyJob, Copied)>) {
        let now = Instant::now();
        let wanted = self.claims.jobs(name);
        let mut outcomes = Vec::with_capacity(done.len());
        let mut jobs = Vec::with_capacity(done.len());
        for (job, Copied { mut outcome, source_answered }) in done {
            self.note_availability(&outcome, source_answered, now);
            // What came of something that nobody wants any more is nobody's business.
            if wanted.iter().any(|wanted| wanted.source == job.source && wanted.destination == job.destination) {
                match &outcome.status {
                    // A conflict costs a look only, and is looked at when somebody changes something.
                    Status::Failed(failure) if failure.kind == FailureKind::Conflict => {
                        self.queue.succeeded(name, &job.source);
                    }
                    Status::Failed(failure) => {
                        let pause = self.queue.failed(name, &job.source, &failure.message, failure.retry, now);
                        outcome.next_try = (!self.only_pass).then(|| as_time(now + pause));
                    }
                    Status::Copied(_) | Status::AlreadyThere(_) if job.role == Role::Holder => {
                        self.queue.succeeded(name, &job.source);
                        self.claims.hold(name, &job.source);
                    }
                    _ => self.queue.succeeded(name, &job.source),
                }
                self.observer.observe(&Event::Finished(&outcome));
                outcomes.push(outcome);
            }
            jobs.push(job);
        }
        self.finish(name, &jobs, &outcomes);
    }

    /// The work on a name is over for now: these jobs were done, and this came of those that are still wanted.
    fn finish(&mut self, name: &Name, done: &[CopyJob], outcomes: &[Outcome]) {
        let now = Instant::now();
        let wanted = self.claims.jobs(name);
        let is_done = |wanted: &CopyJob| {
            let same = done.iter().find(|job| job.source == wanted.source && job.destination == wanted.destination);
            same.is_some_and(|job| job.same_work(wanted)) || self.queue.resting(name, &wanted.source, now).is_some()
        };
        let again = !wanted.iter().all(is_done);
        let is_wanted = |source: &Reference| wanted.iter().any(|job| job.source == *source);
        for (destination, source) in self.told.update(name, outcomes, is_wanted) {
            self.observer.observe(&Event::Forgotten { destination: &destination, source: &source });
        }
        let host = self.claims.source_registry(name).unwrap_or_default();
        let waits = self.queue.ended(name, host, again);
        if wanted.is_empty() && !waits {
            self.queue.forget(name);
        }
        if let Some(pass) = self.passes.current() {
            pass.came_of(name, outcomes, now);
            if wanted.is_empty() {
                pass.forgotten(name);
            } else if !waits {
                pass.finished(name);
            }
        }
    }

    /// Ends the work on a name where nothing of it is wanted any more.
    pub(super) fn cancel_if_unwanted(&self, name: &Name) {
        let Some(active) = self.active.get(name) else { return };
        let wanted = self.claims.jobs(name);
        let is_wanted = |job: &CopyJob| {
            wanted.iter().any(|wanted| wanted.source == job.source && wanted.destination == job.destination)
        };
        if !active.jobs.iter().any(is_wanted) {
            active.cancel.cancel();
        }
    }

    /// Observers need not know anything of a name any more.
    pub(super) fn forget_told(&mut self, name: &Name) {
        for (destination, source) in self.told.update(name, &[], |_| false) {
            self.observer.observe(&Event::Forgotten { destination: &destination, source: &source });
        }
    }

    /// More of a registry's images may be under way once it is known to answer.
    pub(super) fn source_answered(&mut self, host: &str) {
        let limit = self.sources.limit(host, self.places);
        if self.sources.answered(host) {
            info!(registry = host, "the registry answers again");
        }
        if self.sources.limit(host, self.places) != limit {
            self.queue.limits_changed();
        }
    }

    fn note_availability(&mut self, outcome: &Outcome, source_answered: bool, now: Instant) {
        let host = outcome.source.registry();
        let target = &outcome.destination.target.registry;
        let failure = match &outcome.status {
            Status::Failed(failure) => Some(failure),
            _ => None,
        };
        let (mut source_fails, mut target_fails) = (false, false);
        if let Some(Failure { kind, message, retry: Retry::Soon }) = failure {
            source_fails = matches!(kind, FailureKind::Source | FailureKind::SourceBlob);
            target_fails = *kind == FailureKind::Target;
            let failing = if source_fails {
                self.sources.failed(host, message, now).map(|until| (host, until))
            } else if target_fails {
                self.targets.failed(target, message, now).map(|until| (target.as_str(), until))
            } else {
                None
            };
            if let Some((registry, until)) = failing {
                let seconds = until.saturating_duration_since(now).max(Duration::from_secs(1)).as_secs();
                warn!(
                    registry,
                    seconds,
                    "the registry keeps failing: one copy at a time tries it, all others wait, next in so many seconds"
                );
            }
        }
        if source_answered && !source_fails {
            self.source_answered(host);
        }
        let is_dry = matches!(outcome.status, Status::WouldPull);
        let target_answered = failure.is_none_or(|failure| failure.kind != FailureKind::Source) && !is_dry;
        if target_answered && !target_fails && self.targets.answered(target) {
            info!(registry = target, "the registry answers again");
        }
    }
}
