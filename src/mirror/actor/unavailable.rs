//! Registries that fail, and what is postponed because of them.

use std::{collections::HashMap, time::Duration};

use tokio::time::Instant;
use tracing::{info, warn};

use crate::{
    mirror::{
        destination_key::DestinationKey,
        job::{CopyJob, CopyResult, SourceUnavailable},
        queue::Unavailable,
    },
    model::{Failure, FailureKind, Outcome, Retry, Status},
};

use super::state::{Actor, as_system_time};

/// How long further sources are not asked again for an image that they did not give.
const BETWEEN_FURTHER_SOURCES: Duration = Duration::from_secs(15 * 60);

impl Actor {
    /// Removes the jobs whose source or target is failing, and reports them as failed.
    pub(super) fn without_unavailable(
        &mut self,
        key: &DestinationKey,
        jobs: Vec<CopyJob>,
        now: Instant,
    ) -> Vec<CopyJob> {
        // One admission for all jobs of a registry.
        let (mut sources, mut targets) = (HashMap::new(), HashMap::new());
        let mut available = Vec::new();
        for job in jobs {
            let target = job.destination.target.registry.clone();
            let admission = targets.entry(target.clone()).or_insert_with(|| self.targets.admit(&target, now)).clone();
            if let Err(unavailable) = admission {
                self.postpone(key, &job, FailureKind::Target, &target, &unavailable, now);
                continue;
            }
            let source = job.source.registry().to_owned();
            let admission = sources.entry(source.clone()).or_insert_with(|| self.sources.admit(&source, now)).clone();
            match admission {
                Ok(()) => available.push(job),
                // The target may have the image all the same, once is enough; and so may further sources.
                Err(unavailable)
                    if !self.records.is_attempted(key, &job.source) || self.may_be_elsewhere(key, &job) =>
                {
                    let failure = failure(FailureKind::Source, &source, &unavailable, now);
                    let source_unavailable = Some(SourceUnavailable { failure, until: unavailable.until });
                    available.push(CopyJob { source_unavailable, ..job });
                }
                Err(unavailable) => self.postpone(key, &job, FailureKind::Source, &source, &unavailable, now),
            }
        }
        available
    }

    /// Whether to ask further sources for an image whose registry keeps failing: not again at each of its pauses, and not for
    /// what the target has.
    fn may_be_elsewhere(&self, key: &DestinationKey, job: &CopyJob) -> bool {
        let Some(record) = self.records.get(key, &job.source) else { return self.copier.may_be_elsewhere(job) };
        let is_needed = record.state.is_to_be_copied() || job.is_damaged;
        let asked = self.records.asked_elsewhere(key, &job.source);
        let is_recent = asked.is_some_and(|asked| asked.elapsed() < BETWEEN_FURTHER_SOURCES);
        is_needed && !is_recent && self.copier.may_be_elsewhere(job)
    }

    fn postpone(
        &mut self,
        key: &DestinationKey,
        job: &CopyJob,
        kind: FailureKind,
        registry: &str,
        unavailable: &Unavailable,
        now: Instant,
    ) {
        let (failure, until) = (failure(kind, registry, unavailable, now), unavailable.until);
        self.queue.postpone(key, &job.source, &failure.message, until, now);
        let outcome = Outcome { next_try: Some(as_system_time(until)), ..job.failed_before_start(failure) };
        if !self.records.is_failure(key, &job.source) {
            // Before another image claimed the destination it may have been reported at another one.
            self.record(key, std::slice::from_ref(&outcome), |_| true);
        }
        if let Some(pass) = self.passes.current() {
            pass.record(key, std::slice::from_ref(&outcome), now);
        }
    }

    /// A registry that is known to answer may have more active copies.
    pub(super) fn source_answered(&mut self, host: &str) {
        let limit = self.sources.limit(host, self.max_concurrency);
        if self.sources.answered(host) {
            info!(registry = host, "the registry answers again");
        }
        if self.sources.limit(host, self.max_concurrency) != limit {
            self.queue.limits_changed();
        }
    }

    pub(super) fn note_availability(&mut self, result: &CopyResult, now: Instant) {
        let CopyResult { outcome, source_failure, source_answered, registry_is_up, .. } = result;
        let host = outcome.source.registry();
        let target = &outcome.destination.target.registry;
        let failure = match &outcome.status {
            Status::Failed(failure) => Some(failure),
            // It was copied from elsewhere.
            _ => source_failure.as_ref(),
        };
        let (mut source_fails, mut target_fails) = (false, false);
        if let Some(Failure { kind, message, retry: Retry::Soon }) = failure {
            source_fails = matches!(kind, FailureKind::Source | FailureKind::SourceBlob);
            target_fails = *kind == FailureKind::Target;
            let failing = if *registry_is_up {
                if source_fails {
                    self.sources.failed_for_one_image(host);
                } else if target_fails {
                    self.targets.failed_for_one_image(target);
                }
                None
            } else if source_fails {
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
                    error = message,
                    "the registry keeps failing; one copy retries it after `seconds`, all others wait"
                );
            }
        }
        if *source_answered && !source_fails {
            self.source_answered(host);
        }
        let is_dry = matches!(outcome.status, Status::WouldPull);
        let needs_no_target = |failure: &Failure| failure.kind == FailureKind::Source && outcome.status.is_failure();
        let target_answered = !failure.is_some_and(needs_no_target) && !is_dry;
        if target_answered && !target_fails && self.targets.answered(target) {
            info!(registry = target, "the registry answers again");
        }
    }
}

fn failure(kind: FailureKind, registry: &str, unavailable: &Unavailable, now: Instant) -> Failure {
    let Unavailable { until, failures, error } = unavailable;
    let message = format!("not tried: {registry} failed {failures} times in a row, last with: {error}");
    Failure { kind, message, retry: Retry::After(until.saturating_duration_since(now)) }
}
