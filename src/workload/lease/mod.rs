//! Who leads among replicas: whoever holds the Lease.
//!
//! The Lease is replaced under its resourceVersion, so that of two that write at once one is refused.

mod record;

use std::time::{Duration, Instant};

use k8s_openapi::{
    api::coordination::v1::{Lease, LeaseSpec},
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
    jiff::Timestamp,
};
use kube::{Api, Client, api::PostParams};
use record::{Action, Observed, RENEW_DEADLINE, RETRY_PERIOD};
use tokio::{task::JoinHandle, time::timeout};
use tokio_util::sync::CancellationToken;

use super::client::describe;

/// The name that the Go program's replicas know.
const NAME: &str = "k8s-copycat.k8s-copycat";

/// How long one request may take; two of them fit into the renew deadline.
const REQUEST_DEADLINE: Duration = Duration::from_secs(4);

/// A Lease that could not be read or written. Trying again can help unless a right is missing.
#[derive(Debug, thiserror::Error)]
pub enum LeaseError {
    /// The API server refused, or could not be reached.
    #[error("cannot {action} lease {namespace}/{NAME}: {}{}", describe(source), remedy(source))]
    Api {
        /// `read`, `create` or `replace`.
        action: &'static str,
        /// The Lease's namespace.
        namespace: String,
        /// What the client says.
        source: Box<kube::Error>,
    },
    /// The API server did not answer in time.
    #[error("cannot {action} lease {namespace}/{NAME}: the API server did not answer within {} s", REQUEST_DEADLINE.as_secs())]
    Deadline {
        /// `read`, `create` or `replace`.
        action: &'static str,
        /// The Lease's namespace.
        namespace: String,
    },
}

fn remedy(error: &kube::Error) -> &'static str {
    match error {
        kube::Error::Api(status) if status.is_forbidden() => {
            "; grant get, create and update on leases (API group coordination.k8s.io) by a Role in that namespace"
        }
        _ => "",
    }
}

impl LeaseError {
    /// Whether somebody else wrote first.
    fn is_lost_race(&self) -> bool {
        match self {
            Self::Api { source, .. } => {
                matches!(source.as_ref(), kube::Error::Api(status) if status.is_conflict() || status.is_already_exists())
            }
            Self::Deadline { .. } => false,
        }
    }
}

/// What came of trying to hold the Lease.
enum Attempt {
    /// It is ours.
    Held,
    /// It is another's.
    Taken,
    /// Somebody wrote it between our reading and writing; who, the next attempt will tell.
    Raced,
}

/// A candidate for leadership.
#[derive(Clone)]
pub struct Election {
    api: Api<Lease>,
    namespace: String,
    identity: String,
}

impl Election {
    /// A candidate for the Lease `k8s-copycat.k8s-copycat` in that namespace. `host` is what people know this replica
    /// by, in a cluster the Pod's name; the identity adds something random, so that a restarted replica is another
    /// candidate.
    pub fn new(client: Client, namespace: &str, host: &str) -> Self {
        let random = fastrand::u64(..);
        Self {
            api: Api::namespaced(client, namespace),
            namespace: namespace.to_owned(),
            identity: format!("{host}_{random:016x}"),
        }
    }

    /// What stands in the Lease when this candidate holds it.
    pub fn identity(&self) -> &str {
        &self.identity
    }

    /// Waits until this candidate leads, for ever if need be; what hinders it is logged and tried again.
    pub async fn campaign(&self) -> Leadership {
        let mut observed = None;
        let mut told = None;
        loop {
            let asked = Instant::now();
            match self.attempt(&mut observed).await {
                Ok(Attempt::Held) => {
                    tracing::info!(identity = self.identity, "leading");
                    return Leadership::start(self.clone(), asked);
                }
                Ok(Attempt::Taken | Attempt::Raced) => told = None,
                Err(error) => {
                    let text = error.to_string();
                    if told.as_ref() != Some(&text) {
                        tracing::warn!(error = text, "cannot run for leadership; trying again");
                    }
                    told = Some(text);
                }
            }
            // Candidates that started together must not ask together for ever.
            tokio::time::sleep(RETRY_PERIOD.mul_f64(1.0 + 0.2 * fastrand::f64())).await;
        }
    }

    /// Takes or renews the Lease if that is ours to do.
    async fn attempt(&self, observed: &mut Option<Observed>) -> Result<Attempt, LeaseError> {
        let Some(lease) = self.read().await? else {
            let spec = record::held(None, &self.identity, Timestamp::now());
            let metadata = ObjectMeta { name: Some(NAME.to_owned()), ..ObjectMeta::default() };
            return self.write(Lease { metadata, spec: Some(spec) }).await;
        };
        let before = lease.spec.clone().unwrap_or_default();
        let now = Instant::now();
        let seen = Observed::update(observed.take(), before.clone(), now);
        let seen = observed.insert(seen);
        match record::next(seen, &self.identity, now) {
            Action::Wait => Ok(Attempt::Taken),
            Action::Renew | Action::Take => {
                let spec = record::held(Some(&before), &self.identity, Timestamp::now());
                self.write(Lease { spec: Some(spec), ..lease }).await
            }
        }
    }

