//! Which workloads are to be decided on, and the decisions under way. What is new comes before what is decided once more.

use std::{
    collections::{HashMap, VecDeque},
    panic::AssertUnwindSafe,
    sync::Arc,
    time::Duration,
};

use futures::FutureExt;
use tokio::{task::JoinSet, time::Instant};
use tracing::error;

use crate::{
    model::{Decision, ImageUse, WorkloadId},
    policy::Policy,
};

use super::{defect, timers::Timers};

/// Workloads that are decided on at once; each takes microseconds, unless a plugin hangs.
const AT_ONCE: usize = 8;
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(300);

/// All workloads, and what is to be decided.
#[derive(Debug, Default)]
pub struct Decisions {
    known: HashMap<WorkloadId, Known>,
    new: VecDeque<WorkloadId>,
    again: VecDeque<WorkloadId>,
    /// How many workloads are in one of the lines.
    waiting: usize,
    retries: Timers<WorkloadId>,
    under_way: JoinSet<Decided>,
    versions: u64,
}

#[derive(Debug)]
struct Known {
    uses: Arc<Vec<ImageUse>>,
    /// What is decided of an earlier version does not count.
    version: u64,
    retries: u32,
    line: Option<Line>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Line {
    New,
    Again,
}

/// What was decided about a workload's image uses.
#[derive(Debug)]
pub struct Decided {
    /// Whose.
    pub workload: WorkloadId,
    /// Its image uses.
    pub uses: Arc<Vec<ImageUse>>,
    /// The decisions on them, in their order.
    pub decisions: Vec<Decision>,
    version: u64,
}

impl Decisions {
    /// These are all image uses of a workload; they are to be decided.
    pub fn set(&mut self, workload: WorkloadId, uses: Vec<ImageUse>) {
        self.remove(&workload);
        self.versions += 1;
        self.waiting += 1;
        let known = Known { uses: Arc::new(uses), version: self.versions, retries: 0, line: Some(Line::New) };
        self.known.insert(workload.clone(), known);
        self.new.push_back(workload);
    }

    /// The workload is gone.
    pub fn remove(&mut self, workload: &WorkloadId) {
        if self.known.remove(workload).is_some_and(|known| known.line.is_some()) {
            self.waiting -= 1;
        }
        self.retries.remove(workload);
    }

    /// All are to be decided once more.
    pub fn redo_all(&mut self) {
        let all: Vec<WorkloadId> = self.known.keys().cloned().collect();
        for workload in &all {
            self.redo(workload);
        }
    }

    fn redo(&mut self, workload: &WorkloadId) {
        let Some(known) = self.known.get_mut(workload) else { return };
        self.versions += 1;
        known.version = self.versions;
        self.retries.remove(workload);
        if known.line.is_none() {
            known.line = Some(Line::Again);
            self.waiting += 1;
            self.again.push_back(workload.clone());
        }
    }

    /// Every workload.
    pub fn workloads(&self) -> impl Iterator<Item = &WorkloadId> {
        self.known.keys()
    }

    /// Puts those in line that could not be decided a while ago.
    pub fn wake(&mut self, now: Instant) {
        while let Some(workload) = self.retries.pop(now) {
            self.redo(&workload);
        }
    }

    /// When [`Self::wake`] has something to do next.
    pub fn next_wake(&self) -> Option<Instant> {
        self.retries.next()
    }

    /// Whether all has been decided.
    pub fn are_done(&self) -> bool {
        self.waiting == 0 && self.under_way.is_empty() && self.retries.is_empty()
    }

    /// Starts as many as may be under way.
    pub fn start(&mut self, policy: &Arc<Policy>) {
        while self.under_way.len() < AT_ONCE {
            let Some((workload, uses, version)) = self.next() else { return };
            let policy = Arc::clone(policy);
            self.under_way.spawn(async move {
                // A defect in one decision must not keep a pass waiting for ever.
                let decisions = AssertUnwindSafe(policy.decide(uses.to_vec())).catch_unwind().await;
                let decisions = decisions.unwrap_or_else(|_| vec![defect::undecided(); uses.len()]);
                Decided { workload, uses, decisions, version }
            });
        }
    }

    fn next(&mut self) -> Option<(WorkloadId, Arc<Vec<ImageUse>>, u64)> {
        loop {
            let (workload, line) = match self.new.pop_front() {
                Some(workload) => (workload, Line::New),
                None => (self.again.pop_front()?, Line::Again),
            };
            // It may have left the line, or stand in the other one.
            if let Some(known) = self.known.get_mut(&workload).filter(|known| known.line == Some(line)) {
                known.line = None;
                self.waiting -= 1;
                return Some((workload, Arc::clone(&known.uses), known.version));
            }
        }
    }

    /// The next decisions that come out; none while none are under way.
    pub async fn ended(&mut self) -> Option<Decided> {
        loop {
            match self.under_way.join_next().await? {
                Ok(decided) => return Some(decided),
                Err(broken) => error!(error = %broken, "a decision broke off"),
            }
        }
    }

    /// Whether these decisions are about the workload as it is now.
    pub fn are_current(&self, decided: &Decided) -> bool {
        self.known.get(&decided.workload).is_some_and(|known| known.version == decided.version)
    }

    /// They are to be taken anew after a while, which doubles each time.
    pub fn retry(&mut self, workload: &WorkloadId, now: Instant) {
        if let Some(known) = self.known.get_mut(workload) {
            let pause = FIRST_PAUSE.saturating_mul(1 << known.retries.min(16)).min(LONGEST_PAUSE);
            known.retries += 1;
            self.retries.set(workload, now + pause);
        }
    }

    /// They hold.
    pub fn hold(&mut self, workload: &WorkloadId) {
        if let Some(known) = self.known.get_mut(workload) {
            known.retries = 0;
        }
    }

    /// Nothing more is decided.
    pub fn stop(&mut self) {
        self.under_way.abort_all();
    }
}
