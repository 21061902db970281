//! The verification of everything that is mirrored, again and again.

use std::{sync::Arc, time::Duration};

use super::{known_parts::KnownParts, verifier::Verifier};
use crate::{mirror::job::CopyJob, model::VerifiedImage};

/// Verifies each mirrored image once in a period.
#[derive(Clone)]
pub struct ContinualVerifier {
    verifier: Arc<Verifier>,
    /// In which every image is verified once.
    pub period: Duration,
}

impl ContinualVerifier {
    /// `verifier` should have a pace, and ask sources for nothing but indexes.
    pub fn new(verifier: Verifier, period: Duration) -> Self {
        Self { verifier: Arc::new(verifier), period }
    }

    /// Looks at all parts of one image.
    pub(in crate::mirror) async fn verify(&self, job: &CopyJob) -> VerifiedImage {
        let mut job = job.clone();
        // A Pod may run what the tag meant before; what it means now is a question to the source.
        if job.tag().is_some() {
            job.running.clear();
        }
        // What was there at the last look may be gone.
        self.verifier.verify_job(&job, &KnownParts::default()).await
    }
}
