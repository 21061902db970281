//! Reads pull secrets when an image needs them: single objects by name, never a list, and keeps none.

use std::{
    collections::HashSet,
    sync::{Mutex, PoisonError},
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
    workload::{
        api::status,
        client::describe,
        object::{MAX_PULL_SECRETS, is_object_name},
        rights::Right,
    },
};

/// For one object.
const DEADLINE: Duration = Duration::from_secs(10);
/// How long a read waits for others.
const LONGEST_QUEUE: Duration = Duration::from_secs(60);
/// How many objects are read at once.
pub(super) const CONCURRENT_READS: usize = 8;
/// How many problems are remembered, so that each is logged once. When there are more, all are forgotten.
const MAX_TOLD: usize = 4096;

/// Reads the pull secrets of a cluster.
pub struct PullSecretReader {
    client: Client,
    reads: Semaphore,
    /// What was logged, so that it is logged once.
    told: Mutex<HashSet<String>>,
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
        Self { client, reads: Semaphore::new(CONCURRENT_READS), told: Mutex::default() }
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
                    for problem in config.problems {
                        let problem = format!("{secret_name}: {problem}");
                        self.warn_of_malformed(&problem);
                        found.problems.push(problem);
                    }
                    secrets.push((name.clone(), config.entries));
                }
                Err(error) => {
                    let problem = format!("{secret_name} is not used: {error}");
                    self.warn_of_malformed(&problem);
                    found.problems.push(problem);
                }
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
        Ok(names.filter(|name| is_object_name(name)).take(MAX_PULL_SECRETS).collect())
    }

    /// From the API server's memory: one object, which costs etcd nothing.
    async fn read<K>(&self, namespace: &str, name: &str) -> Result<K, ReadError>
    where
        K: Resource<Scope = NamespaceResourceScope, DynamicType = ()> + Clone + std::fmt::Debug + DeserializeOwned,
    {
        let objects: Api<K> = Api::namespaced(self.client.clone(), namespace);
        // Acquiring fails only if the semaphore is closed, which never happens.
        let Ok(_permit) = timeout(LONGEST_QUEUE, self.reads.acquire()).await else {
            return Err(ReadError::Failed("the API server answers too slowly".to_owned()));
        };
        match timeout(DEADLINE, objects.get_with(name, &GetParams::any())).await {
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

    /// Images that other logins open do not fail, and would not tell it.
    fn warn_of_malformed(&self, problem: &str) {
        if self.is_new(problem.to_owned()) {
            tracing::warn!("{problem}");
        }
    }

    fn is_new(&self, problem: String) -> bool {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        if told.len() >= MAX_TOLD {
            told.clear();
        }
        told.insert(problem)
    }

    /// Once for each namespace and resource.
    fn warn_of_missing_right(&self, namespace: &str, resource: &'static str, remedy: &str) {
        if self.is_new(format!("{namespace}/{resource}")) {
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
    fn logins<'a>(&'a self, refs: &'a PullSecretRefs, image: &'a Reference) -> BoxFuture<'a, PullLogins> {
        self.find(refs, image).boxed()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn without_an_answer_of_the_api_server_a_further_attempt_may_find_more() {
        let mut config = kube::Config::new("http://127.0.0.1:9".parse().unwrap());
        config.default_retry = false;
        let reader = PullSecretReader::new(Client::try_from(config).unwrap());
        let refs = PullSecretRefs {
            namespace: "shop".to_owned(),
            service_account: Some("default".to_owned()),
            secrets: vec!["regcred".to_owned()],
        };
        let found = reader.logins(&refs, &"r.example/app:1".parse().unwrap()).await;
        assert!(found.logins.is_empty() && found.is_incomplete);
        let [account, secret] = &found.problems[..] else { panic!("{found:?}") };
        assert!(account.starts_with("service account shop/default can't be read: "), "{account}");
        assert!(secret.starts_with("secret shop/regcred can't be read: "), "{secret}");
    }

    #[tokio::test]
    async fn what_is_told_is_told_once_and_forgotten_when_it_is_too_much() {
        let config = kube::Config::new("http://127.0.0.1:9".parse().unwrap());
        let reader = PullSecretReader::new(Client::try_from(config).unwrap());
        assert!(reader.is_new("a".to_owned()) && !reader.is_new("a".to_owned()));
        for number in 0..2 * MAX_TOLD {
            reader.is_new(number.to_string());
        }
        assert!(reader.told.lock().unwrap().len() <= MAX_TOLD);
    }
}
