//! The API server, the rights that the program needs there, and the Lease.

use std::{collections::BTreeMap, time::Duration};

use futures::{StreamExt as _, stream};

use super::{
    deadline::DEADLINE,
    finding::{Finding, Group},
};
use crate::{
    cli::{build, env},
    config::{Config, OperationsAuthorization},
    model::error_chain,
    workload::{
        self, Client, LeaseHolder, Need, Right, RightsSettings, Server, ServerError, lease_holder, missing_verbs,
        needed_rights,
    },
};

/// Each sends a request for every verb.
const CONCURRENT_QUESTIONS: usize = 8;

/// The findings, and a client if the API server answers.
pub async fn cluster(config: &Config) -> (Vec<Finding>, Option<Client>) {
    let client = match workload::client(config.process.kubeconfig.as_deref()).await {
        Ok(client) => client,
        Err(error) => {
            let remedy = "set --kubeconfig or KUBECONFIG, or run it in the program's Pod; `-f FILE` needs no cluster";
            return (vec![Group::Cluster.failed("API server", error_chain(&error), remedy)], None);
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
            return (vec![Group::Cluster.failed("API server", error_chain(&error), remedy)], None);
        }
    };
    let (watch, namespace) = (build::watch_settings(config), env::namespace());
    let settings = RightsSettings {
        watch: &watch,
        namespace: namespace.as_deref(),
        leader_election: config.process.leader_elect,
        reviews: config.process.operations_authorization == OperationsAuthorization::Kubernetes,
    };
    findings.extend(rights(&client, needed_rights(settings)).await);
    match namespace.filter(|_| config.process.leader_elect) {
        Some(namespace) => findings.push(lease(&client, &namespace).await),
        None => findings.push(Group::Cluster.ok("Lease", "none is used: leader election is off, or this is no Pod")),
    }
    (findings, Some(client))
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

/// One line for each right that is missing, and one for each kind of right that is there, in however many namespaces.
async fn rights(client: &Client, rights: Vec<Right>) -> Vec<Finding> {
    let asked = rights.iter().map(|right| async move { (right, missing_verbs(client, right, DEADLINE).await) });
    let answers: Vec<_> = stream::iter(asked).buffered(CONCURRENT_QUESTIONS).collect().await;
    let mut findings = Vec::new();
    let mut granted: BTreeMap<String, usize> = BTreeMap::new();
    for (right, _) in answers.iter().filter(|(_, missing)| missing.as_ref().is_ok_and(Vec::is_empty)) {
        *granted.entry(right.subject()).or_default() += 1;
    }
    for (right, answer) in answers {
        match answer {
            Ok(missing) if missing.is_empty() => {
                // The first of its kind speaks for all.
                if let Some(count) = granted.remove(&right.subject()) {
                    let found = match (count, &right.namespace) {
                        (1, Some(namespace)) => format!("granted in namespace {namespace}"),
                        (_, None) => "granted".to_owned(),
                        (count, Some(_)) => format!("granted in {count} namespaces"),
                    };
                    findings.push(Group::Cluster.ok(right.subject(), found));
                }
            }
            Ok(missing) => {
                let (verbs, rule) = (missing.join(", "), right.rule(&missing));
                findings.push(match right.need {
                    Need::Required => Group::Cluster.failed(right.to_string(), format!("{verbs}: not granted"), rule),
                    Need::Useful(without) => {
                        Group::Cluster.warning(right.to_string(), format!("{verbs}: not granted, so {without}"), rule)
                    }
                });
            }
            Err(problem) => {
                let found = format!("can't be asked: {problem}");
                findings.push(Group::Cluster.failed(
                    right.to_string(),
                    found,
                    "ask again; the API server may be overloaded",
                ));
            }
        }
    }
    findings
}

async fn lease(client: &Client, namespace: &str) -> Finding {
    let holder = match lease_holder(client, namespace).await {
        Ok(holder) => holder,
        Err(error) => {
            return Group::Cluster.failed(
                "Lease",
                error_chain(&error),
                "grant the rights on leases that are listed above",
            );
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
