//! `run`: the controller.

use std::{
    future::pending,
    net::{Ipv4Addr, Ipv6Addr, SocketAddr},
    process::ExitCode,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use futures::{FutureExt, StreamExt, future::BoxFuture, stream::BoxStream};
use tokio::{
    net::TcpListener,
    time::{MissedTickBehavior, timeout},
};
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use crate::{
    config::{Config, Flags},
    mirror::{Mirror, Stopped},
    model::Observer,
    policy::Policy,
    report::{
        ClusterEvents, Condition, CooldownReset, ForcedPass, Journal, Metrics, Observers, Operations, PluginsReport,
        Readiness, serve_health, serve_metrics,
    },
    workload::{self, Change, Election, Leadership},
};

use super::{
    CommandError, assemble,
    files::Snapshot,
    identity,
    leading::{Leading, follow_lease},
    quiet,
    reload::{ReloadState, Reloading},
    signals::Signals,
    stores,
};

/// How long copies under way may take to end after SIGTERM, or when another replica leads; Kubernetes kills after 30 s.
const GRACE: Duration = Duration::from_secs(15);
/// How long giving up the Lease may take after that.
const RELEASE: Duration = Duration::from_secs(5);
/// How long uploads that were broken off may take to be cancelled at the target; with all else that is less than the 30 s.
const LONGEST_CLEANING: Duration = Duration::from_secs(2);
/// Where a Pod learns its namespace.
const NAMESPACE_FILE: &str = "/var/run/secrets/kubernetes.io/serviceaccount/namespace";

/// Watches and mirrors until SIGTERM or SIGINT, or until another replica leads. `files` are those that `config` came
/// from, as they were then.
pub async fn run(flags: &Flags, config: Config, files: Snapshot, signals: &Signals) -> Result<ExitCode, CommandError> {
    let config = Arc::new(config);
    let metrics = Arc::new(Metrics::new()?);
    // Before the cluster is looked for: a plugin that can't be loaded is a mistake wherever this runs.
    let watching_plugins = Arc::new(Observers::new(vec![metrics.clone(), Arc::new(Journal)]));
    let prepared = signals.or(async {
        let (policy, modules) = assemble::policy(&config, watching_plugins).await?;
        let client = workload::client(config.process.kubeconfig.as_deref()).await?;
        Ok::<_, CommandError>((Arc::new(policy), modules, client))
    });
    let (policy, modules, client) = match prepared.await {
        Ok(prepared) => prepared?,
        Err(signal) => {
            info!(signal = signal.name(), "ending before anything was begun");
            return Ok(ExitCode::SUCCESS);
        }
    };
    let (events, publisher) = ClusterEvents::new(client.clone(), host(), namespace(), metrics.clone());
    let observer: Arc<dyn Observer> =
        Arc::new(Observers::new(vec![metrics.clone(), Arc::new(Journal), Arc::new(events)]));
    let (readiness, [plugins_loaded, caches_filled]) = Readiness::new(["plugins", "caches"]);
    plugins_loaded.fulfil();
    let aws = assemble::aws(&config);
    let mirror = assemble::mirror(&config, &aws, policy.clone(), observer.clone())?;
    let identified = tokio::spawn(identity::log(stores::identities(&config, &aws)));
    let parts = (policy.clone(), mirror.clone());
    let reloading = Reloading::new(flags.clone(), config.clone(), modules, parts, aws, observer.clone());

    let shutdown = CancellationToken::new();
    let (leads, knows_all) = (Leading::default(), CancellationToken::new());
    let operations = Arc::new(MirrorOperations {
        mirror: mirror.clone(),
        policy,
        reload: reloading.state(),
        leads: leads.clone(),
        knows_all: knows_all.clone(),
    });
    let mut servers = Vec::new();
    if let Some(listener) = listen(config.process.metrics_addr).await? {
        let served = serve_metrics(listener, metrics.clone(), operations, shutdown.clone());
        servers.push(tokio::spawn(told("metrics", served)));
    }
    if let Some(listener) = listen(config.process.health_addr).await? {
        let served = serve_health(listener, Arc::new(readiness), shutdown.clone());
        servers.push(tokio::spawn(told("health", served)));
    }
    servers.push(tokio::spawn(publisher.run(shutdown.clone())));

    let changes = workload::watch(client.clone(), assemble::watch_settings(&config), observer.clone());
    let mut watching = tokio::spawn(follow(changes.boxed(), mirror.clone(), caches_filled, knows_all));
    let mut reloading = tokio::spawn(reloading.follow(files));

    let ended = tokio::select! {
        ended = lead(&config, client, &mirror, &metrics, &leads, signals) => ended,
        // They follow for ever, so this is a defect; better to start anew than to stand still and call it ready.
        _ = &mut watching => Err(CommandError::Stopped(Stopped)),
        _ = &mut reloading => Err(CommandError::Stopped(Stopped)),
    };
    watching.abort();
    reloading.abort();
    identified.abort();
    shutdown.cancel();
    for server in servers {
        if let Err(broken) = server.await {
            error!(error = %broken, "a listener broke off");
        }
    }
    quiet::quiet(LONGEST_CLEANING).await;
    ended
}

/// Campaigns where there is a Lease to campaign for, mirrors while leading, and answers when that is over.
async fn lead(
    config: &Config,
    client: workload::Client,
    mirror: &Mirror,
    metrics: &Metrics,
    leads: &Leading,
    signals: &Signals,
) -> Result<ExitCode, CommandError> {
    let election = if config.process.leader_elect { election(client) } else { None };
    let leadership = match &election {
        Some(election) => {
            info!(identity = election.identity(), "waiting to lead");
            tokio::select! {
                leadership = election.campaign() => Some(leadership),
                signal = signals.ended() => {
                    info!(signal = signal.name(), "ending without having led");
                    return Ok(ExitCode::SUCCESS);
                }
            }
        }
        None => None,
    };
    leads.set(true, metrics);
    mirror.begin().await?;
    info!("mirroring");
    let hold = leadership.as_ref().map(Leadership::hold);
    let code = tokio::select! {
        lost = follow_lease(hold, mirror, metrics, leads) => {
            lost?;
            error!("leadership was lost: another replica mirrors now; ending");
            mirror.stop(GRACE).await;
            return Ok(ExitCode::FAILURE);
        }
        () = again_and_again(config.copy.force_reconcile, mirror) => ExitCode::FAILURE,
        () = mirror.stopped() => return Err(CommandError::Stopped(Stopped)),
        signal = signals.ended() => {
            info!(signal = signal.name(), "ending");
            ExitCode::SUCCESS
        }
    };
    mirror.stop(GRACE).await;
    if let Some(leadership) = leadership {
        match timeout(RELEASE, leadership.release()).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => warn!(error = %error, "the Lease was not given up; it runs out by itself"),
            Err(_) => warn!("the Lease was not given up in time; it runs out by itself"),
        }
    }
    Ok(code)
}

