//! What a Lease says, and what follows for a candidate; the rules of client-go's leader election.

use std::time::{Duration, Instant};

use k8s_openapi::{
    api::coordination::v1::LeaseSpec,
    apimachinery::pkg::apis::meta::v1::MicroTime,
    jiff::{Timestamp, Unit},
};

/// How long a holder that does not renew stays the holder.
pub(super) const LEASE_DURATION: Duration = Duration::from_secs(15);
/// How long a leader that can't renew begins anything new.
pub(super) const RENEW_DEADLINE: Duration = Duration::from_secs(10);
/// From one try to the next.
pub(super) const RETRY_PERIOD: Duration = Duration::from_secs(2);

/// A Lease as it was last seen, and since when it has not changed. Clocks of other machines are not asked: a holder is
/// gone when its Lease stayed the same for its duration on our own clock.
#[derive(Clone, Debug)]
pub(super) struct Observed {
    spec: LeaseSpec,
    since: Instant,
    /// When it was read last.
    seen: Instant,
}

impl Observed {
    /// What is known after the Lease was seen as `spec`, given what was known before.
    /// Who could not read it for long does not know that it was not renewed, and a holder could not renew it either: its
    /// time starts anew then, so that an outage of the API server changes no leader.
    pub fn update(before: Option<Self>, spec: LeaseSpec, now: Instant) -> Self {
        match before {
            Some(before) if before.spec == spec && now.saturating_duration_since(before.seen) <= RENEW_DEADLINE => {
                Self { seen: now, ..before }
            }
            _ => Self { spec, since: now, seen: now },
        }
    }
}

/// What a candidate does next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Action {
    /// It is ours: say so again.
    Renew,
    /// It is nobody's, or its holder is gone.
    Take,
    /// It is another's.
    Wait,
}

/// What `identity` does about a Lease that was observed so.
pub(super) fn next(observed: &Observed, identity: &str, now: Instant) -> Action {
    let spec = &observed.spec;
    match spec.holder_identity.as_deref() {
        None | Some("") => Action::Take,
        Some(holder) if holder == identity => Action::Renew,
        Some(_) => {
            let seconds = spec.lease_duration_seconds.and_then(|seconds| u64::try_from(seconds).ok());
            let duration = seconds.map_or(LEASE_DURATION, Duration::from_secs);
            if now.saturating_duration_since(observed.since) >= duration { Action::Take } else { Action::Wait }
        }
    }
}

/// The Lease after `identity` has taken or renewed it; `before` is none where there was no Lease.
pub(super) fn held(before: Option<&LeaseSpec>, identity: &str, now: Timestamp) -> LeaseSpec {
    let is_renewal = before.is_some_and(|before| before.holder_identity.as_deref() == Some(identity));
    let transitions = before.map(|before| {
        let so_far = before.lease_transitions.unwrap_or(0);
        if is_renewal { so_far } else { so_far.saturating_add(1) }
    });
    let acquired = before.filter(|_| is_renewal).and_then(|before| before.acquire_time.clone());
    LeaseSpec {
        holder_identity: Some(identity.to_owned()),
        lease_duration_seconds: i32::try_from(LEASE_DURATION.as_secs()).ok(),
        acquire_time: Some(acquired.unwrap_or_else(|| micro_time(now))),
        renew_time: Some(micro_time(now)),
        lease_transitions: Some(transitions.unwrap_or(0)),
        ..before.cloned().unwrap_or_default()
    }
}

/// The Lease after its holder has given it up: free, and for clients that look at the duration first, over in 1 s.
pub(super) fn released(before: &LeaseSpec, now: Timestamp) -> LeaseSpec {
    LeaseSpec {
        holder_identity: Some(String::new()),
        lease_duration_seconds: Some(1),
        acquire_time: Some(micro_time(now)),
        renew_time: Some(micro_time(now)),
        ..before.clone()
    }
}

