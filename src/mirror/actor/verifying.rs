//! The verification of what is mirrored, in the background, and what follows from it. It takes no permit that a copy could
//! need.

use std::{
    panic::AssertUnwindSafe,
    sync::atomic::Ordering,
    time::{Duration, SystemTime},
};

use futures::FutureExt as _;
use tokio::{task::JoinError, time::Instant};
use tracing::{error, warn};

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

/// Verifications that are begun or postponed before other events are handled.
const MAX_BEGUN_AT_ONCE: usize = 64;

impl Actor {
    /// When the next verification is due.
    pub(super) fn next_verification(&self) -> Option<Instant> {
        let verifies = self.verifier.is_some() && self.may_copy() && !self.is_single_pass;
        verifies.then(|| self.rounds.next_wake()).flatten()
    }

    /// Starts verifications that are due.
    pub(super) fn verify_next(&mut self, now: Instant) {
        if self.next_verification().is_none() {
            return;
        }
        for _ in 0..MAX_BEGUN_AT_ONCE {
            let Some(verifier) = self.verifier.clone() else { return };
            let Some(key) = self.rounds.begin(now) else { return };
            let jobs = self.verifiable(&key);
            if self.queue.is_due(&key) || self.claims.contenders(&key).is_some() {
                self.rounds.postpone(&key, verifier.period, now);
                continue;
            }
            if jobs.is_empty() {
                // Until a copy finds it to be another image's again.
                self.rounds.ended(&key, Finding::Unknown, verifier.period, now);
                self.rounds.forget(&key);
                continue;
            }
            self.verifications.spawn(async move {
                let verified = AssertUnwindSafe(async {
                    let mut images = Vec::with_capacity(jobs.len());
                    for job in jobs {
                        if let Some(image) = verifier.verify(&job).await {
                            images.push((job, image));
                        }
                    }
                    images
                });
                // A panic must not end all verifications: it counts as one without an answer.
                let images = verified.catch_unwind().await.unwrap_or_default();
                Verified { key, images }
            });
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
        if !self.rounds.is_running(&key) {
            // It began before the settings have changed.
            return;
        }
        if self.active.contains_key(&key) {
            // What was seen may be what a copy is changing.
            return self.rounds.postpone(&key, period, now);
        }
        let claimed = self.claims.jobs(&key);
        let is_claimed = |job: &CopyJob| claimed.iter().any(|claimed| claimed.has_same_route(job));
        let images: Vec<_> = images.into_iter().filter(|(job, _)| is_claimed(job)).collect();
        let has = |is: fn(Wholeness) -> bool| images.iter().any(|(_, image)| is(image.wholeness));
        let finding = match has(|wholeness| wholeness == Wholeness::Unknown) || images.is_empty() {
            true => Finding::Unknown,
            false if has(Wholeness::is_damage) => Finding::Damaged,
            false => Finding::Whole,
        };
        if !self.rounds.ended(&key, finding, period, now) {
            return;
        }
        for (job, image) in &images {
            let verification = self.record_verification(&key, &job.source, image);
            if image.wholeness.is_damage() {
                self.damage.found(&key, &job.source, verification, period, now);
                self.request(&key, &job.source, Cause::Change, now);
            } else if image.wholeness != Wholeness::Unknown
                && self.damage.is_whole(&key, &job.source)
                && self.records.is_failure(&key, &job.source)
            {
                // Somebody else has mended it, while repairs are paused.
                self.request(&key, &job.source, Cause::Change, now);
            }
        }
        if finding == Finding::Whole {
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

    fn record_verification(&mut self, key: &DestinationKey, source: &Reference, image: &VerifiedImage) -> Verification {
        let was_damaged = self.is_known_as_damaged(key, source);
        let (at, result, reason) = (SystemTime::now(), image.wholeness, image.reason.clone());
        let verification = Verification { at, result, reason, unanswered: None };
        let change = self.records.verified(key, source, verification.clone());
        self.observer.observe(&Event::Verified { image, was_damaged });
        self.report_changes(change);
        verification
    }

    /// The image is claimed again: what was known of it before holds until a verification, which comes first, tells otherwise.
    pub(super) fn restore_damage(&mut self, key: &DestinationKey, source: &Reference, now: Instant) {
        let Some(verification) = self.damage.claim(key, source) else { return };
        let change = self.records.verified(key, source, verification);
        self.report_changes(change);
        if self.verifier.is_some() {
            self.rounds.verify_first(key, now);
        }
    }

    /// The work on a destination has ended: plans its verification, and looks at what was copied again.
    pub(super) fn plan_verification(&mut self, key: &DestinationKey, done: &[(CopyJob, Outcome)], now: Instant) {
        let period = self.verifier.as_ref().map(|verifier| verifier.period);
        for (job, outcome) in done.iter().filter(|(job, _)| !matches!(job.role, Role::Conflict { .. })) {
            let is_copied = matches!(outcome.status, Status::Copied(_));
            if is_copied || outcome.bytes > 0 {
                self.rounds.changed(key);
            }
            let is_there = match &outcome.status {
                Status::Copied(_) | Status::AlreadyThere(_) => true,
                Status::Failed(_) => matches!(outcome.seen.at_target, AtTarget::Digest(_)),
                Status::WouldCopy(_) | Status::WouldPull => false,
            };
            match period {
                Some(_) if job.is_damaged && is_copied => {
                    self.damage.copied_again(key, &job.source);
                    self.rounds.verify_first(key, now);
                }
                // The copy has found the damage.
                Some(_) if job.is_damaged && is_there && !self.is_known_as_damaged(key, &job.source) => {
                    self.rounds.verify_first(key, now);
                }
                Some(period) if is_there => self.rounds.found(key, period, now),
                Some(_) => {}
                // The copy has looked at every part, and nothing else will.
                None if job.is_damaged && is_copied => {
                    let _ = self.damage.is_whole(key, &job.source);
                    let change = self.records.forget_verification(key, &job.source);
                    self.report_changes(change);
                }
                None => {}
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

    /// There is none while this replica verifies nothing.
    pub(super) fn report_oldest_verification(&mut self, now: Instant) {
        let verifies = self.phase.decides() && !self.paused.load(Ordering::Acquire) && !self.is_single_pass;
        let verifier = self.verifier.as_ref().filter(|_| verifies);
        let oldest = verifier.and_then(|verifier| Some((verifier.period, self.rounds.oldest()?)));
        let is_late = oldest.is_some_and(|(period, since)| now >= since + 2 * period);
        if is_late && !self.verifies_late {
            warn!(
                "the verifications in the background do not keep up: an image has waited for more than twice verifyHours; the \
                 status tells which were not verified and why, raise verifyRequestsPerMinute or verifyHours"
            );
        }
        let oldest = oldest.map(|(_, since)| since);
        if (oldest, is_late) != (self.oldest_verification, self.verifies_late) {
            (self.oldest_verification, self.verifies_late) = (oldest, is_late);
            let time = oldest.map(|since| before_now(since, now));
            self.observer.observe(&Event::OldestVerification { time, is_late });
        }
    }

    /// When the oldest verification is late, if it is not yet: nothing else may happen until then.
    pub(super) fn verification_is_late(&self) -> Option<Instant> {
        let period = self.verifier.as_ref()?.period;
        self.oldest_verification.filter(|_| !self.verifies_late).map(|since| since + 2 * period)
    }
}

/// The same time on the system clock, which may have jumped since.
fn before_now(since: Instant, now: Instant) -> SystemTime {
    let age = now.saturating_duration_since(since);
    SystemTime::now().checked_sub(age).unwrap_or(SystemTime::UNIX_EPOCH)
}
