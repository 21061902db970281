//! Passes: at most one runs, and at most one more is requested. That one answers every request made since the running one
//! began.

mod pass;
mod report;

use std::{sync::Arc, time::SystemTime};

use tokio::{sync::oneshot, time::Instant};

use crate::model::PassSummary;

pub use pass::Pass;
pub use report::{PassReport, Remaining};

/// The most requests that may wait for the next pass; further ones are dropped.
const MAX_REQUESTS: usize = 1024;

/// Where to send a pass's report.
pub type PassRequest = oneshot::Sender<Arc<PassReport>>;

/// The running pass, and the requests for it and for the next.
#[derive(Debug, Default)]
pub struct Passes {
    current: Option<Pass>,
    requests: Vec<PassRequest>,
    next_requests: Vec<PassRequest>,
    /// Whether the next pass looks for the referrers of all images.
    next_referrers: bool,
}

impl Passes {
    /// With `referrers` the pass looks for the referrers of all images.
    pub fn request(&mut self, request: PassRequest, referrers: bool) {
        self.next_referrers |= referrers;
        self.next_requests.retain(|request| !request.is_closed());
        if self.next_requests.len() < MAX_REQUESTS {
            self.next_requests.push(request);
        }
    }

    /// Whether a pass is requested and none is running.
    pub fn is_due(&self) -> bool {
        self.current.is_none() && self.next_requests.iter().any(|request| !request.is_closed())
    }

    /// Begins the requested pass; `pass` makes it, with or without looks for the referrers of all images.
    pub fn begin(&mut self, pass: impl FnOnce(bool) -> Pass) {
        self.current = Some(pass(std::mem::take(&mut self.next_referrers)));
        self.requests = std::mem::take(&mut self.next_requests);
    }

    pub fn current(&mut self) -> Option<&mut Pass> {
        self.current.as_mut()
    }

    /// When the running pass began.
    pub fn began(&self) -> Option<SystemTime> {
        self.current.as_ref().map(Pass::began)
    }

    /// When the running pass is ended unless something completes before.
    pub fn deadline(&self) -> Option<Instant> {
        self.current.as_ref().map(Pass::deadline)
    }

    /// Reports the running pass if it is complete or stands still. Abandons it if nobody waits for the report any more;
    /// what it has queued is copied all the same. Returns the pass that it ends.
    pub fn step(&mut self, now: Instant) -> Option<PassSummary> {
        let pass = self.current.as_ref()?;
        self.requests.retain(|request| !request.is_closed());
        if self.requests.is_empty() {
            self.current = None;
            None
        } else if pass.is_complete() || pass.deadline() <= now {
            self.end("nothing has completed for an hour")
        } else {
            None
        }
    }

    /// Ends and reports the running pass; `unfinished` is the reason for everything that it still waits for.
    pub fn end(&mut self, unfinished: &str) -> Option<PassSummary> {
        let pass = self.current.take()?;
        let began = pass.began();
        let report = Arc::new(pass.report(unfinished));
        for request in self.requests.drain(..) {
            // The receiver may be gone.
            let _ = request.send(Arc::clone(&report));
        }
        Some(PassSummary {
            began,
            ended: SystemTime::now(),
            workloads: report.workloads,
            images: report.images,
            failures: report.failures.len(),
        })
    }
}