/// The API takes six digits after the second, no more.
fn micro_time(now: Timestamp) -> MicroTime {
    MicroTime(now.round(Unit::Microsecond).unwrap_or(now))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lease(holder: Option<&str>, seconds: Option<i32>) -> LeaseSpec {
        LeaseSpec {
            holder_identity: holder.map(str::to_owned),
            lease_duration_seconds: seconds,
            renew_time: Some(micro_time(Timestamp::UNIX_EPOCH)),
            ..LeaseSpec::default()
        }
    }

    #[test]
    fn a_lease_is_taken_when_it_is_free_or_has_not_changed_for_its_duration() {
        let start = Instant::now();
        for (holder, seconds, age, action) in [
            (None, None, 0, Action::Take),
            (Some(""), Some(1), 0, Action::Take),
            (Some("me"), Some(15), 0, Action::Renew),
            (Some("me"), Some(15), 100, Action::Renew),
            (Some("other"), Some(15), 0, Action::Wait),
            (Some("other"), Some(15), 14, Action::Wait),
            (Some("other"), Some(15), 15, Action::Take),
            (Some("other"), Some(60), 15, Action::Wait),
            (Some("other"), None, 14, Action::Wait),
            (Some("other"), None, 15, Action::Take),
            (Some("other"), Some(-1), 14, Action::Wait),
        ] {
            let observed = Observed::update(None, lease(holder, seconds), start);
            let now = start + Duration::from_secs(age);
            assert_eq!(next(&observed, "me", now), action, "{holder:?} {seconds:?} after {age} s");
        }
    }

    #[test]
    fn only_a_change_of_the_lease_starts_its_time_anew_and_not_what_its_clock_says() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let first = Observed::update(None, lease(Some("other"), Some(15)), start);
        let same = Observed::update(Some(first.clone()), lease(Some("other"), Some(15)), at(10));
        assert_eq!(next(&same, "me", at(15)), Action::Take);
        // Renewed by a machine whose clock is decades behind.
        let mut renewed = lease(Some("other"), Some(15));
        renewed.renew_time = Some(micro_time("1970-01-01T00:00:09Z".parse().unwrap()));
        let changed = Observed::update(Some(first), renewed, at(10));
        assert_eq!(next(&changed, "me", at(24)), Action::Wait);
        assert_eq!(next(&changed, "me", at(25)), Action::Take);
    }

    #[test]
    fn who_could_not_read_a_lease_counts_its_time_anew() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let read = |before, seconds| Observed::update(before, lease(Some("other"), Some(15)), at(seconds));
        let often = [5, 10, 15].into_iter().fold(read(None, 0), |before, seconds| read(Some(before), seconds));
        assert_eq!(next(&often, "me", at(15)), Action::Take);
        let after_an_outage = read(Some(read(None, 0)), 60);
        assert_eq!(next(&after_an_outage, "me", at(60)), Action::Wait, "the holder could not renew it either");
        let then = read(Some(read(Some(after_an_outage), 68)), 75);
        assert_eq!(next(&then, "me", at(75)), Action::Take);
    }

    #[test]
    fn a_renewal_keeps_and_a_take_over_counts() {
        let early: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
        let later: Timestamp = "2026-01-01T00:00:02.123456789Z".parse().unwrap();
        let first = held(None, "me", early);
        assert_eq!((first.lease_transitions, first.lease_duration_seconds), (Some(0), Some(15)));
        let renewed = held(Some(&first), "me", later);
        assert_eq!(renewed.acquire_time, first.acquire_time);
        assert_eq!(renewed.lease_transitions, Some(0));
        let json = serde_json::to_value(&renewed).unwrap();
        assert_eq!(json["renewTime"], "2026-01-01T00:00:02.123457Z");
        let taken = held(Some(&renewed), "other", later);
        assert_eq!((taken.lease_transitions, taken.holder_identity.as_deref()), (Some(1), Some("other")));
        assert_eq!(taken.acquire_time, taken.renew_time);
    }

    #[test]
    fn a_released_lease_is_free_for_the_next() {
        let now = Timestamp::UNIX_EPOCH;
        let released = released(&held(None, "me", now), now);
        let start = Instant::now();
        assert_eq!(next(&Observed::update(None, released.clone(), start), "other", start), Action::Take);
        assert_eq!(held(Some(&released), "other", now).lease_transitions, Some(1));
    }
}
