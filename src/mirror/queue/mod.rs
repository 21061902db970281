//! Which destinations are due. A state machine without a clock or I/O: callers pass the current time. The cost of an
//! event does not depend on the number of destinations.

mod availability;
mod entry;
mod fair_queue;
#[cfg(test)]
mod tests;
mod timers;

use std::{collections::HashMap, sync::Arc, time::Duration};

use tokio::time::Instant;

use crate::model::{Reference, Retry};

use super::destination_key::DestinationKey;
use entry::{Entry, State};
use fair_queue::FairQueue;

pub use availability::{Availability, Unavailable};
pub use entry::Lengths;
pub use timers::Timers;

/// The longest cooldown if none is configured.
const LONGEST_COOLDOWN_UNLESS_CONFIGURED: Duration = Duration::from_secs(16 * 60);

/// A new request ends a cooldown, but not sooner than this after the failure: objects may be recreated many times a second.
const COOLDOWN_BEFORE_NEW_REQUEST: Duration = Duration::from_secs(60);

/// The destinations that are waiting, being copied, or in cooldown.
#[derive(Debug)]
pub struct Queue {
    cooldown: Option<Duration>,
    entries: HashMap<DestinationKey, Entry>,
    fair_queue: FairQueue,
    timers: Timers<DestinationKey>,
    lengths: Lengths,
}

/// Why a destination is queued.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// A new or changed claim.
    New,
    /// A pass: the source's tag is resolved again.
    Pass,
    /// Another change: of the destination's owner, or of the copy settings.
    Change,
}

/// The result of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Admission {
    /// It is waiting.
    Queued,
    /// It is being copied.
    Active,
    /// It failed before, and is in cooldown.
    InCooldown {
        /// The end of the cooldown.
        until: Instant,
        /// The last failure.
        error: Arc<str>,
    },
}

/// What happens to a destination.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum QueueActivity {
    Idle,
    Waiting,
    Active,
    /// Until then.
    Cooldown(Instant),
}

/// The next destination to work on.
#[derive(Debug)]
pub struct Next {
    pub key: DestinationKey,
    /// Whether to resolve the tag at the source.
    pub resolve_tag: bool,
}

impl Queue {
    /// `cooldown` is the longest one after a failure. Without it a new request ends the wait,
    /// and waits are neither reported nor reset as cooldowns.
    pub fn new(cooldown: Option<Duration>) -> Self {
        Self {
            cooldown,
            entries: HashMap::new(),
            fair_queue: FairQueue::default(),
            timers: Timers::default(),
            lengths: Lengths::default(),
        }
    }

    /// Requests that `source` be copied to the destination. The destination waits in the queue of the registry `host`.
    pub fn request(
        &mut self,
        key: &DestinationKey,
        source: &Reference,
        host: &str,
        cause: Cause,
        now: Instant,
    ) -> Admission {
        let Some(entry) = self.entries.get_mut(key) else {
            self.enqueue(key, host, cause);
            return Admission::Queued;
        };
        let mut in_cooldown = None;
        if let Some(failed) = entry.failures.get_mut(source).filter(|failed| failed.until > now) {
            match self.cooldown {
                _ if failed.yields && cause != Cause::New => failed.until = now,
                Some(_) if cause == Cause::Pass => {}
                Some(_) => failed.until = failed.until.min(failed.at + COOLDOWN_BEFORE_NEW_REQUEST).max(now),
                None => failed.until = now,
            }
            if failed.until > now {
                in_cooldown = Some(Admission::InCooldown { until: failed.until, error: Arc::clone(&failed.error) });
            }
        }
        let is_due = in_cooldown.is_none();
        entry.resolve_tag |= cause == Cause::Pass && is_due;
        match &mut entry.state {
            State::Waiting(ticket) => {
                if cause == Cause::New && !ticket.is_new && is_due {
                    self.fair_queue.remove(ticket);
                    *ticket = self.fair_queue.push(host, key, true);
                }
                in_cooldown.unwrap_or(Admission::Queued)
            }
            State::Active { is_requested_again, run_again, .. } => {
                *is_requested_again |= is_due;
                *run_again |= cause == Cause::Pass && is_due;
                in_cooldown.unwrap_or(Admission::Active)
            }
            State::Cooldown | State::Unclaimed => match in_cooldown {
                Some(in_cooldown) => {
                    self.enter_cooldown(key);
                    in_cooldown
                }
                None => {
                    self.enqueue(key, host, cause);
                    Admission::Queued
                }
            },
        }
    }

