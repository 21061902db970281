//! When to look for the referrers of images again.

use tokio::time::Instant;

use crate::{
    mirror::{
        destination_key::DestinationKey,
        job::{CopyJob, Role},
    },
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

    /// The work on a destination has ended: plans the next look.
    pub(super) fn plan_look(&mut self, key: &DestinationKey, done: &[(CopyJob, Outcome)], now: Instant) {
        if !self.copier.copies_referrers_to(&key.target().name) {
            return self.referrer_looks.forget(key);
        }
        // An image in conflict is not at the destination.
        let done = || done.iter().filter(|(job, _)| !matches!(job.role, Role::Conflict { .. }));
        let looks = || done().filter_map(|(_, outcome)| outcome.referrers.as_ref());
        let recheck = self.copier.referrer_recheck();
        if looks().any(|referrers| referrers.is_unfinished) {
            self.referrer_looks.continue_at_once(key, now);
        } else if done().any(|(_, outcome)| outcome.status.is_failure()) {
            // The next attempt may find that the image is there, and what it lacks is not known.
            self.referrer_looks.request(key);
        } else if looks().next().is_some() {
            let retry = looks().any(|referrers| referrers.is_worth_a_retry);
            self.referrer_looks.ended(key, retry, recheck, now);
        } else if done().any(|(job, _)| job.look_for_referrers) {
            // It was due, and could not be had.
            self.referrer_looks.ended(key, true, recheck, now);
        } else if done().any(|(_, outcome)| matches!(outcome.status, Status::AlreadyThere(_))) {
            self.referrer_looks.found(key, recheck, now);
        }
    }
}
