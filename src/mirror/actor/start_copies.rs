//! Starting the work on a destination.

use std::{panic::AssertUnwindSafe, sync::Arc, time::SystemTime};

use futures::FutureExt;
use tokio::{sync::mpsc, time::Instant};
use tokio_util::sync::CancellationToken;

use crate::{
    mirror::{
        copying::Copier, destination_key::DestinationKey, job::CopyJob, known_damage::Repair, panic, queue::Next,
    },
    model::{CopyProgress, Event, Reference},
};

use super::state::{Active, Actor, Completed};

/// Destinations that are started before other events are handled; each takes microseconds.
const MAX_STARTS_AT_ONCE: usize = 256;

impl Actor {
    /// Starts copies up to the maximum concurrency. Returns whether there are permits and destinations left.
    pub(super) fn start_copies(&mut self) -> bool {
        for _ in 0..MAX_STARTS_AT_ONCE {
            if !self.may_copy() || self.tasks.len() >= self.max_concurrency {
                return false;
            }
            let (sources, max_concurrency) = (&self.sources, self.max_concurrency);
            let copier = &self.copier;
            let limit = |host: &str| match sources.limit(host, max_concurrency) {
                // The others need not wait for it: they are read elsewhere.
                1 if copier.may_be_elsewhere_from(host) => (max_concurrency / 6).max(1),
                limit => limit,
            };
            let Some(next) = self.queue.next(limit) else { return false };
            self.start(next);
        }
        true
    }

    pub(super) fn start(&mut self, next: Next) {
        let Next { key, resolve_tag } = next;
        let now = Instant::now();
        let jobs = self.claims.jobs(&key);
        let due = jobs.into_iter().filter(|job| self.queue.cooldown(&key, &job.source, now).is_none());
        let with_flags = |job: CopyJob| {
            let repair = self.damage.repair(&key, &job.source, now);
            let is_damaged = repair != Repair::None;
            let repair_pause = if let Repair::Paused(pause) = repair { Some(pause) } else { None };
            CopyJob { resolve_tag, is_damaged, repair_pause, ..job }
        };
        let with_others = |job: CopyJob| CopyJob {
            other_destinations: if self.copier.reads_targets() {
                self.claims.other_destinations(&key, &job.source)
            } else {
                Vec::new()
            },
            ..job
        };
        let jobs: Vec<CopyJob> = due.map(with_flags).map(with_others).collect();
        let mut jobs = self.without_unavailable(&key, jobs, now);
        if jobs.is_empty() {
            self.finish(&key, &[], &[]);
            return;
        }
        let cancel = CancellationToken::new();
        let contenders = self.claims.contenders(&key);
        if contenders.is_none() && self.begin_look(&key) {
            jobs.iter_mut().for_each(|job| job.look_for_referrers = true);
        }
        let progress: Vec<_> = jobs.iter().map(|_| Arc::<CopyProgress>::default()).collect();
        // Before its task, which reports the next events.
        if contenders.is_none() {
            for (job, progress) in jobs.iter().zip(&progress) {
                self.observer.observe(&Event::CopyStarted {
                    source: &job.source,
                    destination: &job.destination,
                    workloads: &job.workloads,
                    progress,
                });
            }
        }
        let work = Work {
            copier: Arc::clone(&self.copier),
            key: key.clone(),
            jobs: jobs.iter().cloned().zip(progress.iter().cloned()).collect(),
            contenders,
            answers: self.answers_sender.clone(),
        };
        let cancelled = cancel.clone().cancelled_owned();
        self.tasks.spawn(async move {
            let key = work.key.clone();
            tokio::select! {
                completed = work.run() => completed,
                () = cancelled => Completed::Cancelled { key },
            }
        });
        let jobs = jobs.into_iter().zip(progress).collect();
        self.active.insert(key, Active { cancel, jobs, started: SystemTime::now(), resolve_tag });
    }
}

/// The task of an active destination.
struct Work {
    copier: Arc<Copier>,
    key: DestinationKey,
    jobs: Vec<(CopyJob, Arc<CopyProgress>)>,
    /// Several repositories' images, if the owner is not known.
    contenders: Option<Vec<Vec<Reference>>>,
    answers: mpsc::UnboundedSender<String>,
}

impl Work {
    /// A panic in a copy must not leave its destination active forever.
    async fn run(self) -> Completed {
        let Self { copier, key, jobs, contenders, answers } = self;
        if let Some(contenders) = contenders {
            let jobs: Vec<CopyJob> = jobs.into_iter().map(|(job, _)| job).collect();
            let owner = AssertUnwindSafe(copier.find_owner(&jobs, &contenders)).catch_unwind().await;
            return Completed::OwnerFound { key, owner: owner.unwrap_or_else(|_| Err(panic::failure_after_panic())) };
        }
        let mut done = Vec::with_capacity(jobs.len());
        for (job, progress) in jobs {
            let on_answer = || {
                // At the end the receiver is gone.
                let _ = answers.send(job.source.registry().to_owned());
            };
            let copied = AssertUnwindSafe(copier.copy(&job, &progress, &on_answer)).catch_unwind().await;
            let copied = copied.unwrap_or_else(|_| panic::result_after_panic(&job));
            done.push((job, copied));
        }
        Completed::Copied { key, done }
    }
}
