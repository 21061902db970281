//! What happens during one attempt of a job.

use std::sync::{
    Arc, Mutex, PoisonError,
    atomic::{AtomicBool, AtomicU64, Ordering},
};

use crate::model::{AtTarget, CopyProgress, Digest, Failure, ReferrerOutcome, Seen};

pub(super) struct Attempt<'a> {
    /// Bytes of blobs that were uploaded.
    pub sent: Arc<AtomicU64>,
    pub progress: &'a Arc<CopyProgress>,
    source_answered: AtomicBool,
    seen: Mutex<Seen>,
    referrers: Mutex<Option<ReferrerOutcome>>,
    rescue: Mutex<Option<Rescue>>,
    on_answer: &'a (dyn Fn() + Send + Sync),
}

/// What the image's registry could not give was copied from elsewhere.
struct Rescue {
    /// The names of the further sources.
    copied_from: String,
    /// None if the registry was not asked.
    source_failure: Option<Failure>,
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
            rescue: Mutex::default(),
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

    /// Records that further sources gave what the image's registry could not.
    pub fn copied_from(&self, further: String, source_failure: Option<Failure>) {
        let rescue = Rescue { copied_from: further, source_failure };
        *self.rescue.lock().unwrap_or_else(PoisonError::into_inner) = Some(rescue);
    }

    /// Why the image's registry did not give what was copied from elsewhere.
    pub fn source_failure(&self) -> Option<Failure> {
        let rescue = self.rescue.lock().unwrap_or_else(PoisonError::into_inner);
        rescue.as_ref().and_then(|rescue| rescue.source_failure.clone())
    }

    /// What was recorded: of the image, of its referrers, and the further sources that gave a part of it.
    pub fn into_records(self) -> (Seen, Option<ReferrerOutcome>, Option<String>) {
        let referrers = self.referrers.into_inner().unwrap_or_else(PoisonError::into_inner);
        let rescue = self.rescue.into_inner().unwrap_or_else(PoisonError::into_inner);
        let seen = self.seen.into_inner().unwrap_or_else(PoisonError::into_inner);
        (seen, referrers, rescue.map(|rescue| rescue.copied_from))
    }

    pub fn source_answered(&self) -> bool {
        self.source_answered.load(Ordering::Relaxed)
    }
}