    /// Frees the Lease if it is ours.
    async fn release(&self) -> Result<(), LeaseError> {
        // A renewal that was given up may still arrive between reading and writing, but only one.
        for _ in 0..2 {
            let Some(lease) = self.read().await? else { return Ok(()) };
            let before: LeaseSpec = lease.spec.clone().unwrap_or_default();
            if before.holder_identity.as_deref() != Some(&self.identity) {
                return Ok(());
            }
            let spec = record::released(&before, Timestamp::now());
            if matches!(self.write(Lease { spec: Some(spec), ..lease }).await?, Attempt::Held) {
                return Ok(());
            }
        }
        Ok(())
    }

    async fn read(&self) -> Result<Option<Lease>, LeaseError> {
        self.request("read", self.api.get_opt(NAME)).await
    }

    async fn write(&self, lease: Lease) -> Result<Attempt, LeaseError> {
        let params = PostParams::default();
        let written = if lease.metadata.resource_version.is_some() {
            self.request("replace", self.api.replace(NAME, &params, &lease)).await
        } else {
            self.request("create", self.api.create(&params, &lease)).await
        };
        match written {
            Ok(_) => Ok(Attempt::Held),
            Err(error) if error.is_lost_race() => Ok(Attempt::Raced),
            Err(error) => Err(error),
        }
    }

    async fn request<T>(
        &self,
        action: &'static str,
        request: impl Future<Output = kube::Result<T>>,
    ) -> Result<T, LeaseError> {
        let namespace = || self.namespace.clone();
        match timeout(REQUEST_DEADLINE, request).await {
            Ok(answer) => {
                answer.map_err(|source| LeaseError::Api { action, namespace: namespace(), source: Box::new(source) })
            }
            Err(_) => Err(LeaseError::Deadline { action, namespace: namespace() }),
        }
    }
}

/// The Lease is held, and renewed until this is released or dropped. Dropped without release it runs out by itself.
pub struct Leadership {
    election: Election,
    lost: CancellationToken,
    stop: CancellationToken,
    renewal: JoinHandle<()>,
}

impl Leadership {
    fn start(election: Election, held_since: Instant) -> Self {
        let (lost, stop) = (CancellationToken::new(), CancellationToken::new());
        let renewal = tokio::spawn({
            let (election, lost, stop) = (election.clone(), lost.clone(), stop.clone());
            async move {
                // A request that is under way is given up with the rest: releasing reads the Lease anew.
                if let Some(why) = stop.run_until_cancelled(renew(&election, held_since)).await {
                    tracing::error!(identity = election.identity, why, "not leading any more");
                    lost.cancel();
                }
            }
        });
        Self { election, lost, stop, renewal }
    }

    /// Cancelled when the Lease was lost: another holds it, or it could not be renewed for 10 s. Then nothing may be
    /// mirrored any more; another replica starts 5 s later.
    pub fn lost(&self) -> CancellationToken {
        self.lost.clone()
    }

    /// Gives the Lease up, so that another replica leads as soon as it asks, within 2.4 s. Takes 16 s at most, when the
    /// API server does not answer.
    pub async fn release(mut self) -> Result<(), LeaseError> {
        self.stop.cancel();
        // It ends at once; that it panicked, which it can't, would change nothing here.
        let _ended = (&mut self.renewal).await;
        self.election.release().await
    }
}

impl Drop for Leadership {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// Renews for as long as that works; returns why it does not.
async fn renew(election: &Election, held_since: Instant) -> &'static str {
    let mut renewed = held_since;
    let mut observed = None;
    loop {
        tokio::time::sleep(RETRY_PERIOD).await;
        let asked = Instant::now();
        let left = (renewed + RENEW_DEADLINE).saturating_duration_since(asked);
        match timeout(left, election.attempt(&mut observed)).await {
            // It counts from the question: the answer may have come late.
            Ok(Ok(Attempt::Held)) => renewed = asked,
            Ok(Ok(Attempt::Raced)) => {}
            Ok(Ok(Attempt::Taken)) => return "another replica holds the lease",
            Ok(Err(error)) => tracing::warn!(%error, "the lease could not be renewed; trying again"),
            Err(_) => return "the lease could not be renewed in time",
        }
        if renewed.elapsed() >= RENEW_DEADLINE {
            return "the lease could not be renewed in time";
        }
    }
}