/// A candidate, where this runs in a cluster. Elsewhere there is no namespace that would have the Lease.
fn election(client: workload::Client) -> Option<Election> {
    let namespace = namespace();
    if namespace.is_none() {
        info!("not in a cluster, so nobody else can lead: mirroring without a Lease");
    }
    namespace.map(|namespace| Election::new(client, &namespace, &host()))
}

/// That of the Pod that this runs in, if it does.
fn namespace() -> Option<String> {
    let namespace = std::env::var("POD_NAMESPACE").ok().or_else(|| std::fs::read_to_string(NAMESPACE_FILE).ok());
    namespace.map(|namespace| namespace.trim().to_owned()).filter(|namespace| !namespace.is_empty())
}

/// What people know this replica by: in a cluster, its Pod's name.
fn host() -> String {
    let host = std::env::var("HOSTNAME").ok().or_else(|| std::fs::read_to_string("/etc/hostname").ok());
    host.map(|host| host.trim().to_owned()).filter(|host| !host.is_empty()).unwrap_or_else(|| "unknown".to_owned())
}

/// Tells the mirror of every change. Ends when the mirror does.
async fn follow(
    mut changes: BoxStream<'static, Change>,
    mirror: Mirror,
    caches_filled: Condition,
    knows_all: CancellationToken,
) {
    while let Some(change) = changes.next().await {
        let told = match change {
            Change::Set { workload, uses } => mirror.set(workload, uses).await,
            Change::Removed(workload) => mirror.removed(workload).await,
            Change::Ready => {
                caches_filled.fulfil();
                info!("everything that exists is known");
                let told = mirror.inventory_complete().await;
                knows_all.cancel();
                told
            }
        };
        if told == Err(Stopped) {
            return;
        }
    }
}