    /// Whether it is waiting or being copied.
    pub fn is_due(&self, key: &DestinationKey) -> bool {
        matches!(self.entries.get(key).map(|entry| &entry.state), Some(State::Waiting(_) | State::Active { .. }))
    }

    /// The end of the cooldown of `source`, and its last failure; none if it is not in cooldown.
    pub fn cooldown(&self, key: &DestinationKey, source: &Reference, now: Instant) -> Option<(Instant, Arc<str>)> {
        let failed = self.entries.get(key)?.failures.get(source)?;
        (failed.until > now).then(|| (failed.until, Arc::clone(&failed.error)))
    }

    /// The next destination to work on; `limit` is the maximum of a registry that may be active at once.
    pub fn next(&mut self, limit: impl Fn(&str) -> usize) -> Option<Next> {
        let (key, host) = self.fair_queue.next(limit)?;
        self.enter(&key, State::Active { host, is_requested_again: false, run_again: false });
        let resolve_tag = self.entries.get_mut(&key).is_some_and(|entry| std::mem::take(&mut entry.resolve_tag));
        Some(Next { key, resolve_tag })
    }

    /// Records that `source` of an active destination succeeded.
    pub fn succeeded(&mut self, key: &DestinationKey, source: &Reference) {
        if let Some(entry) = self.entries.get_mut(key) {
            entry.failures.remove(source);
        }
    }

    /// Records that `source` of an active destination failed, and returns its cooldown.
    pub fn failed(
        &mut self,
        key: &DestinationKey,
        source: &Reference,
        error: &str,
        retry: Retry,
        now: Instant,
    ) -> Duration {
        let longest = self.cooldown.unwrap_or(LONGEST_COOLDOWN_UNLESS_CONFIGURED);
        let entry = self.entries.get_mut(key);
        entry.map_or(longest, |entry| entry.fail(source, error, retry, longest, now))
    }

    /// Records that `source` of an active destination was not tried, and delays it. Does not count as a failure.
    pub fn postpone(&mut self, key: &DestinationKey, source: &Reference, error: &str, until: Instant, now: Instant) {
        if let Some(entry) = self.entries.get_mut(key) {
            entry.postpone(source, error, until, now, false);
        }
    }

    /// The same if nothing but a repair of `source` is delayed: a pass does not wait for it.
    pub fn postpone_repair(
        &mut self,
        key: &DestinationKey,
        source: &Reference,
        error: &str,
        until: Instant,
        now: Instant,
    ) {
        if let Some(entry) = self.entries.get_mut(key) {
            entry.postpone(source, error, until, now, true);
        }
    }

    /// Ends the work on an active destination. Returns whether it waits again: for `run_again`, or as requested meanwhile.
    pub fn complete(&mut self, key: &DestinationKey, host: &str, run_again: bool) -> bool {
        let Some(entry) = self.entries.get_mut(key) else { return false };
        let State::Active { run_again: requested, .. } = entry.state else { return true };
        if run_again || requested {
            self.enqueue(key, host, Cause::Change);
            return true;
        }
        if entry.failures.is_empty() {
            self.remove(key);
        } else {
            self.enter_cooldown(key);
        }
        false
    }

    /// Records that the destination has no claim any more. An active one is kept until it completes.
    pub fn forget(&mut self, key: &DestinationKey) {
        let Some(entry) = self.entries.get(key) else { return };
        if matches!(entry.state, State::Active { .. }) {
            return;
        }
        let keep_until = entry.failures.values().map(|failed| failed.at + COOLDOWN_BEFORE_NEW_REQUEST).max();
        match keep_until {
            None => self.remove(key),
            Some(until) => {
                self.enter(key, State::Unclaimed);
                self.timers.set(key, until);
            }
        }
    }

