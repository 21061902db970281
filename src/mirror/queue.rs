//! Which names are due. A state machine without a clock of its own: whoever calls says what time it is.

use std::{
    collections::{HashMap, VecDeque},
    time::Duration,
};

use tokio::time::Instant;

use crate::model::Retry;

use super::claims::Name;

/// What a name is left alone for after a first failure that may pass by itself; it doubles with each further one.
const FIRST_PAUSE: Duration = Duration::from_secs(60);
/// The longest such pause where no cooldown is configured.
const LONGEST_PAUSE_WITHOUT_COOLDOWN: Duration = Duration::from_secs(16 * 60);

/// The names that wait, are being worked on, or rest after a failure.
#[derive(Debug)]
pub struct Queue {
    cooldown: Option<Duration>,
    waiting: VecDeque<Name>,
    states: HashMap<Name, State>,
}

#[derive(Debug)]
enum State {
    Waiting { failures: u32 },
    Active { failures: u32 },
    Resting { failures: u32, until: Instant, error: String },
}

/// How many names are in which state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lengths {
    /// Due, and waiting for a free place.
    pub waiting: usize,
    /// Being worked on.
    pub active: usize,
    /// Failed, and not due yet.
    pub cooling: usize,
}

/// What became of a wish.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Admission {
    /// It waits for its turn.
    Queued,
    /// It is being worked on just now.
    Active,
    /// It failed before, and is left alone for the time being.
    Cooling {
        /// How much longer.
        left: Duration,
        /// Why it failed.
        error: String,
    },
}

impl Queue {
    /// `cooldown` is how long a failed name is left alone at most; none keeps no such state: then a new wish ends a
    /// pause, and pauses are not told or cleared as cooldowns.
    pub fn new(cooldown: Option<Duration>) -> Self {
        Self { cooldown, waiting: VecDeque::new(), states: HashMap::new() }
    }

    /// Somebody wants this name to be looked at.
    pub fn want(&mut self, name: &Name, now: Instant) -> Admission {
        let failures = match self.states.get(name) {
            None => 0,
            Some(State::Waiting { .. }) => return Admission::Queued,
            Some(State::Active { .. }) => return Admission::Active,
            Some(State::Resting { until, error, .. }) if self.cooldown.is_some() && *until > now => {
                return Admission::Cooling { left: *until - now, error: error.clone() };
            }
            Some(State::Resting { failures, .. }) => *failures,
        };
        self.wait(name, failures);
        Admission::Queued
    }

    /// Whether it waits for its turn or is being worked on.
    pub fn is_due(&self, name: &Name) -> bool {
        matches!(self.states.get(name), Some(State::Waiting { .. } | State::Active { .. }))
    }

    fn wait(&mut self, name: &Name, failures: u32) {
        self.states.insert(name.clone(), State::Waiting { failures });
        self.waiting.push_back(name.clone());
    }

    /// The next name to work on, first come first served.
    pub fn next(&mut self) -> Option<Name> {
        while let Some(name) = self.waiting.pop_front() {
            if let Some(State::Waiting { failures }) = self.states.get(&name) {
                let failures = *failures;
                self.states.insert(name.clone(), State::Active { failures });
                return Some(name);
            }
        }
        None
    }

    /// It is done, and nothing more is to be known of it.
    pub fn succeeded(&mut self, name: &Name) {
        self.states.remove(name);
    }

    /// It failed; answers how long it is left alone.
    pub fn failed(&mut self, name: &Name, error: String, retry: Retry, now: Instant) -> Duration {
        let failures = match self.states.get(name) {
            Some(State::Active { failures } | State::Waiting { failures } | State::Resting { failures, .. }) => {
                *failures
            }
            None => 0,
        };
        let longest = self.cooldown.unwrap_or(LONGEST_PAUSE_WITHOUT_COOLDOWN);
        let doubled = FIRST_PAUSE.saturating_mul(1_u32.checked_shl(failures).unwrap_or(u32::MAX));
        let pause = match (retry, self.cooldown) {
            (Retry::Soon, _) | (Retry::Later, None) => doubled,
            (Retry::After(asked), _) => asked.max(FIRST_PAUSE),
            (Retry::Later, Some(cooldown)) => cooldown,
        }
        .min(longest);
        let state = State::Resting { failures: failures.saturating_add(1), until: now + pause, error };
        self.states.insert(name.clone(), state);
        pause
    }

    /// It was being worked on, and has to be looked at once more.
    pub fn again(&mut self, name: &Name) {
        let failures = match self.states.get(name) {
            Some(State::Active { failures }) => *failures,
            _ => 0,
        };
        self.wait(name, failures);
    }

    /// Nobody wants it any more. What is being worked on is let finish, and a cooldown stays: it does not end because a
    /// workload is made anew.
    pub fn forget(&mut self, name: &Name) {
        if matches!(self.states.get(name), Some(State::Waiting { .. })) {
            self.states.remove(name);
        }
    }

    /// Puts what has rested long enough back in line.
    pub fn wake(&mut self, now: Instant) {
        let due: Vec<(Name, u32)> = self
            .states
            .iter()
            .filter_map(|(name, state)| match state {
                State::Resting { failures, until, .. } if *until <= now => Some((name.clone(), *failures)),
                _ => None,
            })
            .collect();
        for (name, failures) in due {
            self.wait(&name, failures);
        }
    }

