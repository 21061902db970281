//! When to look for the referrers of images again.

use tokio::time::Instant;

use crate::{
    mirror::{destination_key::DestinationKey, job::CopyJob},
    model::{Outcome, Status},
};

use super::state::Actor;

impl Actor {
    /// Requests the destinations whose referrers are due.
    pub(super) fn request_due_looks(&mut self, now: Instant) {
        while let Some(key) = self.referrer_looks.wake(now) {
            self.request_all(&key, now);
        }
    }

    /// Whether the work on a destination, which begins now, is to look for referrers of an image that is there.
    pub(super) fn begin_look(&mut self, key: &DestinationKey) -> bool {
        let is_due = self.referrer_looks.begin(key);
        (is_due || self.is_single_pass) && self.copier.copies_referrers_to(&key.target().name)
    }

    /// The work on an image has ended: plans the next look.
    pub(super) fn plan_look(&mut self, key: &DestinationKey, job: &CopyJob, outcome: &Outcome, now: Instant) {
        if !self.copier.copies_referrers_to(&key.target().name) {
            return self.referrer_looks.forget(key);
        }
        let recheck = self.copier.referrer_recheck();
        match (&outcome.status, &outcome.referrers) {
            (_, Some(referrers)) => self.referrer_looks.ended(key, referrers.is_worth_a_retry(), recheck, now),
            // The look was due, and could not be had.
            (_, None) if job.look_for_referrers => self.referrer_looks.ended(key, true, recheck, now),
            (Status::AlreadyThere(_), None) => self.referrer_looks.found(key, recheck, now),
            (Status::Copied(_) | Status::WouldCopy(_) | Status::WouldPull | Status::Failed(_), None) => {}
        }
    }
}
