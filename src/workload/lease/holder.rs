//! Who holds the Lease, for people.

use std::time::Duration;

use k8s_openapi::{
    api::coordination::v1::{Lease, LeaseSpec},
    jiff::Timestamp,
};
use kube::{Api, Client};
use tokio::time::timeout;

use super::{LeaseError, NAME, REQUEST_DEADLINE, record::LEASE_DURATION};

/// The holder of the Lease.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeaseHolder {
    /// `holderIdentity`: the Pod's name, `_` and a random number.
    pub identity: String,
    /// The time since its last renewal by this machine's clock; none if it never renewed it.
    pub renewed: Option<Duration>,
    /// Whether the Lease has run out by this machine's clock.
    pub expired: bool,
}

/// Who holds the Lease in `namespace`; none if it is free, or does not exist. One request, of at most 4 s.
///
/// # Errors
/// When the Lease can't be read.
pub async fn lease_holder(client: &Client, namespace: &str) -> Result<Option<LeaseHolder>, LeaseError> {
    let api: Api<Lease> = Api::namespaced(client.clone(), namespace);
    let lease = match timeout(REQUEST_DEADLINE, api.get_opt(NAME)).await {
        Ok(Ok(lease)) => lease,
        Ok(Err(error)) => {
            return Err(LeaseError::Api { action: "read", namespace: namespace.to_owned(), error: Box::new(error) });
        }
        Err(_) => return Err(LeaseError::Deadline { action: "read", namespace: namespace.to_owned() }),
    };
    Ok(lease.and_then(|lease| lease.spec).and_then(|spec| holder(spec, Timestamp::now())))
}

fn holder(spec: LeaseSpec, now: Timestamp) -> Option<LeaseHolder> {
    let identity = spec.holder_identity.filter(|identity| !identity.is_empty())?;
    let seconds = spec.lease_duration_seconds.and_then(|seconds| u64::try_from(seconds).ok());
    let duration = seconds.map_or(LEASE_DURATION, Duration::from_secs);
    // A clock that is behind the holder's counts as now.
    let renewed = spec.renew_time.map(|renewed| Duration::try_from(now.duration_since(renewed.0)).unwrap_or_default());
    let expired = renewed.is_none_or(|renewed| renewed > duration);
    Some(LeaseHolder { identity, renewed, expired })
}

#[cfg(test)]
mod tests {
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;

    use super::*;

    fn spec(holder: &str, renewed: Option<i64>) -> LeaseSpec {
        LeaseSpec {
            holder_identity: Some(holder.to_owned()),
            lease_duration_seconds: Some(15),
            renew_time: renewed.map(|second| MicroTime(Timestamp::from_second(second).unwrap())),
            ..LeaseSpec::default()
        }
    }

    #[test]
    fn a_lease_is_held_until_its_duration_is_over() {
        let now = Timestamp::from_second(1_000).unwrap();
        let at = |renewed| holder(spec("pod-1_a", renewed), now).map(|holder| (holder.renewed, holder.expired));
        let seconds = |seconds| Some(Duration::from_secs(seconds));
        assert_eq!(at(Some(998)), Some((seconds(2), false)));
        assert_eq!(at(Some(984)), Some((seconds(16), true)));
        assert_eq!(at(Some(1_005)), Some((seconds(0), false)), "the holder's clock is ahead");
        assert_eq!(at(None), Some((None, true)));
        assert_eq!(holder(spec("", Some(999)), now), None, "released");
    }
}
