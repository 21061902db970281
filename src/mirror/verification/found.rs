//! What was found of an image, and what is wrong with it.

use std::sync::{
    Mutex, PoisonError,
    atomic::{AtomicU64, AtomicUsize, Ordering},
};

use crate::model::{MAX_PART_PROBLEMS, PartProblem, PartProblemKind};

/// Counts what is looked at; the first problems are kept.
#[derive(Default)]
pub(super) struct Found {
    problems: Mutex<Vec<PartProblem>>,
    problem_count: AtomicUsize,
    missing: AtomicUsize,
    corrupt: AtomicUsize,
    unknown: AtomicUsize,
    parts: AtomicUsize,
    read: AtomicU64,
}

impl Found {
    pub fn add(&self, problem: PartProblem) {
        self.counter(problem.kind).fetch_add(1, Ordering::Relaxed);
        self.problem_count.fetch_add(1, Ordering::Relaxed);
        let mut problems = self.problems.lock().unwrap_or_else(PoisonError::into_inner);
        if problems.len() < MAX_PART_PROBLEMS {
            problems.push(problem);
        }
    }

    pub fn add_part(&self) {
        self.parts.fetch_add(1, Ordering::Relaxed);
    }

    /// Bytes of a blob that were hashed.
    pub fn add_read(&self, bytes: u64) {
        self.read.fetch_add(bytes, Ordering::Relaxed);
    }

    pub fn count(&self, kind: PartProblemKind) -> usize {
        self.counter(kind).load(Ordering::Relaxed)
    }

    pub fn problem_count(&self) -> usize {
        self.problem_count.load(Ordering::Relaxed)
    }

    /// The first problems.
    pub fn problems(&self) -> Vec<PartProblem> {
        self.problems.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub fn parts(&self) -> usize {
        self.parts.load(Ordering::Relaxed)
    }

    pub fn bytes_read(&self) -> u64 {
        self.read.load(Ordering::Relaxed)
    }

    fn counter(&self, kind: PartProblemKind) -> &AtomicUsize {
        match kind {
            PartProblemKind::Missing => &self.missing,
            PartProblemKind::Corrupt => &self.corrupt,
            PartProblemKind::Unknown => &self.unknown,
        }
    }
}
