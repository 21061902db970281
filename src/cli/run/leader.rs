//! Leader election: the mirror runs only while this replica holds the Lease.

use std::{
    future::pending,
    process::ExitCode,
    sync::{
        Arc, Mutex, OnceLock, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, SystemTime},
};

use tokio::{
    sync::watch,
    time::{MissedTickBehavior, timeout},
};
use tracing::{error, info, warn};

use crate::{
    cli::{CommandError, env, signals::Signals},
    config::Config,
    mirror::{Mirror, Stopped},
    report::Metrics,
    workload::{Client, Election, Leadership, LeaseState},
};

/// How long active copies may continue after SIGTERM or after losing the Lease; Kubernetes sends SIGKILL after 30 s.
const GRACE_PERIOD: Duration = Duration::from_secs(15);
/// How long releasing the Lease may take after that.
const RELEASE_DEADLINE: Duration = Duration::from_secs(5);
/// How long [`lead`] takes at most once the mirror is to stop.
pub const SHUTDOWN_DEADLINE: Duration = GRACE_PERIOD.saturating_add(RELEASE_DEADLINE);

/// Whether this replica is the leader, and what it plans. Clones share the state.
#[derive(Clone, Default)]
pub struct LeaderStatus {
    is_leader: Arc<AtomicBool>,
    holder: Arc<OnceLock<watch::Receiver<Option<String>>>>,
    next_pass: Arc<Mutex<Option<SystemTime>>>,
}

impl LeaderStatus {
    pub fn is_leader(&self) -> bool {
        self.is_leader.load(Ordering::Acquire)
    }

    /// The holder of the Lease; none if it is not known, and without leader election.
    pub fn holder(&self) -> Option<String> {
        self.holder.get().and_then(|holder| holder.borrow().clone())
    }

    /// When the next periodic pass begins.
    pub fn next_pass(&self) -> Option<SystemTime> {
        *self.next_pass.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set(&self, is_leader: bool, metrics: &Metrics) {
        self.is_leader.store(is_leader, Ordering::Release);
        metrics.set_leader(is_leader);
    }

    fn set_next_pass(&self, next: SystemTime) {
        *self.next_pass.lock().unwrap_or_else(PoisonError::into_inner) = Some(next);
    }
}

/// Takes part in the election, if there is a Lease, and mirrors while this replica is the leader. Returns when that is over.
pub async fn lead(
    config: &Config,
    client: Client,
    mirror: &Mirror,
    metrics: &Metrics,
    status: &LeaderStatus,
    signals: &Signals,
) -> Result<ExitCode, CommandError> {
    let election = if config.process.leader_elect { election(client) } else { None };
    let leadership = match &election {
        Some(election) => {
            // Set once for each process.
            let _ = status.holder.set(election.holder());
            info!(identity = election.identity(), "waiting for leadership");
            tokio::select! {
                leadership = election.campaign() => Some(leadership),
                signal = signals.received() => {
                    info!(signal = signal.name(), "shutting down without having been the leader");
                    return Ok(ExitCode::SUCCESS);
                }
            }
        }
        None => None,
    };
    status.set(true, metrics);
    mirror.begin().await?;
    info!("mirroring");
    let lease_state = leadership.as_ref().map(Leadership::state);
    let code = tokio::select! {
        lost = follow_lease(lease_state, mirror, metrics, status) => {
            lost?;
            error!("leadership was lost: another replica mirrors now; shutting down");
            mirror.stop(GRACE_PERIOD).await;
            return Ok(ExitCode::FAILURE);
        }
        () = run_periodic_passes(config.copy.force_reconcile, mirror, status) => ExitCode::FAILURE,
        () = mirror.stopped() => return Err(CommandError::Stopped(Stopped)),
        signal = signals.received() => {
            info!(signal = signal.name(), "shutting down");
            ExitCode::SUCCESS
        }
    };
    mirror.stop(GRACE_PERIOD).await;
    if let Some(leadership) = leadership {
        match timeout(RELEASE_DEADLINE, leadership.release()).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => warn!(error = %error, "cannot release the lease; it expires by itself"),
            Err(_) => warn!("cannot release the lease in time; it expires by itself"),
        }
    }
    Ok(code)
}

/// None outside a cluster, where there is no namespace for a Lease.
fn election(client: Client) -> Option<Election> {
    let namespace = env::namespace();
    if namespace.is_none() {
        info!("not running in a cluster: mirroring without leader election");
    }
    namespace.map(|namespace| Election::new(client, &namespace, &env::hostname()))
}

