//! What happens during one attempt of a job.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicU64, Ordering},
};

use crate::model::CopyProgress;

pub(super) struct Attempt<'a> {
    /// Bytes of blobs that were uploaded.
    pub sent: Arc<AtomicU64>,
    pub progress: &'a Arc<CopyProgress>,
    source_answered: AtomicBool,
    on_answer: &'a (dyn Fn() + Send + Sync),
}

impl<'a> Attempt<'a> {
    /// `on_answer` is called at the source registry's first answer.
    pub fn new(progress: &'a Arc<CopyProgress>, on_answer: &'a (dyn Fn() + Send + Sync)) -> Self {
        Self { sent: Arc::default(), progress, source_answered: AtomicBool::new(false), on_answer }
    }

    /// Records an answer of the source registry.
    pub fn source_answers(&self) {
        if !self.source_answered.swap(true, Ordering::Relaxed) {
            (self.on_answer)();
        }
    }

    pub fn source_answered(&self) -> bool {
        self.source_answered.load(Ordering::Relaxed)
    }
}
