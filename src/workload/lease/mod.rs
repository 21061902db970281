//! Who leads among replicas: whoever holds the Lease.
//!
//! The Lease is replaced under its resourceVersion, so that of two that write at once one is refused.

mod record;

use std::{
    pin::pin,
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

/// The name that the Go program's replicas know.
const NAME: &str = "k8s-copycat.k8s-copycat";

/// How long one request may take; two of them fit into the renew deadline.
const REQUEST_DEADLINE: Duration = Duration::from_secs(4);

/// From one line about the same failure of renewing to the next.
const REMINDER: Duration = Duration::from_secs(300);

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
            sleep(RETRY_PERIOD.mul_f64(1.0 + 0.2 * fastrand::f64())).await;
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

/// Whether a replica that leads may begin anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hold {
    /// The Lease is renewed.
    Held,
    /// It could not be renewed for 10 s, and 5 s later another replica may take it: nothing new may begin. It is tried
    /// on, and held again where nobody else has taken it.
    Overdue,
    /// Another holds it. Comes last.
    Lost,
}

/// The Lease is held, and renewed until this is released or dropped. Dropped without release it runs out by itself.
pub struct Leadership {
    election: Election,
    hold: watch::Receiver<Hold>,
    stop: CancellationToken,
    renewal: JoinHandle<()>,
}

impl Leadership {
    fn start(election: Election, held_since: Instant) -> Self {
        let stop = CancellationToken::new();
        let (sender, hold) = watch::channel(Hold::Held);
        let renewal = tokio::spawn({
            let (election, stop) = (election.clone(), stop.clone());
            async move {
                // A request that is under way is given up with the rest: releasing reads the Lease anew.
                if stop.run_until_cancelled(renew(&election, held_since, &sender)).await.is_some() {
                    tracing::error!(
                        identity = election.identity,
                        "another replica holds the lease: not leading any more"
                    );
                    sender.send_replace(Hold::Lost);
                }
            }
        });
        Self { election, hold, stop, renewal }
    }

    /// How it stands with the Lease, from now on.
    pub fn hold(&self) -> watch::Receiver<Hold> {
        self.hold.clone()
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

/// Renews for as long as no other holds the Lease.
async fn renew(election: &Election, held_since: Instant, hold: &watch::Sender<Hold>) {
    let mut renewed = held_since;
    let mut observed = None;
    let mut told: Option<(String, Instant)> = None;
    loop {
        let next = async {
            sleep(RETRY_PERIOD).await;
            (Instant::now(), election.attempt(&mut observed).await)
        };
        let mut next = pin!(next);
        let overdue = sleep_until((renewed + RENEW_DEADLINE).into());
        let is_held = *hold.borrow() == Hold::Held;
        let (asked, attempt) = tokio::select! {
            attempt = &mut next => attempt,
            () = overdue, if is_held => {
                hold.send_replace(Hold::Overdue);
                next.await
            }
        };
        match attempt {
            // It counts from the question: the answer may have come late.
            Ok(Attempt::Held) => {
                (renewed, told) = (asked, None);
                if renewed.elapsed() < RENEW_DEADLINE {
                    hold.send_if_modified(|hold| std::mem::replace(hold, Hold::Held) != Hold::Held);
                }
            }
            Ok(Attempt::Raced) => {}
            Ok(Attempt::Taken) => return,
            Err(error) => {
                let error = error.to_string();
                if told.as_ref().is_none_or(|(text, at)| *text != error || at.elapsed() >= REMINDER) {
                    tracing::warn!(error, "the lease could not be renewed; trying again");
                    told = Some((error, Instant::now()));
                }
            }
        }
    }
}
