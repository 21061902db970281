//! Results in place of those of a task that panicked: a panic in a decision or a copy affects that one alone.

use crate::model::{Decision, Failure, FailureKind, Retry, Verdict};

use super::job::{CopyJob, CopyResult};

/// In place of a decision.
pub fn undecided_after_panic() -> Decision {
    let reason = "the decision panicked: this is a bug; the log has the location".to_owned();
    Decision { verdict: Verdict::Error { reason, retry: true }, trace: Vec::new() }
}

/// In place of a copy.
pub fn result_after_panic(job: &CopyJob) -> CopyResult {
    CopyResult {
        outcome: job.failed_before_start(failure_after_panic()),
        source_failure: None,
        source_answered: false,
        registry_is_up: false,
        asked_elsewhere: false,
        found_corrupt: false,
    }
}

/// In place of a copy's failure.
pub fn failure_after_panic() -> Failure {
    Failure {
        kind: FailureKind::Target,
        message: "the copy panicked: this is a bug; the log has the location".to_owned(),
        retry: Retry::Later,
    }
}
