//! A look at everything at once: after the start of `sync`, from time to time, or because somebody asked.

use std::{
    collections::{HashMap, HashSet},
    time::Duration,
};

use tokio::time::Instant;

use crate::model::{Outcome, Reference, Status, WorkloadId};

use super::claims::Name;

/// A pass in which nothing ends for so long is given up.
pub const LONGEST_STANDSTILL: Duration = Duration::from_secs(60 * 60);

/// What a pass came to.
#[derive(Clone, Debug, Default)]
pub struct PassReport {
    /// Workloads that were looked at: all but those whose every image is skipped.
    pub workloads: usize,
    /// Containers whose image is at every destination that it is to be at.
    pub images: usize,
    /// Containers whose image could not be decided on.
    pub undecided: usize,
    /// What went wrong, by workload: one line each, none twice.
    pub failures: Vec<(WorkloadId, String)>,
    /// How each copy ended, by destination and source.
    pub outcomes: Vec<Outcome>,
    /// Destinations that were not done with, and workloads that were not decided on, when it was stopped; only a pass
    /// that was stopped has any.
    pub left: Left,
}

/// What a pass that was stopped has not done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Left {
    /// Names at targets.
    pub names: usize,
    /// Workloads whose images may lead to further ones.
    pub workloads: usize,
}

/// A pass under way.
#[derive(Debug)]
pub struct Pass {
    awaited: HashSet<WorkloadId>,
    undecided: usize,
    busy: HashSet<Name>,
    workloads: HashSet<WorkloadId>,
    containers: Vec<Counted>,
    failures: Vec<(WorkloadId, String)>,
    cooling: HashMap<(Name, Reference), String>,
    outcomes: HashMap<Name, Vec<Outcome>>,
    last_end: Instant,
}

/// A container whose image is to be at these names.
#[derive(Debug)]
struct Counted {
    workload: WorkloadId,
    source: Reference,
    names: Vec<Name>,
}

impl Pass {
    /// A pass over these workloads.
    pub fn over(workloads: impl Iterator<Item = WorkloadId>, now: Instant) -> Self {
        Self {
            awaited: workloads.collect(),
            undecided: 0,
            busy: HashSet::new(),
            workloads: HashSet::new(),
            containers: Vec::new(),
            failures: Vec::new(),
            cooling: HashMap::new(),
            outcomes: HashMap::new(),
            last_end: now,
        }
    }

    /// Whether the decisions about this workload are awaited; they are from now on known.
    pub fn decided(&mut self, workload: &WorkloadId, now: Instant) -> bool {
        self.last_end = now;
        self.awaited.remove(workload)
    }

    /// A container of a workload counts, and is done when its image is at these names.
    pub fn container(&mut self, workload: &WorkloadId, source: Reference, names: Vec<Name>) {
        self.workloads.insert(workload.clone());
        self.containers.push(Counted { workload: workload.clone(), source, names });
    }

    /// A container could not be decided.
    pub fn failed(&mut self, workload: &WorkloadId, reason: String) {
        self.workloads.insert(workload.clone());
        self.undecided += 1;
        self.failures.push((workload.clone(), reason));
    }

    /// This name is being worked on.
    pub fn awaits(&mut self, name: &Name) {
        self.busy.insert(name.clone());
    }

    /// Whether it waits for the work on this name.
    pub fn is_awaiting(&self, name: &Name) -> bool {
        self.busy.contains(name)
    }

    /// This image is in cooldown, and not tried.
    pub fn cooling(&mut self, name: &Name, source: &Reference, reason: String) {
        self.cooling.insert((name.clone(), source.clone()), reason);
    }

    /// This came of some of a name's images, or of all.
    pub fn came_of(&mut self, name: &Name, outcomes: &[Outcome], now: Instant) {
        if self.busy.contains(name) {
            self.last_end = now;
            let known = self.outcomes.entry(name.clone()).or_default();
            known.retain(|one| !outcomes.iter().any(|new| new.source == one.source));
            known.extend_from_slice(outcomes);
        }
    }

    /// The work on this name ended.
    pub fn finished(&mut self, name: &Name) {
        if self.busy.remove(name) {
            self.outcomes.entry(name.clone()).or_default();
        }
    }

    /// Whether the work on this name has ended in this pass.
    pub fn has_finished(&self, name: &Name) -> bool {
        self.outcomes.contains_key(name) && !self.busy.contains(name)
    }

    /// Nobody wants this name any more.
    pub fn forgotten(&mut self, name: &Name) {
        self.busy.remove(name);
    }

    /// Whether there is nothing left to wait for.
    pub fn is_over(&self) -> bool {
        self.awaited.is_empty() && self.busy.is_empty()
    }

    /// When it is given up if nothing ends before.
    pub fn deadline(&self) -> Instant {
        self.last_end + LONGEST_STANDSTILL
    }

    /// Sums up. Whatever is still waited for, `unfinished` says why.
    pub fn report(self, unfinished: &str) -> PassReport {
        let left = Left { names: self.busy.len(), workloads: self.awaited.len() };
        let mut failures = self.failures;
        let mut images = 0;
        for workload in &self.awaited {
            failures.push((workload.clone(), format!("its images were not looked at: {unfinished}")));
        }
        for Counted { workload, source, names } in &self.containers {
            let before = failures.len();
            let mut known = 0;
            for name in names {
                if let Some(reason) = self.cooling.get(&(name.clone(), source.clone())) {
                    failures.push((workload.clone(), reason.clone()));
                    continue;
                }
                if self.busy.contains(name) {
                    failures.push((workload.clone(), format!("{source} was not looked at for {name}: {unfinished}")));
                    continue;
                }
                let theirs = self.outcomes.get(name).into_iter().flatten();
                for outcome in theirs.filter(|outcome| outcome.source == *source) {
                    known += 1;
                    if let Status::Failed(failure) = &outcome.status {
                        failures.push((workload.clone(), format!("{}: {failure}", outcome.image)));
                    }
                }
            }
            // A name without an outcome was given up on the way.
            if failures.len() == before && known == names.len() {
                images += 1;
            }
        }
        failures.sort();
        failures.dedup();
        let mut outcomes: Vec<Outcome> = self.outcomes.into_values().flatten().collect();
        outcomes.sort_by_cached_key(|outcome| (outcome.destination.to_string(), outcome.source.clone()));
        PassReport { workloads: self.workloads.len(), images, undecided: self.undecided, failures, outcomes, left }
    }
}
