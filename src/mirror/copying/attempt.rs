//! What happens during one attempt of a job.

use std::sync::{
    Arc, Mutex, PoisonError,
    atomic::{AtomicBool, AtomicU64, Ordering},
};

use crate::model::{AtTarget, CopyProgress, Digest, ReferrerOutcome, Seen, TagMeaning};

pub(super) struct Attempt<'a> {
    /// Bytes of blobs that were uploaded.
    pub sent: Arc<AtomicU64>,
    pub progress: &'a Arc<CopyProgress>,
    source_answered: AtomicBool,
    seen: Mutex<Seen>,
    referrers: Mutex<Option<ReferrerOutcome>>,
    tag: Mutex<TagMeaning>,
    on_answer: &'a (dyn Fn() + Send + Sync),
}

impl<'a> Attempt<'a> {
    /// `on_answer` is called at the source registry's first answer.
    pub fn new(progress: &'a Arc<CopyProgress>, on_answer: &'a (dyn Fn() + Send + Sync)) -> Self {
        Self {
            sent: Arc::default(),
            progress,
            source_answered: AtomicBool::new(false),
            seen: Mutex::default(),
            referrers: Mutex::default(),
            tag: Mutex::default(),
            on_answer,
        }
    }

    /// Records an answer of the source registry.
    pub fn source_answers(&self) {
        if !self.source_answered.swap(true, Ordering::Relaxed) {
            (self.on_answer)();
        }
    }

    /// Records what the target has at the destination.
    pub fn saw_at_target(&self, found: Option<&Digest>) {
        let at_target = found.map_or(AtTarget::Nothing, |digest| AtTarget::Digest(digest.clone()));
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).at_target = at_target;
    }

    /// Records the digest that the destination is to have.
    pub fn saw_at_source(&self, digest: &Digest) {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).at_source = Some(digest.clone());
    }

    /// Records what became of the referrers.
    pub fn copied_referrers(&self, outcome: ReferrerOutcome) {
        *self.referrers.lock().unwrap_or_else(PoisonError::into_inner) = Some(outcome);
    }

    /// Records who told what the tag means.
    pub fn tag_means(&self, meaning: TagMeaning) {
        *self.tag.lock().unwrap_or_else(PoisonError::into_inner) = meaning;
    }

    /// What was recorded: of the image, of its tag, and of its referrers.
    pub fn into_records(self) -> (Seen, TagMeaning, Option<ReferrerOutcome>) {
        let referrers = self.referrers.into_inner().unwrap_or_else(PoisonError::into_inner);
        let tag = self.tag.into_inner().unwrap_or_else(PoisonError::into_inner);
        (self.seen.into_inner().unwrap_or_else(PoisonError::into_inner), tag, referrers)
    }

    pub fn source_answered(&self) -> bool {
        self.source_answered.load(Ordering::Relaxed)
    }
}
