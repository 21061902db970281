//! Leader election: the replica that holds the Lease leads.
//!
//! The Lease is replaced with its resourceVersion, so one of two concurrent writes is rejected.

mod holder;
mod record;

use std::{
    pin::pin,
    sync::Arc,
    time::{Duration, Instant},
};

use k8s_openapi::{
    api::coordination::v1::{Lease, LeaseSpec},
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
    jiff::Timestamp,
};
use kube::{Api, Client, api::PostParams};
use record::{Action, Observed, RENEW_DEADLINE, RETRY_PERIOD};
use tokio::{
    sync::watch,
    task::JoinHandle,
    time::{sleep, sleep_until, timeout},
};
use tokio_util::sync::CancellationToken;

use super::client::describe;

pub use holder::{LeaseHolder, lease_holder};

/// The name that replicas of the original Go program use.
const NAME: &str = "k8s-copycat.k8s-copycat";

/// The deadline of one request; two fit into the renew deadline.
const REQUEST_DEADLINE: Duration = Duration::from_secs(4);

/// A renewal failure that lasts is logged again after this long.
const REMINDER: Duration = Duration::from_secs(300);

/// The Lease could not be read or written. A retry can help unless a permission is missing.
#[derive(Debug, thiserror::Error)]
pub enum LeaseError {
    /// The API server rejected the request, or could not be reached.
    #[error("cannot {action} lease {namespace}/{NAME}: {}{}", describe(error), remedy(error))]
    Api {
        /// `read`, `create` or `replace`.
        action: &'static str,
        /// The Lease's namespace.
        namespace: String,
        /// The client's error.
        error: Box<kube::Error>,
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
            "; grant get, create and update on leases (API group coordination.k8s.io) with a Role in that namespace"
        }
        _ => "",
    }
}

impl LeaseError {
    /// Whether another replica wrote first.
    fn is_lost_race(&self) -> bool {
        match self {
            Self::Api { error, .. } => {
                matches!(error.as_ref(), kube::Error::Api(status) if status.is_conflict() || status.is_already_exists())
            }
            Self::Deadline { .. } => false,
        }
    }
}

/// The result of an attempt to acquire or renew the Lease.
enum Attempt {
    /// This replica holds it.
    Held,
    /// Another replica holds it.
    Taken,
    /// Another replica wrote it between our read and our write; the next attempt shows which.
    Raced,
}

/// A candidate for leadership.
#[derive(Clone)]
pub struct Election {
    api: Api<Lease>,
    namespace: String,
    identity: String,
    holder: Arc<watch::Sender<Option<String>>>,
}

impl Election {
    /// A candidate for the Lease `k8s-copycat.k8s-copycat` in `namespace`. The identity is `host` (in a cluster, the Pod's
    /// name) and a random suffix, so that a restarted replica is another candidate.
    pub fn new(client: Client, namespace: &str, host: &str) -> Self {
        let random = fastrand::u64(..);
        Self {
            api: Api::namespaced(client, namespace),
            namespace: namespace.to_owned(),
            identity: format!("{host}_{random:016x}"),
            holder: Arc::default(),
        }
    }

    /// The `holderIdentity` of the Lease when it was last read; none before that, and if nobody holds it.
    pub fn holder(&self) -> watch::Receiver<Option<String>> {
        self.holder.subscribe()
    }

    /// The `holderIdentity` of this candidate.
    pub fn identity(&self) -> &str {
        &self.identity
    }

    /// Waits until this candidate leads. Errors are logged and retried.
    pub async fn campaign(&self) -> Leadership {
        let mut observed = None;
        let mut last_logged = None;
        loop {
            let requested = Instant::now();
            match self.attempt(&mut observed).await {
                Ok(Attempt::Held) => {
                    tracing::info!(identity = self.identity, "became the leader");
                    return Leadership::start(self.clone(), requested);
                }
                Ok(Attempt::Taken | Attempt::Raced) => last_logged = None,
                Err(error) => {
                    let text = error.to_string();
                    if last_logged.as_ref() != Some(&text) {
                        tracing::warn!(error = text, "cannot acquire the lease; retrying");
                    }
                    last_logged = Some(text);
                }
            }
            // Spreads the requests of candidates that started together.
            sleep(RETRY_PERIOD.mul_f64(1.0 + 0.2 * fastrand::f64())).await;
        }
    }

