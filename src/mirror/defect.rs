//! What is told where this program itself is at fault: a panic in a decision or a copy costs that one alone.

use std::time::Duration;

use crate::model::{Decision, Failure, FailureKind, Outcome, Retry, Status, Verdict};

use super::{copy::Copied, job::CopyJob};

/// In place of a decision that broke off.
pub fn undecided() -> Decision {
    let reason = "deciding broke off through a defect of this program; the log has its place".to_owned();
    Decision { source: None, verdict: Verdict::Error { reason, retry: true }, trace: Vec::new() }
}

/// In place of the outcome of a copy that broke off.
pub fn broken_off(job: &CopyJob) -> Copied {
    Copied { outcome: not_tried(job, broken_copy()), source_answered: false }
}

/// What happened to a copy that broke off.
pub fn broken_copy() -> Failure {
    Failure {
        kind: FailureKind::Target,
        message: "the copy broke off through a defect of this program; the log has its place".to_owned(),
        retry: Retry::Later,
    }
}

/// A copy that came to nothing before anybody was asked anything.
pub fn not_tried(job: &CopyJob, failure: Failure) -> Outcome {
    Outcome {
        image: job.image.clone(),
        source: job.source.clone(),
        destination: job.destination.clone(),
        workloads: job.workloads.clone(),
        status: Status::Failed(failure),
        bytes: 0,
        took: Duration::ZERO,
        next_try: None,
    }
}
