//! The actor's state.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, SystemTime},
};

use tokio::{sync::mpsc, task::JoinSet, time::Instant};
use tokio_util::sync::CancellationToken;

use crate::{
    mirror::{
        claims::{Claims, RegistriesInUse},
        copying::Copier,
        decisions::{Decisions, UndecidedCounts},
        destination_key::DestinationKey,
        job::{CopyJob, CopyResult},
        known_damage::KnownDamage,
        passes::Passes,
        queue::{Admission, Availability, Cause, Lengths, Queue},
        records::{RecordChange, Records},
        referrer_looks::ReferrerLooks,
        verification::ContinualVerifier,
        verification_rounds::VerificationRounds,
    },
    model::{CopyProgress, Event, Failure, Observer, Outcome, Reference, UnmirroredUse, VerifiedImage, WorkloadId},
    policy::Policy,
};

use super::phase::Phase;

/// Owns all state of the mirror and is the only one to change it. The cost of an event does not depend on the number of
/// workloads.
pub struct Actor {
    pub(super) policy: Arc<Policy>,
    pub(super) copier: Arc<Copier>,
    /// None if nothing is verified in the background.
    pub(super) verifier: Option<ContinualVerifier>,
    pub(super) observer: Arc<dyn Observer>,
    /// How many destinations are copied to at once.
    pub(super) max_concurrency: usize,
    pub(super) phase: Phase,
    /// Shared with the callers, so that a pause takes effect before earlier messages are handled.
    pub(super) paused: Arc<AtomicBool>,
    /// After one pass nothing more is done, and failures are not retried.
    pub(super) is_single_pass: bool,
    pub(super) decisions: Decisions,
    pub(super) undecided: UndecidedCounts,
    /// Image uses that are skipped or undecided.
    pub(super) unmirrored: HashMap<WorkloadId, Vec<Arc<UnmirroredUse>>>,
    pub(super) claims: Claims,
    pub(super) registries_in_use: RegistriesInUse,
    pub(super) queue: Queue,
    pub(super) sources: Availability,
    pub(super) targets: Availability,
    /// Registries that have just answered a copy; others need not wait until that copy has ended.
    pub(super) answers: mpsc::UnboundedReceiver<String>,
    pub(super) answers_sender: mpsc::UnboundedSender<String>,
    pub(super) tasks: JoinSet<Completed>,
    pub(super) active: HashMap<DestinationKey, Active>,
    pub(super) passes: Passes,
    /// As last reported.
    pub(super) lengths: Lengths,
    pub(super) records: Records,
    pub(super) referrer_looks: ReferrerLooks,
    pub(super) rounds: VerificationRounds,
    pub(super) damage: KnownDamage,
    /// At most one for each target.
    pub(super) verifications: JoinSet<Verified>,
    /// As last reported.
    pub(super) oldest_to_be_copied: Option<SystemTime>,
    /// As last reported.
    pub(super) oldest_verification: Option<Instant>,
    /// Whether it was reported that verifications do not keep up.
    pub(super) verifies_late: bool,
}

/// A destination that is being copied to.
pub(super) struct Active {
    pub cancel: CancellationToken,
    pub jobs: Vec<(CopyJob, Arc<CopyProgress>)>,
    pub started: SystemTime,
    pub resolve_tag: bool,
}

/// The result of the verification of a destination; without images if it ended by a panic.
pub(super) struct Verified {
    pub key: DestinationKey,
    pub images: Vec<(CopyJob, VerifiedImage)>,
}

/// The result of the task of an active destination.
pub(super) enum Completed {
    Copied {
        key: DestinationKey,
        done: Vec<(CopyJob, CopyResult)>,
    },
    /// The target was inspected for which of several repositories it has the destination from.
    OwnerFound {
        key: DestinationKey,
        owner: Result<Option<Reference>, Failure>,
    },
    /// No workload claimed it any more.
    Cancelled {
        key: DestinationKey,
    },
}

impl Actor {
    pub fn new(
        policy: Arc<Policy>,
        copier: Copier,
        verifier: Option<ContinualVerifier>,
        observer: Arc<dyn Observer>,
        cooldown: Option<Duration>,
        max_concurrency: usize,
        paused: Arc<AtomicBool>,
    ) -> Self {
        // Bounded by the number of copies: each sends at most one.
        let (answers_sender, answers) = mpsc::unbounded_channel();
        Self {
            policy,
            copier: Arc::new(copier),
            verifier,
            observer,
            max_concurrency,
            phase: Phase::Standby { inventory_complete: false },
            paused,
            is_single_pass: false,
            decisions: Decisions::default(),
            undecided: UndecidedCounts::default(),
            unmirrored: HashMap::new(),
            claims: Claims::default(),
            registries_in_use: RegistriesInUse::default(),
            queue: Queue::new(cooldown),
            sources: Availability::default(),
            targets: Availability::default(),
            answers,
            answers_sender,
            tasks: JoinSet::new(),
            active: HashMap::new(),
            passes: Passes::default(),
            lengths: Lengths::default(),
            records: Records::default(),
            referrer_looks: ReferrerLooks::default(),
            rounds: VerificationRounds::default(),
            damage: KnownDamage::default(),
            verifications: JoinSet::new(),
            oldest_to_be_copied: None,
            oldest_verification: None,
            verifies_late: false,
        }
    }

    pub(super) fn may_copy(&self) -> bool {
        self.phase.copies() && !self.paused.load(Ordering::Acquire)
    }

    /// Requests that `source` be copied to a destination.
    pub(super) fn request(
        &mut self,
        key: &DestinationKey,
        source: &Reference,
        cause: Cause,
        now: Instant,
    ) -> Admission {
        let host = self.claims.source_registry(key).unwrap_or_default();
        self.queue.request(key, source, host, cause, now)
    }

    /// Requests all images of a destination.
    pub(super) fn request_all(&mut self, key: &DestinationKey, now: Instant) {
        for job in self.claims.jobs(key) {
            self.request(key, &job.source, Cause::Change, now);
        }
    }

    /// Records outcomes, and reports them and what they change. Forgets images that are not claimed any more.
    pub(super) fn record(
        &mut self,
        key: &DestinationKey,
        outcomes: &[Outcome],
        is_claimed: impl Fn(&Reference) -> bool,
    ) {
        let changes = self.records.update(key, outcomes, is_claimed, SystemTime::now());
        for outcome in outcomes {
            if let Some(record) = self.records.get(key, &outcome.source) {
                self.observer.observe(&Event::Finished(outcome, record));
            }
        }
        self.report_changes(changes);
    }

    pub(super) fn report_changes(&self, changes: impl IntoIterator<Item = RecordChange>) {
        for RecordChange { destination, source, before, after } in changes {
            self.observer.observe(&Event::ImageChanged { destination: &destination, source: &source, before, after });
        }
    }
}

/// The same time on the system clock.
pub(super) fn as_system_time(instant: Instant) -> SystemTime {
    SystemTime::now() + instant.saturating_duration_since(Instant::now())
}
