//! Who asked for a pass. One is under way, and one more may wait: it answers all who have asked since the first began.

use std::sync::Arc;

use tokio::{sync::oneshot, time::Instant};

use super::pass::{Pass, PassReport};

/// How many may wait for the next pass; who comes on top gets no answer.
const MOST_ASKERS: usize = 1024;

/// Where a pass's report goes.
pub type Asker = oneshot::Sender<Arc<PassReport>>;

/// The pass under way, and those who wait for the next.
#[derive(Debug, Default)]
pub struct Passes {
    pass: Option<Pass>,
    askers: Vec<Asker>,
    next: Vec<Asker>,
}

impl Passes {
    /// Somebody asks for a pass.
    pub fn ask(&mut self, asker: Asker) {
        self.next.retain(|asker| !asker.is_closed());
        if self.next.len() < MOST_ASKERS {
            self.next.push(asker);
        }
    }

    /// Whether a pass is asked for and none is under way.
    pub fn is_due(&self) -> bool {
        self.pass.is_none() && self.next.iter().any(|asker| !asker.is_closed())
    }

    /// The pass that was asked for begins.
    pub fn begin(&mut self, pass: Pass) {
        self.pass = Some(pass);
        self.askers = std::mem::take(&mut self.next);
    }

    /// The pass under way.
    pub fn current(&mut self) -> Option<&mut Pass> {
        self.pass.as_mut()
    }

    /// When the pass under way is given up if nothing ends before.
    pub fn deadline(&self) -> Option<Instant> {
        self.pass.as_ref().map(Pass::deadline)
    }

    /// Reports the pass under way if it is over, or stands still. One whose askers have gone away is given up; what it
    /// has queued is done all the same.
    pub fn step(&mut self, now: Instant) {
        let Some(pass) = &self.pass else { return };
        self.askers.retain(|asker| !asker.is_closed());
        if self.askers.is_empty() {
            self.pass = None;
        } else if pass.is_over() || pass.deadline() <= now {
            self.end("nothing has ended for an hour");
        }
    }

    /// Reports the pass under way as it is; `why` says so of what it still waits for.
    pub fn end(&mut self, why: &str) {
        let Some(pass) = self.pass.take() else { return };
        let report = Arc::new(pass.report(why));
        for asker in self.askers.drain(..) {
            // Who has gone away does not want it.
            let _ = asker.send(Arc::clone(&report));
        }
    }
}
