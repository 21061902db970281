//! Which registries answer. One that fails again and again is asked by one copy now and then instead of by all: the
//! others' time would be lost on it.

use std::{collections::HashMap, sync::Arc, time::Duration};

use tokio::time::Instant;

/// So many copies in a row that a registry fails before it counts as failing.
const FAILURES: u32 = 3;

/// The first pause between two attempts at a failing registry; it doubles.
const FIRST_PAUSE: Duration = Duration::from_secs(15);
/// The longest such pause.
const LONGEST_PAUSE: Duration = Duration::from_secs(5 * 60);

/// How many registries are remembered; beyond that those that do not fail are forgotten.
const REMEMBERED: usize = 1024;

/// What is known of registries, by host.
#[derive(Debug, Default)]
pub struct Availability {
    hosts: HashMap<Arc<str>, Host>,
}

#[derive(Debug)]
struct Host {
    /// Copies that it failed since one went well.
    failures: u32,
    /// Pauses since then.
    pauses: u32,
    next_attempt: Option<Instant>,
    /// One copy looks whether it answers again.
    is_attempted: bool,
    error: Arc<str>,
}

impl Host {
    fn new() -> Self {
        Self { failures: 0, pauses: 0, next_attempt: None, is_attempted: false, error: Arc::from("") }
    }
}

/// A registry that is not asked for the time being.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unavailable {
    /// When it is asked again.
    pub until: Instant,
    /// How many copies it failed in a row.
    pub failures: u32,
    /// How the last of them failed.
    pub error: Arc<str>,
}

impl Availability {
    /// How many of `places` copies from a registry may be under way. One of which nothing is known might be silent, and
    /// one that answers leaves room for others.
    pub fn limit(&self, host: &str, places: usize) -> usize {
        let limit = match self.hosts.get(host) {
            None => places / 4,
            Some(host) if host.failures >= FAILURES => 1,
            Some(host) if host.failures > 0 => places / 4,
            Some(_) => places - places / 8,
        };
        limit.max(1)
    }

    /// Whether a copy may ask this registry now. Where it fails, one may now and then, and who gets a yes is that one.
    ///
    /// # Errors
    /// Until when it is left alone, and why.
    pub fn admit(&mut self, host: &str, now: Instant) -> Result<(), Unavailable> {
        let Some(host) = self.hosts.get_mut(host) else { return Ok(()) };
        if host.failures < FAILURES {
            return Ok(());
        }
        if let Some(until) = host.next_attempt.filter(|until| *until > now) {
            return Err(Unavailable { until, failures: host.failures, error: Arc::clone(&host.error) });
        }
        host.next_attempt = Some(now + pause(host.pauses));
        host.is_attempted = true;
        Ok(())
    }

    /// It has answered. Says whether it counted as failing.
    pub fn answered(&mut self, host: &str) -> bool {
        match self.hosts.get_mut(host) {
            Some(host) => std::mem::replace(host, Host::new()).failures >= FAILURES,
            None => {
                self.insert(host);
                false
            }
        }
    }

    /// It did not answer, or not as a registry does. Says when it is asked again, if that counts from now on.
    pub fn failed(&mut self, host: &str, error: &str, now: Instant) -> Option<Instant> {
        if !self.hosts.contains_key(host) {
            self.insert(host);
        }
        let host = self.hosts.get_mut(host)?;
        host.failures = host.failures.saturating_add(1);
        host.error = Arc::from(error);
        let is_first = host.failures == FAILURES;
        // Those that were under way together fail together.
        if is_first || std::mem::take(&mut host.is_attempted) {
            host.next_attempt = Some(now + pause(host.pauses));
            host.pauses = host.pauses.saturating_add(1);
        }
        host.next_attempt.filter(|_| is_first)
    }

    /// Every registry may be asked at once.
    pub fn reset(&mut self) {
        self.hosts.retain(|_, host| host.failures == 0);
    }

    fn insert(&mut self, name: &str) {
        if self.hosts.len() >= REMEMBERED {
            self.hosts.retain(|_, host| host.failures >= FAILURES);
        }
        if self.hosts.len() >= REMEMBERED {
            self.hosts.clear();
        }
        self.hosts.insert(Arc::from(name), Host::new());
    }
}

fn pause(pauses: u32) -> Duration {
    FIRST_PAUSE.saturating_mul(1_u32.checked_shl(pauses).unwrap_or(u32::MAX)).min(LONGEST_PAUSE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_registry_that_fails_in_a_row_is_asked_by_one_copy_now_and_then() {
        let (mut known, mut now) = (Availability::default(), Instant::now());
        assert_eq!((known.limit("a", 12), known.admit("a", now)), (3, Ok(())), "nothing is known of it");
        for failure in 1..=3 {
            assert_eq!(known.failed("a", "silent", now).is_some(), failure == 3);
        }
        known.failed("a", "silent", now);
        assert_eq!(known.limit("a", 12), 1);
        // The first pause is over, and doubles with each attempt that fails.
        for seconds in [15, 30, 60, 120, 240, 300, 300] {
            let until = now + Duration::from_secs(seconds);
            let unavailable = known.admit("a", now).unwrap_err();
            assert_eq!((unavailable.until, &*unavailable.error), (until, "silent"));
            now = until;
            assert_eq!(known.admit("a", now), Ok(()), "one looks whether it answers");
            assert!(known.admit("a", now).is_err(), "the others wait for what it finds");
            // The attempt takes longer than the pause.
            now += Duration::from_secs(600);
            assert_eq!(known.failed("a", "silent", now), None, "told before");
        }
        known.answered("a");
        assert_eq!((known.limit("a", 12), known.admit("a", now)), (11, Ok(())));
        assert_eq!(known.limit("a", 1), 1);
    }

    #[test]
    fn an_answer_between_failures_counts() {
        let (mut known, now) = (Availability::default(), Instant::now());
        for _ in 0..9 {
            known.failed("a", "503", now);
            known.failed("a", "503", now);
            known.answered("a");
        }
        assert_eq!(known.admit("a", now), Ok(()));
    }

    #[test]
    fn what_is_known_has_a_bound_and_a_reset_forgets_failures() {
        let (mut known, now) = (Availability::default(), Instant::now());
        for _ in 0..3 {
            known.failed("down", "refused", now);
        }
        for number in 0..5 * REMEMBERED {
            known.answered(&format!("host-{number}"));
        }
        assert!(known.hosts.len() <= REMEMBERED);
        assert!(known.admit("down", now).is_err());
        known.reset();
        assert_eq!(known.admit("down", now), Ok(()));
    }
}
