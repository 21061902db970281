//! Which workloads the policy has to decide, and the decisions being made. New and changed workloads precede those that
//! are decided again.

mod undecided;

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
    model::{Decision, ImageUse, WorkloadId, doubled},
    policy::Policy,
};

use super::{panic, queue::Timers};

pub use undecided::UndecidedCounts;

/// Workloads that are decided at once. A decision takes microseconds unless a plugin hangs.
const MAX_CONCURRENCY: usize = 8;

const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(300);

/// All workloads, and which have to be decided.
#[derive(Debug, Default)]
pub struct Decisions {
    workloads: HashMap<WorkloadId, Entry>,
    new: VecDeque<WorkloadId>,
    again: VecDeque<WorkloadId>,
    /// Workloads in one of the two queues.
    waiting: usize,
    retries: Timers<WorkloadId>,
    running: JoinSet<Decided>,
    versions: u64,
}

#[derive(Debug)]
struct Entry {
    uses: Arc<Vec<ImageUse>>,
    /// Decisions on an earlier version are discarded.
    version: u64,
    retries: u32,
    queued: Option<QueueKind>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum QueueKind {
    New,
    Again,
}

/// The decisions on a workload's image uses.
#[derive(Debug)]
pub struct Decided {
    pub workload: WorkloadId,
    pub uses: Arc<Vec<ImageUse>>,
    /// In the order of `uses`.
    pub decisions: Vec<Decision>,
    version: u64,
}

impl Decisions {
    /// Replaces all image uses of a workload, and queues it.
    pub fn set(&mut self, workload: WorkloadId, uses: Vec<ImageUse>) {
        self.remove(&workload);
        self.versions += 1;
        self.waiting += 1;
        let entry = Entry { uses: Arc::new(uses), version: self.versions, retries: 0, queued: Some(QueueKind::New) };
        self.workloads.insert(workload.clone(), entry);
        self.new.push_back(workload);
    }

    /// Removes a deleted workload.
    pub fn remove(&mut self, workload: &WorkloadId) {
        if self.workloads.remove(workload).is_some_and(|entry| entry.queued.is_some()) {
            self.waiting -= 1;
        }
        self.retries.remove(workload);
    }

    /// Queues all workloads again.
    pub fn repeat_all(&mut self) {
        let all: Vec<WorkloadId> = self.workloads.keys().cloned().collect();
        for workload in &all {
            self.repeat(workload);
        }
    }

    fn repeat(&mut self, workload: &WorkloadId) {
        let Some(entry) = self.workloads.get_mut(workload) else { return };
        self.versions += 1;
        entry.version = self.versions;
        self.retries.remove(workload);
        if entry.queued.is_none() {
            entry.queued = Some(QueueKind::Again);
            self.waiting += 1;
            self.again.push_back(workload.clone());
        }
    }

    /// The image uses of a workload; none if there is no such workload.
    pub fn uses(&self, workload: &WorkloadId) -> Option<Arc<Vec<ImageUse>>> {
        Some(Arc::clone(&self.workloads.get(workload)?.uses))
    }

    /// The number of workloads.
    pub fn count(&self) -> usize {
        self.workloads.len()
    }

    /// All workloads.
    pub fn workloads(&self) -> impl Iterator<Item = &WorkloadId> {
        self.workloads.keys()
    }

    /// Queues workloads whose retry is due.
    pub fn wake(&mut self, now: Instant) {
        while let Some(workload) = self.retries.pop(now) {
            self.repeat(&workload);
        }
    }

    /// When [`Self::wake`] next has something to do.
    pub fn next_wake(&self) -> Option<Instant> {
        self.retries.next()
    }

    /// Whether every workload is decided.
    pub fn are_complete(&self) -> bool {
        self.waiting == 0 && self.running.is_empty() && self.retries.is_empty()
    }

    /// Starts queued decisions up to the maximum concurrency.
    pub fn start(&mut self, policy: &Arc<Policy>) {
        while self.running.len() < MAX_CONCURRENCY {
            let Some((workload, uses, version)) = self.next_queued() else { return };
            let policy = Arc::clone(policy);
            self.running.spawn(async move {
                // Without this a panic would leave a pass waiting forever.
                let decisions = AssertUnwindSafe(policy.decide(uses.to_vec())).catch_unwind().await;
                let decisions = decisions.unwrap_or_else(|_| vec![panic::undecided_after_panic(); uses.len()]);
                Decided { workload, uses, decisions, version }
            });
        }
    }

    fn next_queued(&mut self) -> Option<(WorkloadId, Arc<Vec<ImageUse>>, u64)> {
        loop {
            let (workload, kind) = match self.new.pop_front() {
                Some(workload) => (workload, QueueKind::New),
                None => (self.again.pop_front()?, QueueKind::Again),
            };
            // The workload may have been removed, or moved to the other queue.
            if let Some(entry) = self.workloads.get_mut(&workload).filter(|entry| entry.queued == Some(kind)) {
                entry.queued = None;
                self.waiting -= 1;
                return Some((workload, Arc::clone(&entry.uses), entry.version));
            }
        }
    }

    /// The next decisions to complete; none if none are being made.
    pub async fn next_completed(&mut self) -> Option<Decided> {
        loop {
            match self.running.join_next().await? {
                Ok(decided) => return Some(decided),
                Err(error) => error!(%error, "a decision was aborted"),
            }
        }
    }

    /// Whether the decisions are on the workload's current version.
    pub fn are_current(&self, decided: &Decided) -> bool {
        self.workloads.get(&decided.workload).is_some_and(|entry| entry.version == decided.version)
    }

    /// Repeats the decisions after a pause, which doubles each time.
    pub fn retry(&mut self, workload: &WorkloadId, now: Instant) {
        if let Some(entry) = self.workloads.get_mut(workload) {
            let pause = doubled(FIRST_PAUSE, entry.retries, LONGEST_PAUSE);
            entry.retries = entry.retries.saturating_add(1);
            self.retries.set(workload, now + pause);
        }
    }

    /// Accepts the decisions: the next retry starts with the shortest pause.
    pub fn accept(&mut self, workload: &WorkloadId) {
        if let Some(entry) = self.workloads.get_mut(workload) {
            entry.retries = 0;
        }
    }

    /// Aborts the decisions being made.
    pub fn stop(&mut self) {
        self.running.abort_all();
    }
}