    /// When [`Self::wake`] has something to do next.
    pub fn next_wake(&self) -> Option<Instant> {
        self.states
            .values()
            .filter_map(|state| match state {
                State::Resting { until, .. } => Some(*until),
                _ => None,
            })
            .min()
    }

    /// How long a failed name is left alone at most, from the next failure on.
    pub fn set_cooldown(&mut self, cooldown: Option<Duration>) {
        self.cooldown = cooldown;
    }

    /// Ends all cooldowns; answers how many there were, or nothing where none are kept.
    pub fn reset_cooldown(&mut self) -> Option<usize> {
        self.cooldown?;
        let resting: Vec<Name> = self
            .states
            .iter()
            .filter(|(_, state)| matches!(state, State::Resting { .. }))
            .map(|(name, _)| name.clone())
            .collect();
        for name in &resting {
            self.wait(name, 0);
        }
        Some(resting.len())
    }

    /// How many names are in which state.
    pub fn lengths(&self) -> Lengths {
        let mut lengths = Lengths::default();
        for state in self.states.values() {
            match state {
                State::Waiting { .. } => lengths.waiting += 1,
                State::Active { .. } => lengths.active += 1,
                State::Resting { .. } => lengths.cooling += 1,
            }
        }
        lengths
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::model::{Destination, Target, TargetKind};

    const MINUTE: Duration = Duration::from_secs(60);

    fn name(repository: &str) -> Name {
        Name::of(&Destination {
            target: Arc::new(Target {
                name: "default".into(),
                kind: TargetKind::Docker,
                registry: "r.io".into(),
                repo_prefix: String::new(),
            }),
            repository: repository.into(),
            tag: Some("1".into()),
            digest: None,
        })
    }

    fn active(queue: &mut Queue, name: &Name, now: Instant) {
        assert_eq!(queue.want(name, now), Admission::Queued);
        assert_eq!(queue.next().as_ref(), Some(name));
    }

    #[test]
    fn a_name_is_worked_on_once_however_many_want_it() {
        let now = Instant::now();
        let mut queue = Queue::new(Some(60 * MINUTE));
        let a = name("a");
        queue.want(&a, now);
        queue.want(&a, now);
        assert_eq!(queue.next(), Some(a.clone()));
        assert_eq!(queue.want(&a, now), Admission::Active);
        assert_eq!(queue.next(), None);
        queue.succeeded(&a);
        assert_eq!(queue.lengths(), Lengths::default());
    }

    #[test]
    fn what_passes_by_itself_is_tried_after_a_minute_doubling_up_to_the_cooldown() {
        let mut now = Instant::now();
        let mut queue = Queue::new(Some(5 * MINUTE));
        let a = name("a");
        active(&mut queue, &a, now);
        for pause in [1, 2, 4, 5, 5] {
            assert_eq!(queue.failed(&a, "down".into(), Retry::Soon, now), pause * MINUTE);
            assert!(matches!(queue.want(&a, now), Admission::Cooling { .. }), "a new wish does not end it");
            now = queue.next_wake().unwrap();
            queue.wake(now);
            assert_eq!(queue.next(), Some(a.clone()));
        }
    }

    #[test]
    fn what_somebody_must_mend_waits_the_cooldown_out() {
        let now = Instant::now();
        let mut queue = Queue::new(Some(60 * MINUTE));
        let a = name("a");
        active(&mut queue, &a, now);
        assert_eq!(queue.failed(&a, "denied".into(), Retry::Later, now), 60 * MINUTE);
        assert_eq!(queue.want(&a, now), Admission::Cooling { left: 60 * MINUTE, error: "denied".into() });
        assert_eq!(queue.reset_cooldown(), Some(1));
        assert_eq!(queue.next(), Some(a));
        assert_eq!(queue.reset_cooldown(), Some(0));
    }

    #[test]
    fn a_registry_may_ask_for_a_pause_within_the_cooldown() {
        let now = Instant::now();
        let mut queue = Queue::new(Some(60 * MINUTE));
        let a = name("a");
        active(&mut queue, &a, now);
        assert_eq!(queue.failed(&a, "slow down".into(), Retry::After(10 * MINUTE), now), 10 * MINUTE);
        assert_eq!(queue.failed(&a, "slow down".into(), Retry::After(600 * MINUTE), now), 60 * MINUTE);
    }

    #[test]
    fn without_a_cooldown_a_new_wish_ends_a_pause_and_nothing_can_be_reset() {
        let now = Instant::now();
        let mut queue = Queue::new(None);
        let a = name("a");
        active(&mut queue, &a, now);
        assert_eq!(queue.failed(&a, "denied".into(), Retry::Later, now), MINUTE, "it still backs off");
        assert_eq!(queue.reset_cooldown(), None);
        assert_eq!(queue.want(&a, now), Admission::Queued);
    }

    #[test]
    fn a_forgotten_name_does_not_come_up() {
        let now = Instant::now();
        let mut queue = Queue::new(None);
        let (a, b) = (name("a"), name("b"));
        queue.want(&a, now);
        queue.want(&b, now);
        queue.forget(&a);
        assert_eq!(queue.next(), Some(b));
    }
}
