//! Which secrets and ServiceAccounts the image uses of a cluster need, by namespace: for the rights to read them.

use std::collections::{BTreeMap, BTreeSet};

use futures::{StreamExt as _, stream};
use kube::Client;

use super::reader::{CONCURRENT_READS, PullSecretReader, ReadError};
use crate::{model::ImageUse, workload::rights::Right};

/// What is to be read in one namespace.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NamespaceNeeds {
    /// The names of secrets.
    pub secrets: BTreeSet<String>,
    /// The names of ServiceAccounts.
    pub service_accounts: BTreeSet<String>,
    /// Why some ServiceAccounts could not be read, so that the secrets that they name are not known.
    pub problems: Vec<String>,
}

impl NamespaceNeeds {
    /// The rights to read them.
    pub fn rights(&self, namespace: &str) -> Vec<Right> {
        let accounts = ("serviceaccounts", &self.service_accounts);
        let all = [accounts, ("secrets", &self.secrets)].into_iter().filter(|(_, names)| !names.is_empty());
        all.map(|(resource, names)| Right::to_read(namespace, resource, names.iter().cloned())).collect()
    }
}

/// What the image uses need, by namespace. Reads the ServiceAccounts, and no Secret.
pub async fn pull_secret_needs(client: &Client, uses: &[ImageUse]) -> BTreeMap<String, NamespaceNeeds> {
    let mut needs: BTreeMap<String, NamespaceNeeds> = BTreeMap::new();
    for refs in uses.iter().flat_map(|image_use| &image_use.pull_secrets) {
        let needs = needs.entry(refs.namespace.clone()).or_default();
        needs.secrets.extend(refs.secrets.iter().cloned());
        needs.service_accounts.extend(refs.service_account.iter().cloned());
    }
    let reader = PullSecretReader::new(client.clone());
    let accounts: Vec<(String, String)> = needs
        .iter()
        .flat_map(|(namespace, needs)| needs.service_accounts.iter().map(|name| (namespace.clone(), name.clone())))
        .collect();
    let reads = accounts.iter().map(|(namespace, name)| reader.secrets_of_account(namespace, name));
    let read: Vec<_> = stream::iter(reads).buffered(CONCURRENT_READS).collect().await;
    for ((namespace, name), secrets) in accounts.iter().zip(read) {
        let Some(needs) = needs.get_mut(namespace) else { continue };
        let problem = match secrets {
            Ok(secrets) => {
                needs.secrets.extend(secrets);
                continue;
            }
            // Its template makes no Pods.
            Err(ReadError::Missing) => continue,
            Err(ReadError::Forbidden) => {
                let right = Right::to_read(namespace, "serviceaccounts", [name.clone()]);
                right.rule(right.verbs)
            }
            Err(ReadError::Failed(problem)) => problem,
        };
        needs.problems.push(format!("service account {namespace}/{name} can't be read: {problem}"));
    }
    needs
}
