//! The entries of the document.

use std::sync::Arc;

use super::document;
use crate::{
    model::{
        Activity, ImageRecord, ImageStatus, LastAttempt, ReferrerFailure, ReferrerRecord, UnmirroredUse, WorkloadId,
    },
    report::utc::utc,
};

/// The most workloads in an entry.
const MAX_WORKLOADS: usize = 10;

/// Of an image at a destination.
pub(super) fn of_image(image: &ImageStatus) -> document::Image {
    let record = &image.record;
    let attempt = record.last_attempt.as_ref();
    let progress = match &image.activity {
        Activity::Copying { started, progress } => progress.total().map(|total_bytes| document::Progress {
            started: utc(*started),
            bytes: progress.done(),
            total_bytes,
        }),
        _ => None,
    };
    let next_try = match &image.activity {
        Activity::Cooldown { until } => Some(*until),
        _ => None,
    };
    document::Image {
        image: image.image.clone(),
        state: record.state.name().to_owned(),
        activity: image.activity.name().to_owned(),
        source: Some(image.source.to_string()),
        destination: Some(image.destination.to_string()),
        target: Some(image.destination.target.name.clone()),
        reason: reason(record),
        owner: image.owner.clone(),
        digest_at_target: record.seen.at_target.digest().map(ToString::to_string),
        digest_at_source: record.seen.at_source.as_ref().map(ToString::to_string),
        last_result: attempt.map(|attempt| attempt.result.name().to_owned()),
        last_checked: attempt.map(|attempt| utc(attempt.ended)),
        took_milliseconds: attempt.map(took_milliseconds),
        bytes: attempt.map(|attempt| attempt.bytes),
        copied_from: attempt.map(|attempt| attempt.copied_from.clone()).unwrap_or_default(),
        earlier_attempts: record.earlier_attempts.iter().map(attempt_document).collect(),
        referrers: record.referrers.as_ref().map(referrers),
        verification: record.verified.as_ref().map(|verified| document::Verification {
            at: utc(verified.at),
            result: verified.result.name().to_owned(),
            reason: verified.reason.clone(),
            unanswered: verified
                .unanswered
                .as_ref()
                .map(|unanswered| document::Unanswered { at: utc(unanswered.at), reason: unanswered.reason.clone() }),
        }),
        last_mirrored: record.last_mirrored.map(utc),
        first_seen: utc(record.first_seen),
        failing_since: record.failing_since.map(utc),
        failures: record.failures,
        next_try: next_try.map(utc),
        progress,
        workloads: workloads(image.workloads.iter().map(|workload| &workload.id)),
        workload_count: image.workloads.len(),
    }
}

/// Why it is not mirrored: because of the last attempt, or because of what a verification found since.
fn reason(record: &ImageRecord) -> Option<String> {
    let failure = record.last_attempt.as_ref().and_then(|attempt| attempt.failure.as_ref());
    failure.map(|failure| failure.message.clone()).or_else(|| {
        let verified = record.verified.as_ref().filter(|verified| verified.result.is_damage())?;
        verified.reason.clone().filter(|_| record.state.is_to_be_copied())
    })
}

/// Of an image that is undecided or skipped, for the same reason by all of these.
pub(super) fn of_uses(image: &str, state: &str, uses: &[Arc<UnmirroredUse>]) -> document::Image {
    document::Image {
        image: image.to_owned(),
        source: None,
        destination: None,
        target: None,
        state: state.to_owned(),
        activity: Activity::Idle.name().to_owned(),
        reason: uses.first().map(|image_use| image_use.reason.clone()),
        owner: None,
        digest_at_target: None,
        digest_at_source: None,
        last_result: None,
        last_checked: None,
        took_milliseconds: None,
        bytes: None,
        copied_from: Vec::new(),
        earlier_attempts: Vec::new(),
        referrers: None,
        verification: None,
        last_mirrored: None,
        first_seen: uses.iter().map(|image_use| image_use.since).min().map(utc).unwrap_or_default(),
        failing_since: None,
        failures: 0,
        next_try: None,
        progress: None,
        workloads: workloads(uses.iter().map(|image_use| &image_use.workload.id)),
        workload_count: uses.len(),
    }
}

fn referrers(ReferrerRecord { outcome, looked }: &ReferrerRecord) -> document::Referrers {
    let failure = |failure: &ReferrerFailure| document::ReferrerFailure {
        referrer: failure.referrer.clone(),
        reason: failure.message.clone(),
    };
    document::Referrers {
        looked: utc(*looked),
        at_target: outcome.copied + outcome.already_there,
        failed: outcome.failed,
        failures: outcome.failures.iter().map(failure).collect(),
    }
}

fn workloads<'a>(ids: impl Iterator<Item = &'a WorkloadId>) -> Vec<document::Workload> {
    let document = |id: &WorkloadId| document::Workload {
        kind: id.kind.name().to_owned(),
        namespace: id.namespace.clone(),
        name: id.name.clone(),
    };
    ids.take(MAX_WORKLOADS).map(document).collect()
}

pub(super) fn attempt_document(attempt: &LastAttempt) -> document::Attempt {
    document::Attempt {
        result: attempt.result.name().to_owned(),
        reason: attempt.failure.as_ref().map(|failure| failure.message.clone()),
        ended: utc(attempt.ended),
        took_milliseconds: took_milliseconds(attempt),
        bytes: attempt.bytes,
        copied_from: attempt.copied_from.clone(),
    }
}

fn took_milliseconds(attempt: &LastAttempt) -> u64 {
    u64::try_from(attempt.took.as_millis()).unwrap_or(u64::MAX)
}
