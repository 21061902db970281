//! What belongs to an image beside the image: signatures, attestations and SBOMs, found by the referrers API, by the index
//! that takes its place, or by the tags of cosign 2.

mod budget;
mod copying;
mod discovery;
mod locks;
mod pending;
mod selection;
mod subjects;

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use tokio::{sync::Mutex, time::timeout};
use tracing::warn;

use self::{budget::ByteBudget, copying::ReferrerTransfer};
use super::{
    attempt::Attempt, blob_locks::BlobLocks, endpoints::Endpoints, image_upload::UploadGuard, settings::CopySettings,
    transfer::Transfer,
};
use crate::{
    mirror::job::CopyJob,
    model::{Event, Failure, Observer, ReferrerFailure, ReferrerOutcome, Retry},
};

pub use self::selection::{ReferrerSelection, ReferrerSettings};
pub(in crate::mirror) use self::{
    budget::{MAX_LEVELS, MAX_REFERRERS_OF_IMAGE},
    copying::has_all_layers,
    discovery::{Discoverer, Discovery, Look, SubjectReferrers},
    subjects::Subjects,
};
pub(super) use self::{
    locks::SubjectLocks,
    pending::{PendingReferrers, missing},
};

/// The longest copy of the referrers of one image.
const LONGEST_COPY: Duration = Duration::from_secs(15 * 60);

/// Copies the referrers of one job's image.
pub(super) struct Referrers<'a> {
    pub job: &'a CopyJob,
    pub settings: &'a CopySettings,
    pub selection: &'a ReferrerSelection,
    pub endpoints: &'a Endpoints<'a>,
    pub blobs: &'a BlobLocks,
    pub locks: &'a SubjectLocks,
    pub observer: &'a Arc<dyn Observer>,
    pub attempt: &'a Attempt<'a>,
    pub look: Look,
}

impl Referrers<'_> {
    /// Looks at the source for what belongs to the manifests of an image. `found` has a part of it if the future is dropped.
    pub async fn discover(&self, subjects: &Subjects, found: &Mutex<Discovery>) {
        self.look.begin();
        if let Err(Failure { message, retry, .. }) = self.endpoints.referrer_origin() {
            return found.lock().await.fail(ReferrerFailure { referrer: "all referrers".to_owned(), message, retry });
        }
        self.discoverer().discover(subjects, found).await;
    }

    /// Copies what was found, and what belongs to that, and records the outcome. The subjects must be at the target.
    pub async fn copy(&self, discovery: Discovery) -> ReferrerOutcome {
        let outcome = match timeout(LONGEST_COPY, self.copy_all(discovery)).await {
            Ok(outcome) => outcome,
            Err(_) => {
                let message = format!("the copy was not complete after {} minutes", LONGEST_COPY.as_secs() / 60);
                let mut outcome = ReferrerOutcome::default();
                outcome.fail(ReferrerFailure { referrer: "all referrers".to_owned(), message, retry: Retry::Soon });
                outcome
            }
        };
        self.record(outcome.clone());
        outcome
    }

    /// Records the outcome of the attempt, and reports each failure.
    pub fn record(&self, outcome: ReferrerOutcome) {
        let (workload, source, target) = (self.job.workload(), &self.job.source, &self.job.destination);
        for ReferrerFailure { referrer, message, .. } in &outcome.failures {
            warn!(workload, %source, %target, referrer, error = message, "a referrer was not copied");
        }
        let further = outcome.failed.saturating_sub(outcome.failures.len());
        if further > 0 {
            warn!(workload, %source, %target, further, "further referrers were not copied");
        }
        self.attempt.copied_referrers(outcome);
    }

    async fn copy_all(&self, discovery: Discovery) -> ReferrerOutcome {
        let upload = UploadGuard::default();
        let (observer, sent) = (Arc::clone(self.observer), Arc::clone(&self.attempt.sent));
        let on_sent = Arc::new(move |bytes| {
            sent.fetch_add(bytes, Ordering::Relaxed);
            observer.observe(&Event::BytesCopied(bytes));
        });
        let (settings, selection, endpoints) = (self.settings, self.selection, self.endpoints);
        let progress = self.attempt.progress;
        let transfer = &Transfer::new(endpoints, self.job, self.blobs, upload.upload(), settings, progress, on_sent);
        let budget = &ByteBudget::default();
        let (job, locks) = (self.job, self.locks);
        let copier = ReferrerTransfer { job, settings, selection, endpoints, transfer, locks, budget };
        let discoverer = self.discoverer();
        let mut outcome = ReferrerOutcome::default();
        let mut discovery = discovery;
        for level in 1..=MAX_LEVELS {
            let Discovery { subjects, outcome: found } = discovery;
            outcome.add(found);
            let mut next = Vec::new();
            for subject in &subjects {
                let (copied, present) = copier.copy(subject).await;
                outcome.add(copied);
                next.extend(present);
            }
            if next.is_empty() || level == MAX_LEVELS {
                break;
            }
            let found = Mutex::default();
            discoverer.discover(&Subjects::bounded(next), &found).await;
            discovery = found.into_inner();
        }
        upload.complete();
        outcome
    }

    fn discoverer(&self) -> Discoverer<'_> {
        Discoverer::of_copy(self.endpoints, self.selection, &self.look)
    }
}
