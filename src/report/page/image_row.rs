//! An image in a list.

use super::{
    links,
    moment::{Moment, Now},
    numbers::{about, bytes, count},
    state_label::{StateLabel, word},
};
use crate::{
    model::cut,
    report::status::document::{Image, Progress, Workload},
};

/// The longest reason in a list, in bytes; the image's own page has all of it.
const LONGEST_REASON: usize = 300;

/// An image in a list.
pub struct ImageRow {
    pub href: String,
    pub image: String,
    pub destination: Option<String>,
    pub state: StateLabel,
    /// `waiting`, `copying` or `cooldown`; empty if nothing happens.
    pub activity: String,
    pub reason: Option<String>,
    /// The last attempt: `copied`, `already there`; empty before the first.
    pub result: String,
    pub failures: String,
    pub failing_since: Option<Moment>,
    pub last_checked: Option<Moment>,
    pub first_seen: Moment,
    pub next_try: Option<Moment>,
    /// What causes the next attempt, if it has no time.
    pub tried_again: Option<&'static str>,
    pub workload: Option<WorkloadLink>,
    /// How many more workloads use it; empty for none.
    pub more_workloads: String,
    pub progress: Option<ProgressBar>,
}

/// A workload, linked to its images.
pub struct WorkloadLink {
    pub kind: String,
    pub name: String,
    pub href: String,
}

/// How far a copy is.
pub struct ProgressBar {
    pub done: u64,
    pub total: u64,
    pub text: String,
    pub started: Moment,
}

impl ImageRow {
    pub fn new(image: &Image, now: Now) -> Self {
        let more = image.workload_count.saturating_sub(1);
        Self {
            href: links::image(image),
            image: image.image.clone(),
            destination: image.destination.clone(),
            state: StateLabel::new(&image.state),
            activity: if image.activity == "idle" { String::new() } else { image.activity.clone() },
            reason: image.reason.as_ref().map(|reason| cut(reason, LONGEST_REASON).into_owned()),
            result: image.last_result.as_deref().map(word).unwrap_or_default(),
            failures: failed_attempts(image.failures),
            failing_since: now.optional(image.failing_since.as_ref()),
            last_checked: now.optional(image.last_checked.as_ref()),
            first_seen: now.moment(&image.first_seen),
            next_try: now.optional(image.next_try.as_ref()),
            tried_again: image.tried_again(),
            workload: image.workloads.first().map(WorkloadLink::new),
            more_workloads: if more == 0 { String::new() } else { count(more) },
            progress: image.progress.as_ref().map(|progress| ProgressBar::new(progress, now)),
        }
    }
}

impl WorkloadLink {
    pub fn new(workload: &Workload) -> Self {
        Self {
            kind: workload.kind.clone(),
            name: format!("{}/{}", workload.namespace, workload.name),
            href: links::of_workload(workload),
        }
    }
}

impl ProgressBar {
    pub fn new(progress: &Progress, now: Now) -> Self {
        let Progress { started, bytes: done, total_bytes } = progress;
        let percent = u128::from(*done) * 100 / u128::from((*total_bytes).max(1));
        let rate = now.seconds_since(started).and_then(|seconds| done.checked_div(seconds)).filter(|rate| *rate > 0);
        let rate = rate.map_or_else(String::new, |rate| {
            let left = total_bytes.saturating_sub(*done) / rate;
            format!(", {}/s, {} left at this rate", bytes(rate), about(left))
        });
        Self {
            done: *done,
            // An empty element has the value 0, not "all".
            total: (*total_bytes).max(1),
            text: format!("{} of {} ({}%){rate}", bytes(*done), bytes(*total_bytes), percent.min(100)),
            started: now.moment(started),
        }
    }
}

/// `1 failed attempt`
pub fn failed_attempts(number: u32) -> String {
    format!("{} failed attempt{}", count(number), if number == 1 { "" } else { "s" })
}