/// A full pass each time the period is over; for ever waiting where there is none.
async fn again_and_again(period: Option<Duration>, mirror: &Mirror) {
    let Some(period) = period else { return pending().await };
    let mut ticks = tokio::time::interval(period);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks.tick().await;
    loop {
        ticks.tick().await;
        match mirror.pass().await {
            Ok(report) => info!(
                workloads = report.workloads,
                images = report.images,
                failures = report.failures.len(),
                "looked at everything again"
            ),
            Err(Stopped) => return,
        }
    }
}

async fn listen(address: Option<SocketAddr>) -> Result<Option<TcpListener>, CommandError> {
    let Some(address) = address else { return Ok(None) };
    let bound = match TcpListener::bind(address).await {
        // All addresses, on a machine without IPv6.
        Err(_) if address.ip() == Ipv6Addr::UNSPECIFIED => {
            TcpListener::bind((Ipv4Addr::UNSPECIFIED, address.port())).await
        }
        bound => bound,
    };
    let listener = bound.map_err(|source| CommandError::Listen { address, source })?;
    info!(%address, "listening");
    Ok(Some(listener))
}

async fn told(what: &'static str, served: impl Future<Output = std::io::Result<()>>) {
    if let Err(broken) = served.await {
        error!(listener = what, error = %broken, "a listener broke off");
    }
}

/// What an operator can ask of the mirror, while this replica leads.
struct MirrorOperations {
    mirror: Mirror,
    policy: Arc<Policy>,
    reload: Arc<Mutex<ReloadState>>,
    leads: Leading,
    /// Before everything that exists is known, a pass over what is would call itself complete.
    knows_all: CancellationToken,
}

impl MirrorOperations {
    fn is_ready(&self) -> bool {
        self.leads.is_so() && self.knows_all.is_cancelled()
    }
}

impl Operations for MirrorOperations {
    fn reset_cooldown(&self) -> BoxFuture<'_, CooldownReset> {
        async move {
            if !self.is_ready() {
                return CooldownReset::NotReady;
            }
            match self.mirror.reset_cooldown().await {
                Ok(Some(cleared)) => CooldownReset::Cleared(cleared),
                Ok(None) => CooldownReset::Disabled,
                Err(Stopped) => CooldownReset::NotReady,
            }
        }
        .boxed()
    }

    fn force_reconcile(&self) -> BoxFuture<'_, ForcedPass> {
        async move {
            if !self.is_ready() {
                return ForcedPass::NotReady;
            }
            match self.mirror.pass().await {
                Ok(report) => ForcedPass::Ended {
                    workloads: report.workloads,
                    images: report.images,
                    failures: report.failures.iter().map(|(id, cause)| format!("{id}: {cause}")).collect(),
                },
                Err(Stopped) => ForcedPass::NotReady,
            }
        }
        .boxed()
    }

    fn plugins(&self) -> PluginsReport {
        let ReloadState { refused, needs_restart } = self.reload.lock().unwrap_or_else(PoisonError::into_inner).clone();
        PluginsReport { plugins: self.policy.plugins(), refused, needs_restart }
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::mpsc;

    use super::*;
    use crate::{
        config::{self, Flags},
        model::Event,
    };

    /// Tells of each look at an image.
    struct Looks(mpsc::UnboundedSender<()>);

    impl Observer for Looks {
        fn observe(&self, event: &Event<'_>) {
            if let Event::Finished(_) = event {
                let _ = self.0.send(());
            }
        }
    }

    #[tokio::test]
    async fn everything_is_looked_at_again_when_the_period_is_over() {
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

        let (sender, mut looks) = mpsc::unbounded_channel();
        let observer = Arc::new(Looks(sender));
        let policy = Arc::new(assemble::policy(&config, observer.clone()).await.unwrap().0);
        let mirror = assemble::mirror(&config, &assemble::aws(&config), policy, observer).unwrap();
        let uses = workload::read_manifests(&[manifest], &config.watch.resources).unwrap().uses;
        mirror.set(uses[0].workload.id.clone(), uses).await.unwrap();
        mirror.inventory_complete().await.unwrap();
        let client = workload::client(Some(&kubeconfig)).await.unwrap();
        let (metrics, leads) = (Metrics::new().unwrap(), Leading::default());
        let (_tell, signals) = Signals::scripted();
        let looked = async {
            for _ in 0..3 {
                looks.recv().await.unwrap();
            }
        };
        tokio::select! {
            ended = lead(&config, client, &mirror, &metrics, &leads, &signals) => panic!("{ended:?}"),
            looked = timeout(Duration::from_secs(120), looked) => looked.unwrap(),
        }
    }
}