    /// Acquires or renews the Lease if this replica may.
    async fn attempt(&self, observed: &mut Option<Observed>) -> Result<Attempt, LeaseError> {
        let Some(lease) = self.read().await? else {
            let spec = record::held(None, &self.identity, Timestamp::now());
            let metadata = ObjectMeta { name: Some(NAME.to_owned()), ..ObjectMeta::default() };
            return self.write(Lease { metadata, spec: Some(spec) }).await;
        };
        let before = lease.spec.clone().unwrap_or_default();
        self.holder.send_replace(before.holder_identity.clone().filter(|holder| !holder.is_empty()));
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

    /// Releases the Lease if this replica holds it.
    async fn release(&self) -> Result<(), LeaseError> {
        // An abandoned renewal may still arrive between read and write, but only one.
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
            Ok(_) => {
                self.holder.send_replace(Some(self.identity.clone()));
                Ok(Attempt::Held)
            }
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
                answer.map_err(|error| LeaseError::Api { action, namespace: namespace(), error: Box::new(error) })
            }
            Err(_) => Err(LeaseError::Deadline { action, namespace: namespace() }),
        }
    }
}

/// Whether the leader may start new work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LeaseState {
    /// The Lease is renewed in time.
    Held,
    /// It could not be renewed for 10 s, and 5 s later another replica may take it: start nothing new. Renewal is retried;
    /// the state returns to `Held` unless another replica has taken the Lease.
    Overdue,
    /// Another replica holds it. The last state.
    Lost,
}

/// A held Lease. It is renewed until this is released or dropped; after a drop without release it expires.
pub struct Leadership {
    election: Election,
    state: watch::Receiver<LeaseState>,
    stop: CancellationToken,
    renewal: JoinHandle<()>,
}

impl Leadership {
    fn start(election: Election, held_since: Instant) -> Self {
        let stop = CancellationToken::new();
        let (sender, state) = watch::channel(LeaseState::Held);
        let renewal = tokio::spawn({
            let (election, stop) = (election.clone(), stop.clone());
            async move {
                // A running request is abandoned too: releasing reads the Lease again.
                if stop.run_until_cancelled(renew(&election, held_since, &sender)).await.is_some() {
                    tracing::error!(identity = election.identity, "leadership lost: another replica holds the lease");
                    sender.send_replace(LeaseState::Lost);
                }
            }
        });
        Self { election, state, stop, renewal }
    }

    /// The state of the Lease, and its changes.
    pub fn state(&self) -> watch::Receiver<LeaseState> {
        self.state.clone()
    }

    /// Releases the Lease, so that another replica can take it at its next attempt, within 2.4 s. Takes at most 16 s, if the
    /// API server does not answer.
    pub async fn release(mut self) -> Result<(), LeaseError> {
        self.stop.cancel();
        // It ends at once; a panic would change nothing here.
        let _ended = (&mut self.renewal).await;
        self.election.release().await
    }
}

impl Drop for Leadership {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// Renews until another replica holds the Lease.
async fn renew(election: &Election, held_since: Instant, state: &watch::Sender<LeaseState>) {
    let mut renewed = held_since;
    let mut observed = None;
    let mut last_logged: Option<(String, Instant)> = None;
    loop {
        let next = async {
            sleep(RETRY_PERIOD).await;
            (Instant::now(), election.attempt(&mut observed).await)
        };
        let mut next = pin!(next);
        let overdue = sleep_until((renewed + RENEW_DEADLINE).into());
        let is_held = *state.borrow() == LeaseState::Held;
        let (requested, attempt) = tokio::select! {
            attempt = &mut next => attempt,
            () = overdue, if is_held => {
                state.send_replace(LeaseState::Overdue);
                next.await
            }
        };
        match attempt {
            // It counts from the request, because the response may be late.
            Ok(Attempt::Held) => {
                (renewed, last_logged) = (requested, None);
                if renewed.elapsed() < RENEW_DEADLINE {
                    state.send_if_modified(|state| std::mem::replace(state, LeaseState::Held) != LeaseState::Held);
                }
            }
            Ok(Attempt::Raced) => {}
            Ok(Attempt::Taken) => return,
            Err(error) => {
                let error = error.to_string();
                if last_logged.as_ref().is_none_or(|(text, at)| *text != error || at.elapsed() >= REMINDER) {
                    tracing::warn!(error, "cannot renew the lease; retrying");
                    last_logged = Some((error, Instant::now()));
                }
            }
        }
    }
}