/// Pauses the mirror while the Lease cannot be renewed. Returns, with the mirror paused, when another replica holds the
/// Lease; never returns without a Lease.
///
/// # Errors
/// If the mirror has stopped.
async fn follow_lease(
    state: Option<watch::Receiver<LeaseState>>,
    mirror: &Mirror,
    metrics: &Metrics,
    status: &LeaderStatus,
) -> Result<(), Stopped> {
    let Some(mut state) = state else { return pending().await };
    // If the renewal ends unexpectedly, the Lease will be lost.
    while state.changed().await.is_ok() {
        let current = *state.borrow_and_update();
        match current {
            LeaseState::Held => {
                status.set(true, metrics);
                mirror.begin().await?;
                info!("the lease is renewed again and no other replica has held it; resuming");
            }
            LeaseState::Overdue => {
                status.set(false, metrics);
                let active = mirror.pause().await?;
                warn!(
                    active,
                    "the lease could not be renewed for 10 s, so another replica may take it; pausing until it is \
                     renewed, active copies continue"
                );
            }
            LeaseState::Lost => break,
        }
    }
    status.set(false, metrics);
    mirror.pause().await?;
    Ok(())
}

/// Runs a pass after each period; waits forever without one. Returns when the mirror has stopped.
async fn run_periodic_passes(period: Option<Duration>, mirror: &Mirror, status: &LeaderStatus) {
    let Some(period) = period else { return pending().await };
    let mut ticks = tokio::time::interval(period);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks.tick().await;
    loop {
        status.set_next_pass(SystemTime::now() + period);
        ticks.tick().await;
        match mirror.pass(false).await {
            Ok(report) => info!(
                workloads = report.workloads,
                images = report.images,
                failures = report.failures.len(),
                "periodic pass ended"
            ),
            Err(Stopped) => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::mpsc;

    use super::*;
    use crate::{
        cli::build,
        config::{self, Flags},
        model::{Event, Observer},
        workload,
    };

    struct Outcomes(mpsc::UnboundedSender<()>);

    impl Observer for Outcomes {
        fn observe(&self, event: &Event<'_>) {
            if let Event::Finished(..) = event {
                let _ = self.0.send(());
            }
        }
    }

    #[tokio::test]
    async fn a_pass_runs_after_each_period() {
        let directory = tempfile::tempdir().unwrap();
        let kubeconfig = directory.path().join("kubeconfig");
        let cluster = "clusters: [{name: c, cluster: {server: 'http://127.0.0.1:9'}}]\n\
                       contexts: [{name: c, context: {cluster: c, user: u}}]\n\
                       users: [{name: u}]\ncurrent-context: c\n";
        std::fs::write(&kubeconfig, cluster).unwrap();
        let manifest = directory.path().join("web.yaml");
        let pod = "{apiVersion: v1, kind: Pod, metadata: {name: web}, spec: {containers: [{name: web, image: nginx}]}}";
        std::fs::write(&manifest, pod).unwrap();

        let flags = Flags { dry_pull: Some(true), leader_elect: Some(false), ..Flags::default() };
        let variables = |name: &str| match name {
            "TARGET_KIND" => Some("docker".to_owned()),
            "TARGET_REGISTRY" => Some("mirror.test".to_owned()),
            "FORCE_RECONCILE_MINUTES" => Some("30".to_owned()),
            _ => None,
        };
        let mut config = config::load(&flags, &variables).unwrap().config;
        let period = config.copy.force_reconcile.as_mut().unwrap();
        assert_eq!(*period, Duration::from_secs(30 * 60));
        *period = Duration::from_millis(1);

        let (sender, mut outcomes) = mpsc::unbounded_channel();
        let observer = Arc::new(Outcomes(sender));
        let policy = Arc::new(build::policy(&config, observer.clone()).await.unwrap().0);
        let mirror = build::mirror(&config, &build::aws(&config), policy, None, observer).unwrap();
        let uses = workload::read_manifests(&[manifest], &config.watch.resources).unwrap().uses;
        mirror.set(uses[0].workload.id.clone(), uses).await.unwrap();
        mirror.inventory_complete().await.unwrap();
        let client = workload::client(Some(&kubeconfig)).await.unwrap();
        let (metrics, status) = (Metrics::new().unwrap(), LeaderStatus::default());
        let (_sender, signals) = Signals::fake();
        let three_outcomes = async {
            for _ in 0..3 {
                outcomes.recv().await.unwrap();
            }
        };
        tokio::select! {
            ended = lead(&config, client, &mirror, &metrics, &status, &signals) => panic!("{ended:?}"),
            in_time = timeout(Duration::from_secs(120), three_outcomes) => in_time.unwrap(),
        }
    }
}
