//! The verification of what is mirrored, in the background, and what follows from it. It takes no permit that a copy could
//! need.

use std::{
    panic::AssertUnwindSafe,
    time::{Duration, SystemTime},
};

use futures::FutureExt as _;
use tokio::{task::JoinError, time::Instant};
use tracing::error;

use crate::{
    mirror::{
        destination_key::DestinationKey,
        job::{CopyJob, Role},
        queue::Cause,
        verification_rounds::Finding,
    },
    model::{AtTarget, Event, ImageRecord, Outcome, Reference, Status, Verification, VerifiedImage, Wholeness},
};

use super::state::{Actor, Verified};

/// Between two repairs of an image, if nothing is verified in the background any more.
const LONGEST_PAUSE_WITHOUT_ROUNDS: Duration = Duration::from_secs(24 * 60 * 60);

impl Actor {
    /// When the next verification is due.
    pub(super) fn next_verification(&self) -> Option<Instant> {
        let verifies = self.verifier.is_some() && self.may_copy() && !self.is_single_pass;
        verifies.then(|| self.rounds.next_wake()).flatten()
    }

    /// Starts the next verification that is due.
    pub(super) fn verify_next(&mut self, now: Instant) {
        if self.next_verification().is_none() {
            return;
        }
        while let Some(verifier) = self.verifier.clone()
            && let Some(key) = self.rounds.begin(now)
        {
            let jobs = self.verifiable(&key);
            if jobs.is_empty() || self.queue.is_due(&key) || self.claims.contenders(&key).is_some() {
                self.rounds.postpone(verifier.period, now);
                continue;
            }
            self.verifications.spawn(async move {
                let verified = AssertUnwindSafe(async {
                    let mut images = Vec::with_capacity(jobs.len());
                    for job in jobs {
                        let image = verifier.verify(&job).await;
                        images.push((job, image));
                    }
                    images
                });
                // A panic must not end all verifications: it counts as one without an answer.
                let images = verified.catch_unwind().await.unwrap_or_default();
                Verified { key, images }
            });
            return;
        }
    }

    /// An image in conflict is not at the destination.
    fn verifiable(&self, key: &DestinationKey) -> Vec<CopyJob> {
        self.claims.jobs(key).into_iter().filter(|job| !matches!(job.role, Role::Conflict { .. })).collect()
    }

    pub(super) fn verified(&mut self, verified: Result<Verified, JoinError>) {
        let now = Instant::now();
        let Verified { key, images } = match verified {
            Ok(verified) => verified,
            // The settings have changed.
            Err(error) if error.is_cancelled() => return,
            Err(error) => return error!(%error, "a verification was aborted"),
        };
        let Some(period) = self.verifier.as_ref().map(|verifier| verifier.period) else { return };
        if self.queue.is_due(&key) {
            // What was seen may be what a copy was changing.
            return self.rounds.postpone(period, now);
        }
        let claimed = self.claims.jobs(&key);
        let is_claimed = |job: &CopyJob| claimed.iter().any(|claimed| claimed.has_same_route(job));
        let images: Vec<_> = images.into_iter().filter(|(job, _)| is_claimed(job)).collect();
        for (job, image) in &images {
            self.record_verification(&key, &job.source, image);
            if image.wholeness.is_damage() {
                let reason = image.reason.as_deref().unwrap_or_default();
                self.damage.found(&key, &job.source, reason, period, now);
            } else if image.wholeness != Wholeness::Unknown {
                self.damage.is_whole(&key, &job.source);
            }
        }
        let of = |is: fn(Wholeness) -> bool| images.iter().filter(move |(_, image)| is(image.wholeness));
        let damaged: Vec<Reference> = of(Wholeness::is_damage).map(|(job, _)| job.source.clone()).collect();
        let is_unknown = images.is_empty() || of(|wholeness| wholeness == Wholeness::Unknown).next().is_some();
        let finding = match damaged.is_empty() {
            false => Finding::Damaged,
            true if is_unknown => Finding::Unknown,
            true => Finding::Whole,
        };
        self.rounds.ended(finding, period, now);
        for source in &damaged {
            self.request(&key, source, Cause::Change, now);
        }
        if damaged.is_empty() && !is_unknown {
            self.compare_with_sources(&key, &images, now);
        }
    }

    /// What a tag means may have changed at its source since the last pass.
    fn compare_with_sources(&mut self, key: &DestinationKey, images: &[(CopyJob, VerifiedImage)], now: Instant) {
        for (job, image) in images {
            if job.source.digest().is_none() || image.wholeness == Wholeness::Drifted {
                self.request(key, &job.source, Cause::Pass, now);
            }
        }
    }

    fn record_verification(&mut self, key: &DestinationKey, source: &Reference, image: &VerifiedImage) {
        let before = self.records.get(key, source).and_then(|record| record.verified.as_ref());
        let was_damaged = before.is_some_and(|before| before.result.is_damage());
        let verification =
            Verification { at: SystemTime::now(), result: image.wholeness, reason: image.reason.clone(), unanswered: None };
        let change = self.records.verified(key, source, verification);
        self.observer.observe(&Event::Verified { image, was_damaged });
        self.report_changes(change);
    }

    /// The work on a destination has ended: plans its verification, and looks at what was copied again.
    pub(super) fn plan_verification(&mut self, key: &DestinationKey, done: &[(CopyJob, Outcome)], now: Instant) {
        let Some(period) = self.verifier.as_ref().map(|verifier| verifier.period) else { return };
        for (job, outcome) in done.iter().filter(|(job, _)| !matches!(job.role, Role::Conflict { .. })) {
            let is_there = match &outcome.status {
                Status::Copied(_) | Status::AlreadyThere(_) => true,
                Status::Failed(_) => matches!(outcome.seen.at_target, AtTarget::Digest(_)),
                Status::WouldCopy(_) | Status::WouldPull => false,
            };
            if is_there {
                self.rounds.found(key, period, now);
            }
            if job.is_damaged && matches!(outcome.status, Status::Copied(_)) {
                self.damage.copied_again(key, &job.source);
                self.rounds.verify_first(key, now);
            } else if job.is_damaged && is_there && !self.is_known_as_damaged(key, &job.source) {
                // The copy has found the damage.
                self.rounds.verify_first(key, now);
            }
        }
    }

    fn is_known_as_damaged(&self, key: &DestinationKey, source: &Reference) -> bool {
        self.records.get(key, source).is_some_and(ImageRecord::is_damaged)
    }

    /// The longest pause between two repairs of an image.
    pub(super) fn longest_repair_pause(&self) -> Duration {
        self.verifier.as_ref().map_or(LONGEST_PAUSE_WITHOUT_ROUNDS, |verifier| verifier.period)
    }

    pub(super) fn report_oldest_verification(&mut self) {
        let oldest = self.rounds.oldest();
        if oldest != self.oldest_verification {
            self.oldest_verification = oldest;
            self.observer.observe(&Event::OldestVerification(oldest));
        }
    }
}
