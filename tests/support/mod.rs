//! Real servers, started for a test and gone with it, and the program as its users start it.
#![allow(dead_code, unused_imports, reason = "what the servers and the program offer is not all used by every test")]

mod aws;
mod background;
mod certificates;
mod cluster;
pub mod faulty;
mod guarded;
mod link;
mod mount;
mod program;
mod proxy;
mod registry;
mod servers;
mod silent;
mod smoke;
mod token_server;
mod traffic;
mod workloads;

pub use aws::{Aws, Call, Ecr, Refusal, new_account};
pub use background::Serving;
pub use cluster::Cluster;
pub use link::Link;
pub use mount::Mount;
pub use program::{Finished, Metrics, Program, Running};
pub use registry::{Access, PASSWORD, Registry, USER};
pub use servers::{free_port, program};
pub use silent::Silent;
pub use traffic::{Fault, Request};
pub use workloads::{
    Workload, add_ephemeral, cron_job, daemon_set, deployment, job, list, pod, replica_set, set_pod_status,
    stateful_set,
};

use std::{future::Future, time::Duration};

/// Asks every 50 ms until there is an answer.
///
/// # Panics
///
/// After five minutes without one: far more than anything here takes, so that a busy machine fails no test.
pub async fn eventually<T, F>(what: &str, mut ask: impl FnMut() -> F) -> T
where
    F: Future<Output = Option<T>>,
{
    let asking = async {
        loop {
            if let Some(answer) = ask().await {
                return answer;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(300), asking).await.unwrap_or_else(|_| panic!("still not: {what}"))
}
