//! The verification of everything that is mirrored, again and again.

use std::{collections::HashMap, sync::Arc, time::Duration};

use super::{known_parts::KnownParts, verifier::Verifier};
use crate::{mirror::job::CopyJob, model::VerifiedImage};

/// Verifies each mirrored image once in a period.
#[derive(Clone)]
pub struct ContinualVerifier {
    /// By name of the target: each has a pace of its own, so that none takes the requests of another.
    verifiers: Arc<HashMap<String, Verifier>>,
    /// In which every image is verified once.
    pub period: Duration,
}

impl ContinualVerifier {
    /// The verifier of each target, by the target's name. Each should have a pace, and ask sources for nothing but indexes.
    pub fn new(verifiers: HashMap<String, Verifier>, period: Duration) -> Self {
        Self { verifiers: Arc::new(verifiers), period }
    }

    /// Looks at all parts of one image; none if its target is not configured any more.
    pub(in crate::mirror) async fn verify(&self, job: &CopyJob) -> Option<VerifiedImage> {
        let verifier = self.verifiers.get(&job.destination.target.name)?;
        let mut job = job.clone();
        // A Pod may run what the tag meant before; what it means now is a question to the source.
        if job.tag().is_some() {
            job.running.clear();
        }
        // What was there at the last look may be gone.
        Some(verifier.verify_job(&job, &KnownParts::default()).await)
    }
}
