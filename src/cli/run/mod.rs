//! `run`: the controller.

mod authorization;
mod leader;
mod operations;

use std::{
    net::{Ipv4Addr, Ipv6Addr, SocketAddr},
    pin::pin,
    process::ExitCode,
    sync::Arc,
    time::Duration,
};

use futures::{StreamExt, stream::BoxStream};
use leader::LeaderStatus;
use operations::MirrorOperations;
use tokio::{net::TcpListener, time::timeout};
use tokio_util::sync::CancellationToken;
use tracing::{error, info};

use super::{
    CommandError, aws_identity, build, env, file_states::FileStates, reload::Reloader, signals::Signals, tasks,
};
use crate::{
    config::{Config, Flags},
    mirror::{Mirror, Stopped},
    model::Observer,
    report::{
        ClusterEvents, Condition, LogObserver, Metrics, Observers, Readiness, serve_health, serve_operations,
        status::Traffic,
    },
    workload::{self, Change},
};

/// How long aborted uploads may take to be cancelled at the target. With the other deadlines it is less than the 30 s after
/// which Kubernetes sends SIGKILL.
const CLEANUP_DEADLINE: Duration = Duration::from_secs(2);

/// Watches and mirrors until SIGTERM or SIGINT, or until another replica is the leader. `files` is the state of the files
/// that `config` was read from.
pub async fn run(
    flags: &Flags,
    config: Config,
    files: FileStates,
    signals: &Signals,
) -> Result<ExitCode, CommandError> {
    let config = Arc::new(config);
    let metrics = Arc::new(Metrics::new()?);
    // Before connecting to the cluster: an invalid plugin is an error everywhere.
    let plugin_observers = Arc::new(Observers::new(vec![metrics.clone(), Arc::new(LogObserver)]));
    let prepared = signals.interruptible(async {
        let (policy, artifacts) = build::policy(&config, plugin_observers).await?;
        let client = workload::client(config.process.kubeconfig.as_deref()).await?;
        Ok::<_, CommandError>((Arc::new(policy), artifacts, client))
    });
    let (policy, artifacts, client) = match prepared.await {
        Ok(prepared) => prepared?,
        Err(signal) => {
            info!(signal = signal.name(), "shutting down during startup");
            return Ok(ExitCode::SUCCESS);
        }
    };
    log_start(&config);
    let (events, publisher) = ClusterEvents::new(client.clone(), env::hostname(), env::namespace(), metrics.clone());
    let traffic = Arc::new(Traffic::default());
    let observer: Arc<dyn Observer> =
        Arc::new(Observers::new(vec![metrics.clone(), traffic.clone(), Arc::new(LogObserver), Arc::new(events)]));
    let (readiness, [plugins_loaded, caches_filled]) = Readiness::new(["plugins", "caches"]);
    plugins_loaded.fulfil();
    let aws = build::aws(&config);
    let pull_secrets = build::pull_secrets(&config, &client);
    let mirror = build::mirror(&config, &aws, policy.clone(), pull_secrets.as_ref(), observer.clone())?;
    let identities = tokio::spawn(aws_identity::log(build::aws_identities(&config, &aws)));
    let active = (policy.clone(), mirror.clone());
    let access = (aws, pull_secrets);
    let reloader = Reloader::new(flags.clone(), config.clone(), artifacts, active, access, observer.clone());

    let shutdown = CancellationToken::new();
    let (leader, all_known) = (LeaderStatus::default(), CancellationToken::new());
    let operations = Arc::new(MirrorOperations {
        mirror: mirror.clone(),
        policy,
        reload: reloader.state(),
        leader: leader.clone(),
        all_known: all_known.clone(),
    });
    let mut servers = Vec::new();
    if let Some(listener) = listen(config.process.metrics_addr).await? {
        let authorization = authorization::authorization(config.process.operations_authorization, &client);
        let served = serve_operations(listener, metrics.clone(), operations, traffic, authorization, shutdown.clone());
        servers.push(tokio::spawn(log_failure("metrics", served)));
    }
    if let Some(listener) = listen(config.process.health_addr).await? {
        let served = serve_health(listener, Arc::new(readiness), shutdown.clone());
        servers.push(tokio::spawn(log_failure("health", served)));
    }
    servers.push(tokio::spawn(publisher.run(shutdown.clone())));

    let changes = workload::watch(client.clone(), build::watch_settings(&config), observer.clone());
    let mut watching = tokio::spawn(forward_changes(changes.boxed(), mirror.clone(), caches_filled, all_known));
    let mut reloading = tokio::spawn(reloader.run(files));

    let mut leading = pin!(leader::lead(&config, client, &mirror, &metrics, &leader, signals));
    let ended = tokio::select! {
        ended = &mut leading => Some(ended),
        _ = &mut watching => None,
        _ = &mut reloading => None,
    };
    let ended = match ended {
        Some(ended) => ended,
        // These tasks end when the mirror stops: `lead` returns the reason. Otherwise this is a bug: restarting is better than
        // hanging while ready.
        None => timeout(leader::SHUTDOWN_DEADLINE, leading).await.unwrap_or(Err(CommandError::Stopped(Stopped))),
    };
    watching.abort();
    reloading.abort();
    identities.abort();
    shutdown.cancel();
    for server in servers {
        if let Err(panic) = server.await {
            error!(error = %panic, "a listener panicked");
        }
    }
    tasks::wait_for_background_tasks(CLEANUP_DEADLINE).await;
    ended
}

fn log_start(config: &Config) {
    let targets = config.targets.iter().map(|target| format!("{} {}", target.kind, target.registry));
    let targets = targets.collect::<Vec<_>>().join(", ");
    let (dry_run, dry_pull) = (config.copy.dry_run, config.copy.dry_pull);
    let doing = match (dry_run, dry_pull) {
        (false, false) => "starting: copies images to the targets",
        (true, false) => "starting: dry run, writes to no target",
        (_, true) => "starting: dry run, contacts no registry",
    };
    info!(version = env!("CARGO_PKG_VERSION"), targets, dry_run, dry_pull, "{doing}");
}

/// Passes all changes of the cluster to the mirror. Returns when the mirror has stopped.
async fn forward_changes(
    mut changes: BoxStream<'static, Change>,
    mirror: Mirror,
    caches_filled: Condition,
    all_known: CancellationToken,
) {
    while let Some(change) = changes.next().await {
        let sent = match change {
            Change::Set { workload, uses } => mirror.set(workload, uses).await,
            Change::Removed(workload) => mirror.removed(workload).await,
            Change::InventoryComplete => {
                info!("all existing workloads are known");
                let sent = mirror.inventory_complete().await;
                all_known.cancel();
                // Last: who waits for readiness may request a pass.
                caches_filled.fulfil();
                sent
            }
        };
        if sent == Err(Stopped) {
            return;
        }
    }
}

async fn listen(address: Option<SocketAddr>) -> Result<Option<TcpListener>, CommandError> {
    let Some(address) = address else { return Ok(None) };
    let bound = match TcpListener::bind(address).await {
        // All addresses, on a host without IPv6.
        Err(_) if address.ip() == Ipv6Addr::UNSPECIFIED => {
            TcpListener::bind((Ipv4Addr::UNSPECIFIED, address.port())).await
        }
        bound => bound,
    };
    let listener = bound.map_err(|source| CommandError::Listen { address, source })?;
    info!(%address, "listening");
    Ok(Some(listener))
}

async fn log_failure(listener: &'static str, served: impl Future<Output = std::io::Result<()>>) {
    if let Err(error) = served.await {
        error!(listener, error = %error, "listener failed");
    }
}
