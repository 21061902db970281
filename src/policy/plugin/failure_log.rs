//! Logs the failures of a plugin with `onFailure: pass`: one line when they start, one when they end. A line for each
//! call would be a line for each image of the cluster.

use std::{
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use crate::{
    model::{Hook, cut_image},
    policy::{bindings::types, error::CallError},
};

/// The failures have ended when the plugin answers and its last failure is this long ago. A plugin that fails now and
/// then is logged once.
const QUIET: Duration = Duration::from_secs(60);

/// The failures of one plugin.
#[derive(Debug)]
pub struct FailureLog {
    plugin: String,
    /// Spares calls of a healthy plugin the lock.
    is_failing: AtomicBool,
    period: Mutex<Option<FailurePeriod>>,
}

/// The calls since the first failure.
#[derive(Debug)]
struct FailurePeriod {
    start: Instant,
    last_failure: Instant,
    calls: u64,
    failures: u64,
    first: FirstFailure,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct FirstFailure {
    hook: Hook,
    image: String,
    workload: String,
    error: String,
}

impl FailureLog {
    pub fn new(plugin: &str) -> Self {
        Self { plugin: plugin.to_owned(), is_failing: AtomicBool::new(false), period: Mutex::default() }
    }

    pub fn record_failure(&self, hook: Hook, image_use: &types::ImageUse, error: &CallError) {
        let first = || FirstFailure {
            hook,
            image: cut_image(&image_use.image.as_written).into_owned(),
            workload: workload(&image_use.workload),
            error: error.to_string(),
        };
        if let Some(FirstFailure { hook, image, workload, error }) = self.count_failure(Instant::now(), first) {
            let plugin = self.plugin.as_str();
            tracing::warn!(
                plugin, %hook, image, workload, error,
                "the plugin fails and is ignored (onFailure: pass); its recovery is logged"
            );
        }
    }

    pub fn record_answer(&self) {
        if let Some(period) = self.count_answer(Instant::now()) {
            self.log_end(&period, "the plugin answers again");
        }
    }

    /// Returns the failure if it is the first of a period.
    fn count_failure(&self, now: Instant, first: impl FnOnce() -> FirstFailure) -> Option<FirstFailure> {
        let mut period = self.period.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(period) = period.as_mut() {
            period.last_failure = now;
            period.calls += 1;
            period.failures += 1;
            return None;
        }
        let first = first();
        *period = Some(FailurePeriod { start: now, last_failure: now, calls: 1, failures: 1, first: first.clone() });
        self.is_failing.store(true, Ordering::Relaxed);
        Some(first)
    }

    /// Returns the period if it ends with this answer.
    fn count_answer(&self, now: Instant) -> Option<FailurePeriod> {
        if !self.is_failing.load(Ordering::Relaxed) {
            return None;
        }
        let mut period = self.period.lock().unwrap_or_else(PoisonError::into_inner);
        let current = period.as_mut()?;
        current.calls += 1;
        if now.saturating_duration_since(current.last_failure) < QUIET {
            return None;
        }
        self.is_failing.store(false, Ordering::Relaxed);
        period.take()
    }

    fn log_end(&self, period: &FailurePeriod, message: &str) {
        let FailurePeriod { start, last_failure, calls, failures, first } = period;
        let FirstFailure { hook, image, workload, error } = first;
        let (plugin, seconds) = (self.plugin.as_str(), last_failure.saturating_duration_since(*start).as_secs());
        tracing::warn!(plugin, asked = calls, failed = failures, seconds, %hook, image, workload, error, "{message}");
    }
}

/// The plugin was replaced, or the command has ended.
impl Drop for FailureLog {
    fn drop(&mut self) {
        if let Some(period) = self.period.get_mut().unwrap_or_else(PoisonError::into_inner).take() {
            self.log_end(&period, "the failing plugin is no longer used");
        }
    }
}

/// Formatted as `model::WorkloadId`.
fn workload(workload: &types::Workload) -> String {
    format!("{} {}/{}", workload.kind.to_ascii_lowercase(), workload.namespace, workload.name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failure(image: &str) -> FirstFailure {
        FirstFailure { hook: Hook::Skip, image: image.to_owned(), workload: String::new(), error: String::new() }
    }

    #[test]
    fn logs_the_start_and_the_end_of_failures_once() {
        let (mut now, failures) = (Instant::now(), FailureLog::new("teams"));
        assert!(failures.count_answer(now).is_none(), "the plugin is healthy");
        assert_eq!(failures.count_failure(now, || failure("first")), Some(failure("first")));
        for _ in 0..1000 {
            now += QUIET - Duration::from_secs(1);
            assert!(failures.count_answer(now).is_none());
            assert_eq!(failures.count_failure(now, || panic!("already logged")), None);
        }
        now += QUIET;
        let period = failures.count_answer(now).unwrap();
        assert_eq!((period.calls, period.failures, period.first), (2002, 1001, failure("first")));
        assert_eq!((period.last_failure - period.start).as_secs(), 59_000);
        assert!(failures.count_answer(now + QUIET).is_none());
        assert_eq!(failures.count_failure(now, || failure("second")), Some(failure("second")), "a new period");
    }
}
