//! Reads pull secrets when an image needs them: single objects by name, never a list, and keeps none.

use std::{
    collections::HashSet,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use futures::{FutureExt as _, future, future::BoxFuture};
use k8s_openapi::{
    NamespaceResourceScope,
    api::core::v1::{Secret, ServiceAccount},
};
use kube::{Api, Client, Resource, api::GetParams};
use serde::de::DeserializeOwned;
use tokio::{sync::Semaphore, time::timeout};

use super::{
    docker_config::{Entry, docker_config},
    keyring,
};
use crate::{
    model::{PullLogin, PullLogins, PullSecretRefs, PullSecrets, Reference},
    workload::{api::status, client::describe, object::MAX_PULL_SECRETS, rights::Right},
};

/// For one object.
const DEADLINE: Duration = Duration::from_secs(10);
/// How many objects are read at once.
pub(super) const CONCURRENT_READS: usize = 8;
/// How many missing rights are remembered, so that each is logged once.
const MAX_MISSING_RIGHTS: usize = 4096;

/// Reads the pull secrets of a cluster.
pub struct PullSecretReader {
    client: Client,
    reads: Semaphore,
    /// Namespace and resource.
    missing_rights: Mutex<HashSet<(String, &'static str)>>,
}

/// An object could not be read.
pub(super) enum ReadError {
    Missing,
    Forbidden,
    /// A further attempt may succeed.
    Failed(String),
}

impl PullSecretReader {
    /// Reads by this client.
    pub fn new(client: Client) -> Self {
        Self { client, reads: Semaphore::new(CONCURRENT_READS), missing_rights: Mutex::default() }
    }

    async fn find(&self, refs: &PullSecretRefs, image: &Reference) -> PullLogins {
        let mut found = PullLogins::default();
        let mut names = refs.secrets.clone();
        if let Some(account) = &refs.service_account {
            match self.secrets_of_account(&refs.namespace, account).await {
                Ok(secrets) => names.extend(secrets),
                Err(error) => self.add_problem(&mut found, &refs.namespace, SERVICE_ACCOUNT, account, error),
            }
        }
        names.truncate(MAX_PULL_SECRETS);
        let reads = names.iter().map(|name| self.read::<Secret>(&refs.namespace, name));
        let mut secrets: Vec<(String, Vec<Entry>)> = Vec::new();
        for (name, read) in names.iter().zip(future::join_all(reads).await) {
            let secret = match read {
                Ok(secret) => secret,
                Err(error) => {
                    self.add_problem(&mut found, &refs.namespace, SECRET, name, error);
                    continue;
                }
            };
            let secret_name = format!("secret {}/{name}", refs.namespace);
            match docker_config(&secret) {
                Ok(config) => {
                    let problems = config.problems.iter().map(|problem| format!("{secret_name}: {problem}"));
                    found.problems.extend(problems);
                    secrets.push((name.clone(), config.entries));
                }
                Err(error) => found.problems.push(format!("{secret_name} is not used: {error}")),
            }
        }
        let logins = keyring::matching(&secrets, image).into_iter().map(|(secret, login)| PullLogin {
            namespace: refs.namespace.clone(),
            secret: secret.to_owned(),
            login: login.clone(),
        });
        found.logins = logins.collect();
        found
    }

    /// The names of the secrets that a ServiceAccount gives to Pods.
    pub(super) async fn secrets_of_account(&self, namespace: &str, name: &str) -> Result<Vec<String>, ReadError> {
        let account: ServiceAccount = self.read(namespace, name).await?;
        let names = account.image_pull_secrets.into_iter().flatten().map(|secret| secret.name);
        Ok(names.filter(|name| !name.is_empty()).take(MAX_PULL_SECRETS).collect())
    }

    /// From the API server's memory: one object, which costs etcd nothing.
    async fn read<K>(&self, namespace: &str, name: &str) -> Result<K, ReadError>
    where
        K: Resource<Scope = NamespaceResourceScope, DynamicType = ()> + Clone + std::fmt::Debug + DeserializeOwned,
    {
        let objects: Api<K> = Api::namespaced(self.client.clone(), namespace);
        let read = timeout(DEADLINE, async {
            // Acquiring fails only if the semaphore is closed, which never happens.
            let _permit = self.reads.acquire().await;
            objects.get_with(name, &GetParams::any()).await
        });
        match read.await {
            Ok(Ok(object)) => Ok(object),
            Ok(Err(error)) => Err(match status(&error) {
                Some(404) => ReadError::Missing,
                Some(403) => ReadError::Forbidden,
                _ => ReadError::Failed(describe(&error)),
            }),
            Err(_) => Err(ReadError::Failed(format!("the API server did not answer within {} s", DEADLINE.as_secs()))),
        }
    }

    fn add_problem(&self, found: &mut PullLogins, namespace: &str, resource: Named, name: &str, error: ReadError) {
        let object = format!("{} {namespace}/{name}", resource.noun);
        found.problems.push(match error {
            ReadError::Missing => format!("{object} does not exist"),
            ReadError::Forbidden => {
                let right = Right::to_read(namespace, resource.plural, [name.to_owned()]);
                let rule = right.rule(right.verbs);
                self.warn_of_missing_right(namespace, resource.plural, &rule);
                format!("{object} can't be read: {rule}")
            }
            ReadError::Failed(problem) => {
                found.is_incomplete = true;
                format!("{object} can't be read: {problem}")
            }
        });
    }

    /// Once for each namespace and resource.
    fn warn_of_missing_right(&self, namespace: &str, resource: &'static str, remedy: &str) {
        let mut known = self.missing_rights.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= MAX_MISSING_RIGHTS {
            known.clear();
        }
        if known.insert((namespace.to_owned(), resource)) {
            tracing::warn!(
                namespace,
                resource,
                remedy,
                "pull secrets of this namespace can't be read; `k8s-copycat rbac` prints all roles that are needed"
            );
        }
    }
}

/// A kind of object, in sentences and in rules.
#[derive(Clone, Copy)]
struct Named {
    noun: &'static str,
    plural: &'static str,
}

const SECRET: Named = Named { noun: "secret", plural: "secrets" };
const SERVICE_ACCOUNT: Named = Named { noun: "service account", plural: "serviceaccounts" };

impl PullSecrets for PullSecretReader {
    fn logins<'a>(&'a self, refs: &'a Arc<PullSecretRefs>, image: &'a Reference) -> BoxFuture<'a, PullLogins> {
        self.find(refs, image).boxed()
    }
}
