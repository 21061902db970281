//! One destination in the queue.

use std::{collections::HashMap, sync::Arc, time::Duration};

use tokio::time::Instant;

use crate::model::{Reference, Retry, doubled};

use super::fair_queue::Ticket;

/// The cooldown after a first failure that a retry alone can cure; doubles with each further failure.
const FIRST_COOLDOWN: Duration = Duration::from_secs(60);

/// The first cooldown after a failure that somebody has to fix: many images are pushed seconds after the workload that runs
/// them is deployed.
const FIRST_COOLDOWN_UNTIL_FIXED: Duration = Duration::from_secs(15);

/// A destination that is waiting, being copied, or in cooldown.
#[derive(Debug)]
pub(super) struct Entry {
    pub state: State,
    /// Failures by source.
    pub failures: HashMap<Reference, FailedSource>,
    /// Whether to resolve the tag at the source when the destination is next worked on.
    pub resolve_tag: bool,
}

#[derive(Debug)]
pub(super) enum State {
    Waiting(Ticket),
    Active {
        host: Arc<str>,
        /// Requested again meanwhile: the cause of its failure may have been fixed since it began.
        is_requested_again: bool,
        /// It has to run once more.
        run_again: bool,
    },
    Cooldown,
    /// As `Cooldown`, but without a claim: kept for a moment, so that recreating an object many times a second does not
    /// cause as many requests.
    Unclaimed,
}

#[derive(Debug)]
pub(super) struct FailedSource {
    pub failures: u32,
    pub at: Instant,
    pub until: Instant,
    pub error: Arc<str>,
    /// Whether a pass or a change does not wait for its end: nothing but a repair is paused, and a moved tag must be copied.
    pub yields: bool,
}

impl Entry {
    pub fn new(state: State) -> Self {
        Self { state, failures: HashMap::new(), resolve_tag: false }
    }

    /// Records a failure of `source`, and returns its cooldown.
    pub fn fail(&mut self, source: &Reference, error: &str, retry: Retry, longest: Duration, now: Instant) -> Duration {
        let failures = match &self.state {
            State::Active { is_requested_again: true, .. } => 0,
            _ => self.failures.get(source).map_or(0, |failed| failed.failures),
        };
        let cooldown = match retry {
            Retry::Soon => doubled(FIRST_COOLDOWN, failures, longest),
            Retry::Later => doubled(FIRST_COOLDOWN_UNTIL_FIXED, failures, longest),
            Retry::After(pause) => pause.max(FIRST_COOLDOWN).min(longest),
        };
        self.set_failed(source, failures.saturating_add(1), error, now + cooldown, now, false);
        cooldown
    }

    /// Delays `source` without counting a failure. `yields`: but no pass.
    pub fn postpone(&mut self, source: &Reference, error: &str, until: Instant, now: Instant, yields: bool) {
        let failures = self.failures.get(source).map_or(0, |failed| failed.failures);
        self.set_failed(source, failures, error, until, now, yields);
    }

    fn set_failed(
        &mut self,
        source: &Reference,
        failures: u32,
        error: &str,
        until: Instant,
        now: Instant,
        yields: bool,
    ) {
        let failed = FailedSource { failures, at: now, until, error: Arc::from(error), yields };
        self.failures.insert(source.clone(), failed);
    }
}

/// The number of destinations by state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lengths {
    /// Due, and waiting for a permit.
    pub waiting: usize,
    /// Being copied.
    pub active: usize,
    /// In cooldown.
    pub cooling: usize,
}

impl Lengths {
    pub(super) fn add(&mut self, state: &State, change: isize) {
        let length = match state {
            State::Waiting(_) => &mut self.waiting,
            State::Active { .. } => &mut self.active,
            State::Cooldown => &mut self.cooling,
            State::Unclaimed => return,
        };
        *length = length.saturating_add_signed(change);
    }
}
