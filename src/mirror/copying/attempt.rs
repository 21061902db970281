//! What happens during one attempt of a job.

use std::sync::{
    Arc, Mutex, PoisonError,
    atomic::{AtomicBool, AtomicU64, Ordering},
};

use super::further_sources::FurtherReads;
use crate::model::{AtTarget, CopyProgress, Digest, Failure, ReferrerOutcome, Seen, TagMeaning};

pub(super) struct Attempt<'a> {
    /// Bytes of blobs that were uploaded.
    pub sent: Arc<AtomicU64>,
    pub progress: &'a Arc<CopyProgress>,
    source_answered: AtomicBool,
    is_corrupt: AtomicBool,
    tag_is_gone: AtomicBool,
    seen: Mutex<Seen>,
    referrers: Mutex<Option<ReferrerOutcome>>,
    tag: Mutex<TagMeaning>,
    elsewhere: Mutex<Elsewhere>,
    on_answer: &'a (dyn Fn() + Send + Sync),
}

/// What further sources did for a job.
#[derive(Clone, Default)]
pub(super) struct Elsewhere {
    /// Whether there are some that may have the image.
    pub has_places: bool,
    /// Whether all were asked, in vain.
    pub was_asked: bool,
    /// Why the source did not give something that it was asked for.
    pub source_failure: Option<Failure>,
    /// The names of those that gave something.
    pub gave: Vec<String>,
}

impl<'a> Attempt<'a> {
    /// `on_answer` is called at the source registry's first answer.
    pub fn new(progress: &'a Arc<CopyProgress>, on_answer: &'a (dyn Fn() + Send + Sync)) -> Self {
        Self {
            sent: Arc::default(),
            progress,
            source_answered: AtomicBool::new(false),
            is_corrupt: AtomicBool::new(false),
            tag_is_gone: AtomicBool::new(false),
            seen: Mutex::default(),
            referrers: Mutex::default(),
            tag: Mutex::default(),
            elsewhere: Mutex::default(),
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

    /// Records that the target has other bytes than those of a manifest's digest.
    pub fn saw_corrupt(&self) {
        self.is_corrupt.store(true, Ordering::Relaxed);
    }

    /// Whether the target has other bytes than those of a manifest's digest.
    pub fn is_corrupt(&self) -> bool {
        self.is_corrupt.load(Ordering::Relaxed)
    }

    /// Records that the source does not have the tag.
    pub fn saw_no_tag(&self) {
        self.tag_is_gone.store(true, Ordering::Relaxed);
    }

    /// Whether the source does not have the tag.
    pub fn tag_is_gone(&self) -> bool {
        self.tag_is_gone.load(Ordering::Relaxed)
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

    /// Records that the tag stays what it is at the target. That is known if the source told what it has.
    pub fn tag_is_kept(&self) {
        let mut meaning = self.tag.lock().unwrap_or_else(PoisonError::into_inner);
        if *meaning != TagMeaning::Told {
            *meaning = TagMeaning::LastKnown;
        }
    }

    /// Records what further sources did for the job, or for a part of its work.
    pub fn used_further(&self, further: &FurtherReads<'_>, has_failed: bool) {
        let mut elsewhere = self.elsewhere.lock().unwrap_or_else(PoisonError::into_inner);
        elsewhere.has_places |= !further.is_empty();
        elsewhere.was_asked = has_failed && further.were_all_asked();
        if let Some(failure) = further.source_failure() {
            elsewhere.source_failure = Some(failure);
        }
        for name in further.gave() {
            if !elsewhere.gave.contains(&name) {
                elsewhere.gave.push(name);
            }
        }
    }

    /// What further sources did.
    pub fn elsewhere(&self) -> Elsewhere {
        self.elsewhere.lock().unwrap_or_else(PoisonError::into_inner).clone()
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
