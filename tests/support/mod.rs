//! Real servers that run during a test, and the program as users start it.
#![allow(dead_code, unused_imports, reason = "not every test binary uses all of this")]

mod aws;
mod background;
mod certificates;
pub mod clouds;
mod cluster;
mod configmap_volume;
pub mod faulty;
mod link;
mod program;
mod proxy;
mod registry;
mod server_process;
mod servers;
mod silent_host;
mod smoke;
mod token_server;
mod traffic;
pub mod tunnel;
mod workloads;

pub use aws::{Aws, Call, Ecr, Refusal, new_account};
pub use background::BackgroundServer;
pub use certificates::Authority;
pub use clouds::Clouds;
pub use cluster::{Cluster, PodNetwork};
pub use configmap_volume::ConfigMapVolume;
pub use link::Link;
pub use program::{Finished, Metrics, Program, Running};
pub use registry::{Access, NEW_PASSWORD, PASSWORD, Registry, USER};
pub use server_process::ServerProcess;
pub use servers::{free_port, program};
pub use silent_host::SilentHost;
pub use traffic::{Fault, Request};
pub use workloads::{
    Workload, add_ephemeral_container, cron_job, daemon_set, deployment, job, list, pod, replica_set, set_pod_status,
    stateful_set,
};

use std::{future::Future, time::Duration};

/// Polls every 50 ms until there is a result.
///
/// # Panics
///
/// After five minutes: far more than anything here takes, so that no test fails on a busy machine.
pub async fn eventually<T, F>(what: &str, mut poll: impl FnMut() -> F) -> T
where
    F: Future<Output = Option<T>>,
{
    let polling = async {
        loop {
            if let Some(result) = poll().await {
                return result;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(300), polling).await.unwrap_or_else(|_| panic!("still not: {what}"))
}
