//! One run over all workloads.

use std::{
    collections::{HashMap, HashSet},
    time::{Duration, SystemTime},
};

use tokio::time::Instant;

use crate::{
    mirror::destination_key::DestinationKey,
    model::{Outcome, Reference, Status, WorkloadId},
};

use super::report::{PassReport, Remaining};

/// A pass in which nothing completes for this long is ended.
const LONGEST_STANDSTILL: Duration = Duration::from_secs(60 * 60);

/// A running pass.
#[derive(Debug)]
pub struct Pass {
    began: SystemTime,
    looks_for_referrers: bool,
    awaited_workloads: HashSet<WorkloadId>,
    awaited_destinations: HashSet<DestinationKey>,
    undecided: usize,
    workloads: HashSet<WorkloadId>,
    items: Vec<PassItem>,
    failures: Vec<(WorkloadId, String)>,
    in_cooldown: HashMap<(DestinationKey, Reference), String>,
    outcomes: HashMap<DestinationKey, Vec<Outcome>>,
    last_progress: Instant,
}

#[derive(Debug)]
struct PassItem {
    workload: WorkloadId,
    source: Reference,
    destinations: Vec<DestinationKey>,
}

impl Pass {
    pub fn over(workloads: impl Iterator<Item = WorkloadId>, looks_for_referrers: bool, now: Instant) -> Self {
        Self {
            began: SystemTime::now(),
            looks_for_referrers,
            awaited_workloads: workloads.collect(),
            awaited_destinations: HashSet::new(),
            undecided: 0,
            workloads: HashSet::new(),
            items: Vec::new(),
            failures: Vec::new(),
            in_cooldown: HashMap::new(),
            outcomes: HashMap::new(),
            last_progress: now,
        }
    }

    pub fn began(&self) -> SystemTime {
        self.began
    }

    /// Whether it looks for the referrers of all images.
    pub fn looks_for_referrers(&self) -> bool {
        self.looks_for_referrers
    }

    /// Records that a workload is decided or deleted. Returns whether the pass was waiting for it.
    pub fn decided(&mut self, workload: &WorkloadId, now: Instant) -> bool {
        self.last_progress = now;
        self.awaited_workloads.remove(workload)
    }

    /// Counts an image use, whose image must be at these destinations.
    pub fn add_image_use(&mut self, workload: &WorkloadId, source: Reference, destinations: Vec<DestinationKey>) {
        self.workloads.insert(workload.clone());
        self.items.push(PassItem { workload: workload.clone(), source, destinations });
    }

    /// Counts an image use that the policy could not decide.
    pub fn add_undecided(&mut self, workload: &WorkloadId, reason: String) {
        self.workloads.insert(workload.clone());
        self.undecided += 1;
        self.failures.push((workload.clone(), reason));
    }

    /// Waits for the destination.
    pub fn wait_for(&mut self, key: &DestinationKey) {
        self.awaited_destinations.insert(key.clone());
    }

    pub fn is_waiting_for(&self, key: &DestinationKey) -> bool {
        self.awaited_destinations.contains(key)
    }

    /// Records that an image is in cooldown and is not tried in this pass.
    pub fn add_in_cooldown(&mut self, key: &DestinationKey, source: &Reference, reason: String) {
        self.in_cooldown.insert((key.clone(), source.clone()), reason);
    }

    /// Records outcomes of some images of an awaited destination, replacing earlier ones of the same images.
    pub fn record(&mut self, key: &DestinationKey, outcomes: &[Outcome], now: Instant) {
        if self.awaited_destinations.contains(key) {
            self.last_progress = now;
            let recorded = self.outcomes.entry(key.clone()).or_default();
            recorded.retain(|outcome| !outcomes.iter().any(|new| new.source == outcome.source));
            recorded.extend_from_slice(outcomes);
        }
    }

    /// Stops waiting for the destination: its work is complete.
    pub fn complete(&mut self, key: &DestinationKey) {
        if self.awaited_destinations.remove(key) {
            self.outcomes.entry(key.clone()).or_default();
        }
    }

    /// Whether the destination has been completed in this pass.
    pub fn has_completed(&self, key: &DestinationKey) -> bool {
        self.outcomes.contains_key(key) && !self.awaited_destinations.contains(key)
    }

    /// Stops waiting for the destination: it has no claim any more.
    pub fn forget(&mut self, key: &DestinationKey) {
        self.awaited_destinations.remove(key);
    }

    pub fn is_complete(&self) -> bool {
        self.awaited_workloads.is_empty() && self.awaited_destinations.is_empty()
    }

    /// When the pass is ended unless something completes before.
    pub fn deadline(&self) -> Instant {
        self.last_progress + LONGEST_STANDSTILL
    }

    /// The report. `unfinished` is the reason for everything that the pass still waits for.
    pub fn report(self, unfinished: &str) -> PassReport {
        let remaining =
            Remaining { destinations: self.awaited_destinations.len(), workloads: self.awaited_workloads.len() };
        let mut failures = self.failures.clone();
        for workload in &self.awaited_workloads {
            failures.push((workload.clone(), format!("its images were not checked: {unfinished}")));
        }
        let mut images = 0;
        for item in &self.items {
            let before = failures.len();
            let has_outcomes = self.report_item(item, unfinished, &mut failures);
            if failures.len() == before && has_outcomes {
                images += 1;
            }
        }
        failures.sort();
        failures.dedup();
        let mut outcomes: Vec<Outcome> = self.outcomes.into_values().flatten().collect();
        outcomes.sort_by_cached_key(|outcome| (outcome.destination.to_string(), outcome.source.clone()));
        PassReport { workloads: self.workloads.len(), images, undecided: self.undecided, failures, outcomes, remaining }
    }

    /// Adds the failures of one image use, and returns whether each of its destinations has an outcome: a destination
    /// that lost its claim meanwhile has none.
    fn report_item(&self, item: &PassItem, unfinished: &str, failures: &mut Vec<(WorkloadId, String)>) -> bool {
        let PassItem { workload, source, destinations } = item;
        let mut outcomes = 0;
        for key in destinations {
            if let Some(reason) = self.in_cooldown.get(&(key.clone(), source.clone())) {
                failures.push((workload.clone(), reason.clone()));
                continue;
            }
            if self.awaited_destinations.contains(key) {
                failures.push((workload.clone(), format!("{source} was not checked at {key}: {unfinished}")));
                continue;
            }
            for outcome in self.outcomes.get(key).into_iter().flatten().filter(|outcome| outcome.source == *source) {
                outcomes += 1;
                if let Status::Failed(failure) = &outcome.status {
                    failures.push((workload.clone(), format!("{}: {failure}", outcome.image)));
                }
            }
        }
        outcomes == destinations.len()
    }
}
