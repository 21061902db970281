//! The content of a Lease and what a candidate does about it: the rules of client-go's leader election. kubert's are not
//! used, because they trust the clocks of other machines.

use std::time::{Duration, Instant};

use k8s_openapi::{
    api::coordination::v1::LeaseSpec,
    apimachinery::pkg::apis::meta::v1::MicroTime,
    jiff::{Timestamp, Unit},
};

/// How long a holder keeps the Lease without renewing it.
pub(super) const LEASE_DURATION: Duration = Duration::from_secs(15);
/// How long a leader that cannot renew the Lease may start new work.
pub(super) const RENEW_DEADLINE: Duration = Duration::from_secs(10);
/// The pause between attempts.
pub(super) const RETRY_PERIOD: Duration = Duration::from_secs(2);

/// The last observed Lease, and since when it is unchanged. Clocks of other machines are not used: a Lease has expired when
/// it stayed unchanged for its duration by the local clock.
#[derive(Clone, Debug)]
pub(super) struct Observed {
    spec: LeaseSpec,
    since: Instant,
    /// The time of the last read.
    seen: Instant,
}

impl Observed {
    /// The observation after the Lease was read as `spec`.
    ///
    /// After a long gap between reads the duration starts again: nobody knows whether the Lease was renewed, and its holder
    /// could not renew it either. So an outage of the API server does not change the leader.
    pub fn update(before: Option<Self>, spec: LeaseSpec, now: Instant) -> Self {
        match before {
            Some(before) if before.spec == spec && now.saturating_duration_since(before.seen) <= RENEW_DEADLINE => {
                Self { seen: now, ..before }
            }
            _ => Self { spec, since: now, seen: now },
        }
    }
}

/// The next step of a candidate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Action {
    /// This candidate holds the Lease.
    Renew,
    /// The Lease is free or expired.
    Take,
    /// Another candidate holds it.
    Wait,
}

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

/// The Lease after `identity` has taken or renewed it; `before` is none if there was no Lease.
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

/// The Lease after its release: free, and expired after 1 s for clients that check only the duration.
pub(super) fn released(before: &LeaseSpec, now: Timestamp) -> LeaseSpec {
    LeaseSpec {
        holder_identity: Some(String::new()),
        lease_duration_seconds: Some(1),
        acquire_time: Some(micro_time(now)),
        renew_time: Some(micro_time(now)),
        ..before.clone()
    }
}

/// The API accepts at most six fractional digits.
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
    fn a_lease_is_taken_when_free_or_expired() {
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
    fn expiry_counts_from_the_last_change_and_ignores_the_holders_clock() {
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
    fn an_outage_of_the_api_server_restarts_the_expiry() {
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
    fn a_renewal_keeps_the_acquire_time_and_a_takeover_increments_transitions() {
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
    fn a_released_lease_can_be_taken_at_once() {
        let now = Timestamp::UNIX_EPOCH;
        let released = released(&held(None, "me", now), now);
        let start = Instant::now();
        assert_eq!(next(&Observed::update(None, released.clone(), start), "other", start), Action::Take);
        assert_eq!(held(Some(&released), "other", now).lease_transitions, Some(1));
    }
}
