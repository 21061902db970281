//! Which registries answer. A registry that fails repeatedly is tried by one copy at a time, so that the others do not
//! waste their time on it.

use std::{collections::HashMap, sync::Arc, time::Duration};

use tokio::time::Instant;

use crate::model::doubled;

/// After so many failed copies in a row a registry counts as failing.
const FAILURES: u32 = 3;

/// The first pause between two attempts at a failing registry; doubles.
const FIRST_PAUSE: Duration = Duration::from_secs(15);
/// The longest such pause.
const LONGEST_PAUSE: Duration = Duration::from_secs(5 * 60);

/// The number of registries to remember; beyond it those that do not fail are forgotten.
const MAX_HOSTS: usize = 1024;

/// The state of registries, by host.
#[derive(Debug, Default)]
pub struct Availability {
    hosts: HashMap<Arc<str>, RegistryState>,
}

#[derive(Debug)]
struct RegistryState {
    /// Failed copies since the last success.
    failures: u32,
    /// Attempts that failed since then.
    pauses: u32,
    next_attempt: Option<Instant>,
    /// One copy is trying whether it answers again.
    is_trying: bool,
    error: Arc<str>,
}

impl RegistryState {
    fn new() -> Self {
        Self { failures: 0, pauses: 0, next_attempt: None, is_trying: false, error: Arc::from("") }
    }
}

/// A failing registry, and when it is tried next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unavailable {
    /// When it is tried next.
    pub until: Instant,
    /// Failed copies in a row.
    pub failures: u32,
    /// The last failure.
    pub error: Arc<str>,
}

impl Availability {
    /// How many of `max_concurrency` copies may be active from a registry. An unknown registry may not answer at all, and
    /// one that answers leaves some for the others.
    pub fn limit(&self, host: &str, max_concurrency: usize) -> usize {
        let limit = match self.hosts.get(host) {
            None => max_concurrency / 4,
            Some(host) if host.failures >= FAILURES => 1,
            Some(host) if host.failures > 0 => max_concurrency / 4,
            Some(_) => max_concurrency - max_concurrency / 8,
        };
        limit.max(1)
    }

    /// Whether a copy may send requests to this registry now. A failing registry admits one copy after each pause.
    ///
    /// # Errors
    /// When it is tried next, and its last failure.
    pub fn admit(&mut self, host: &str, now: Instant) -> Result<(), Unavailable> {
        let Some(host) = self.hosts.get_mut(host) else { return Ok(()) };
        if host.failures < FAILURES {
            return Ok(());
        }
        if let Some(until) = host.next_attempt.filter(|until| *until > now) {
            return Err(Unavailable { until, failures: host.failures, error: Arc::clone(&host.error) });
        }
        host.next_attempt = Some(now + doubled(FIRST_PAUSE, host.pauses, LONGEST_PAUSE));
        host.is_trying = true;
        Ok(())
    }

    /// Records an answer. Returns whether the registry counted as failing.
    pub fn answered(&mut self, host: &str) -> bool {
        match self.hosts.get_mut(host) {
            Some(host) => std::mem::replace(host, RegistryState::new()).failures >= FAILURES,
            None => {
                self.insert(host);
                false
            }
        }
    }

    /// Records a failure. Returns when the registry is tried next, if it counts as failing from now on.
    pub fn failed(&mut self, host: &str, error: &str, now: Instant) -> Option<Instant> {
        if !self.hosts.contains_key(host) {
            self.insert(host);
        }
        let host = self.hosts.get_mut(host)?;
        host.failures = host.failures.saturating_add(1);
        host.error = Arc::from(error);
        let is_first = host.failures == FAILURES;
        // Copies that were active together fail together.
        if is_first || std::mem::take(&mut host.is_trying) {
            host.next_attempt = Some(now + doubled(FIRST_PAUSE, host.pauses, LONGEST_PAUSE));
            host.pauses = host.pauses.saturating_add(1);
        }
        host.next_attempt.filter(|_| is_first)
    }

    /// Records that a copy failed although the registry answers otherwise: it gets fewer copies, but does not count as
    /// failing.
    pub fn failed_for_one_image(&mut self, host: &str) {
        if !self.hosts.contains_key(host) {
            self.insert(host);
        }
        if let Some(host) = self.hosts.get_mut(host) {
            *host =
                RegistryState { failures: host.failures.saturating_add(1).min(FAILURES - 1), ..RegistryState::new() };
        }
    }

    /// Forgets all failures.
    pub fn reset(&mut self) {
        self.hosts.retain(|_, host| host.failures == 0);
    }

    fn insert(&mut self, name: &str) {
        if self.hosts.len() >= MAX_HOSTS {
            self.hosts.retain(|_, host| host.failures >= FAILURES);
        }
        if self.hosts.len() >= MAX_HOSTS {
            self.hosts.clear();
        }
        self.hosts.insert(Arc::from(name), RegistryState::new());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failing_registry_is_tried_by_one_copy_after_each_pause() {
        let (mut registries, mut now) = (Availability::default(), Instant::now());
        assert_eq!((registries.limit("a", 12), registries.admit("a", now)), (3, Ok(())), "it is unknown");
        for failure in 1..=3 {
            assert_eq!(registries.failed("a", "silent", now).is_some(), failure == 3);
        }
        registries.failed("a", "silent", now);
        assert_eq!(registries.limit("a", 12), 1);
        // The first pause is over, and doubles with each attempt that fails.
        for seconds in [15, 30, 60, 120, 240, 300, 300] {
            let until = now + Duration::from_secs(seconds);
            let unavailable = registries.admit("a", now).unwrap_err();
            assert_eq!((unavailable.until, &*unavailable.error), (until, "silent"));
            now = until;
            assert_eq!(registries.admit("a", now), Ok(()), "one copy tries it");
            assert!(registries.admit("a", now).is_err(), "the others wait for its result");
            // The attempt takes longer than the pause.
            now += Duration::from_secs(600);
            assert_eq!(registries.failed("a", "silent", now), None, "already reported");
        }
        registries.answered("a");
        assert_eq!((registries.limit("a", 12), registries.admit("a", now)), (11, Ok(())));
        assert_eq!(registries.limit("a", 1), 1);
    }

    #[test]
    fn a_registry_that_answers_otherwise_is_not_failing() {
        let (mut registries, now) = (Availability::default(), Instant::now());
        for _ in 0..9 {
            registries.failed_for_one_image("a");
            assert_eq!((registries.limit("a", 12), registries.admit("a", now)), (3, Ok(())));
        }
        for _ in 0..3 {
            registries.failed("b", "refused", now);
        }
        assert!(registries.admit("b", now).is_err());
        registries.failed_for_one_image("b");
        assert_eq!(registries.admit("b", now), Ok(()));
    }

    #[test]
    fn an_answer_resets_the_failures() {
        let (mut registries, now) = (Availability::default(), Instant::now());
        for _ in 0..9 {
            registries.failed("a", "503", now);
            registries.failed("a", "503", now);
            registries.answered("a");
        }
        assert_eq!(registries.admit("a", now), Ok(()));
    }

    #[test]
    fn hosts_are_bounded_and_a_reset_forgets_failures() {
        let (mut registries, now) = (Availability::default(), Instant::now());
        for _ in 0..3 {
            registries.failed("down", "refused", now);
        }
        for number in 0..5 * MAX_HOSTS {
            registries.answered(&format!("host-{number}"));
        }
        assert!(registries.hosts.len() <= MAX_HOSTS);
        assert!(registries.admit("down", now).is_err());
        registries.reset();
        assert_eq!(registries.admit("down", now), Ok(()));
    }
}