    /// Queues the destinations whose cooldown has ended. `host` returns their source registry; none without a claim.
    pub fn wake(&mut self, now: Instant, host: impl Fn(&DestinationKey) -> Option<String>) {
        while let Some(key) = self.timers.pop(now) {
            match host(&key) {
                Some(host) => self.enqueue(&key, &host, Cause::Change),
                None => self.remove(&key),
            }
        }
    }

    /// When [`Self::wake`] next has something to do.
    pub fn next_wake(&self) -> Option<Instant> {
        self.timers.next()
    }

    /// Limits cooldowns from the next failure on.
    pub fn set_cooldown(&mut self, cooldown: Option<Duration>) {
        self.cooldown = cooldown;
    }

    /// Ends all cooldowns and returns their number; none if no cooldown is configured. Forgets the failures of active
    /// destinations too.
    pub fn reset_cooldown(&mut self, host: impl Fn(&DestinationKey) -> Option<String>) -> Option<usize> {
        self.cooldown?;
        let mut in_cooldown = Vec::new();
        for (key, entry) in &mut self.entries {
            entry.failures.clear();
            match &mut entry.state {
                State::Active { is_requested_again, .. } => *is_requested_again = true,
                State::Cooldown | State::Unclaimed => in_cooldown.push(key.clone()),
                State::Waiting(_) => {}
            }
        }
        let mut ended = 0;
        for key in in_cooldown {
            match host(&key) {
                Some(host) => {
                    ended += 1;
                    self.enqueue(&key, &host, Cause::Change);
                }
                None => self.remove(&key),
            }
        }
        Some(ended)
    }

    /// Must be called when the limits passed to [`Self::next`] have changed.
    pub fn limits_changed(&mut self) {
        self.fair_queue.rank_all();
    }

    /// What happens to the destination, and the end of the cooldown of `source`.
    pub fn activity(&self, key: &DestinationKey, source: &Reference, now: Instant) -> QueueActivity {
        match self.entries.get(key).map(|entry| &entry.state) {
            Some(State::Waiting(_)) => QueueActivity::Waiting,
            Some(State::Active { .. }) => QueueActivity::Active,
            Some(State::Cooldown | State::Unclaimed) | None => match self.cooldown(key, source, now) {
                Some((until, _)) => QueueActivity::Cooldown(until),
                None => QueueActivity::Idle,
            },
        }
    }

    /// The number of destinations by state.
    pub fn lengths(&self) -> Lengths {
        self.lengths
    }

    fn enqueue(&mut self, key: &DestinationKey, host: &str, cause: Cause) {
        let ticket = self.fair_queue.push(host, key, cause == Cause::New);
        self.enter(key, State::Waiting(ticket));
        if let Some(entry) = self.entries.get_mut(key) {
            entry.resolve_tag |= cause == Cause::Pass;
        }
    }

    /// Until the first of its sources is due.
    fn enter_cooldown(&mut self, key: &DestinationKey) {
        let Some(entry) = self.entries.get(key) else { return };
        if let Some(until) = entry.failures.values().map(|failed| failed.until).min() {
            self.enter(key, State::Cooldown);
            self.timers.set(key, until);
        }
    }

    fn enter(&mut self, key: &DestinationKey, state: State) {
        self.timers.remove(key);
        self.lengths.add(&state, 1);
        let before = match self.entries.get_mut(key) {
            Some(entry) => Some(std::mem::replace(&mut entry.state, state)),
            None => {
                self.entries.insert(key.clone(), Entry::new(state));
                None
            }
        };
        self.leave(before);
    }

    fn remove(&mut self, key: &DestinationKey) {
        self.timers.remove(key);
        let before = self.entries.remove(key).map(|entry| entry.state);
        self.leave(before);
    }

    fn leave(&mut self, state: Option<State>) {
        let Some(state) = state else { return };
        self.lengths.add(&state, -1);
        match state {
            State::Waiting(ticket) => self.fair_queue.remove(&ticket),
            State::Active { host, .. } => self.fair_queue.complete(&host),
            State::Cooldown | State::Unclaimed => {}
        }
    }
}
