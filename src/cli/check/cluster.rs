//! The API server, the rights that the program needs there, and the Lease.

use std::time::Duration;

use super::{
    deadline::DEADLINE,
    finding::{Finding, Group},
    rights::rights,
};
use crate::{
    cli::{build, env},
    config::{Config, OperationsAuthorization},
    model::error_chain,
    workload::{self, Client, LeaseHolder, RightsSettings, Server, ServerError, lease_holder, needed_rights},
};

/// The findings, and whether the workloads can be listed.
pub async fn cluster(config: &Config) -> (Vec<Finding>, bool) {
    let client = match workload::client(config.process.kubeconfig.as_deref()).await {
        Ok(client) => client,
        Err(error) => {
            let remedy = "set --kubeconfig or KUBECONFIG, or run it in the program's Pod; `-f FILE` needs no cluster";
            return (vec![Group::Cluster.failed("API server", error_chain(&error), remedy)], false);
        }
    };
    let mut findings = match workload::server(&client, DEADLINE).await {
        Ok(server) => vec![Group::Cluster.ok("API server", describe(&server))],
        Err(error) => {
            let remedy = match &error {
                ServerError::Credentials(_) => "renew the token or the certificate in the kubeconfig",
                ServerError::Unreachable(_) | ServerError::Deadline(_) => {
                    "check the address in the kubeconfig, the network, and whether the API server runs"
                }
            };
            return (vec![Group::Cluster.failed("API server", error_chain(&error), remedy)], false);
        }
    };
    let (watch, namespace) = (build::watch_settings(config), env::namespace());
    let settings = RightsSettings {
        watch: &watch,
        namespace: namespace.as_deref(),
        leader_election: config.process.leader_elect,
        reviews: config.process.operations_authorization == OperationsAuthorization::Kubernetes,
    };
    let rights = rights(&client, Group::Cluster, needed_rights(settings)).await;
    findings.extend(rights.findings);
    match namespace.filter(|_| config.process.leader_elect) {
        // A missing right was named already.
        Some(namespace) if rights.can_read_lease => findings.push(lease(&client, &namespace).await),
        Some(_) => {}
        None => findings.push(Group::Cluster.ok("Lease", "none is used: leader election is off, or this is no Pod")),
    }
    (findings, rights.can_list)
}

/// Names the user: the rights are this one's, and not those of the program, if it is another.
fn describe(server: &Server) -> String {
    let version = server.version.as_deref().unwrap_or("unknown version");
    match server.user.as_deref() {
        Some(user) if user.starts_with("system:serviceaccount:") => format!("{version}, as {user}"),
        Some(user) => {
            format!("{version}, as {user}, whose rights are checked, not those of the program's ServiceAccount")
        }
        None => version.to_owned(),
    }
}

async fn lease(client: &Client, namespace: &str) -> Finding {
    let holder = match lease_holder(client, namespace).await {
        Ok(holder) => holder,
        Err(error) => {
            let remedy = "check the API server's load; without the Lease no replica becomes the leader";
            return Group::Cluster.failed("Lease", error_chain(&error), remedy);
        }
    };
    let ago = |renewed: Option<Duration>| match renewed {
        Some(renewed) => format!("renewed {} s ago", renewed.as_secs()),
        None => "never renewed".to_owned(),
    };
    match holder {
        None => Group::Cluster.ok("Lease", format!("free in namespace {namespace}")),
        Some(LeaseHolder { identity, renewed, expired: false }) => {
            Group::Cluster.ok("Lease", format!("held by {identity}, {}", ago(renewed)))
        }
        Some(LeaseHolder { identity, renewed, expired: true }) => {
            let found = format!("held by {identity}, {}: it has expired, and nobody leads", ago(renewed));
            Group::Cluster.warning("Lease", found, "check whether a replica runs (kubectl get pods, kubectl logs)")
        }
    }
}
