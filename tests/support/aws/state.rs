//! The shared state of the simulated AWS.

use std::{
    collections::{HashMap, HashSet},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU16},
    },
};

use serde_json::{Value, json};

use super::{
    super::{
        proxy::Upstream,
        registry::{Access, Registry},
        traffic::Traffic,
    },
    call::{Call, Refusal},
    moto::{Moto, new_account},
    tokens::Tokens,
};

/// The secret access key of the program. It grants nothing, and must never be printed.
pub const SECRET_KEY: &str = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYCOPYCATKEY";

/// An account's registry in a region.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct RegistryId {
    /// Twelve digits.
    pub account: String,
    /// `eu-central-1`
    pub region: String,
}

impl RegistryId {
    pub fn new(account: &str, region: &str) -> Self {
        Self { account: account.to_owned(), region: region.to_owned() }
    }

    /// The audience of tokens.
    pub fn registry(&self) -> String {
        format!("{}/{}", self.account, self.region)
    }
}

/// The registry behind the data plane of an ECR registry.
pub struct Backend {
    pub registry: Registry,
    pub upstream: Upstream,
    /// Whether the account allows cross-repository mounts.
    pub mounts: AtomicBool,
    /// The blobs that a manifest refers to.
    pub referenced: Mutex<HashSet<String>>,
}

/// The state of one simulated AWS.
pub struct AwsState {
    pub moto: &'static Moto,
    pub upstream: Upstream,
    /// The caller's account.
    pub account: String,
    pub key: String,
    pub tokens: Tokens,
    /// The requests to registries.
    pub traffic: Traffic,
    /// The status of responses to expired tokens.
    pub expired: AtomicU16,
    calls: Mutex<Vec<Call>>,
    refusals: Mutex<Vec<(String, usize, Refusal)>>,
    /// The account of each access key.
    keys: Mutex<HashMap<String, String>>,
    secrets: Mutex<Vec<String>>,
    backends: tokio::sync::Mutex<HashMap<RegistryId, Arc<Backend>>>,
    /// Descriptions of repositories since the last change.
    repositories: Mutex<HashMap<(RegistryId, String), Value>>,
}

impl AwsState {
    /// With a caller in a new account.
    pub fn new(moto: &'static Moto) -> Self {
        let account = new_account();
        let key = format!("AKIA{account}TEST");
        Self {
            moto,
            upstream: Upstream::new(moto.url()),
            tokens: Tokens::new(),
            traffic: Traffic::default(),
            expired: AtomicU16::new(403),
            calls: Mutex::default(),
            refusals: Mutex::default(),
            keys: Mutex::new(HashMap::from([(key.clone(), account.clone())])),
            secrets: Mutex::new(vec![SECRET_KEY.to_owned()]),
            account,
            key,
            backends: tokio::sync::Mutex::default(),
            repositories: Mutex::default(),
        }
    }

    /// Adds an access key with its secrets.
    pub fn add_key(&self, key: &str, account: &str, secrets: impl IntoIterator<Item = String>) {
        self.keys.lock().unwrap().insert(key.to_owned(), account.to_owned());
        self.secrets.lock().unwrap().extend(secrets);
    }

    /// The account of an access key.
    pub fn account_of(&self, key: &str) -> Option<String> {
        self.keys.lock().unwrap().get(key).cloned()
    }

    /// All secrets, which must never be printed.
    pub fn secrets(&self) -> Vec<String> {
        let mut secrets = self.secrets.lock().unwrap().clone();
        secrets.extend(self.tokens.all());
        secrets
    }

    /// Records a call and returns its refusal.
    pub fn record(&self, call: &Call) -> Option<Refusal> {
        self.calls.lock().unwrap().push(call.clone());
        let mut refusals = self.refusals.lock().unwrap();
        let (_, left, refusal) = refusals.iter_mut().find(|(action, left, _)| *left > 0 && *action == call.action)?;
        *left -= 1;
        Some(refusal.clone())
    }

    pub fn take_calls(&self) -> Vec<Call> {
        std::mem::take(&mut self.calls.lock().unwrap())
    }

    /// Refuses the next `times` calls of an action.
    pub fn refuse(&self, times: usize, action: &str, refusal: Refusal) {
        self.refusals.lock().unwrap().push((action.to_owned(), times, refusal));
    }

    /// Removes all refusals and faults.
    pub fn clear_faults(&self) {
        self.refusals.lock().unwrap().clear();
        self.traffic.clear_faults();
    }

    /// The registry behind an ECR registry, started on first use.
    pub async fn backend(&self, registry_id: &RegistryId) -> Arc<Backend> {
        let mut backends = self.backends.lock().await;
        if let Some(backend) = backends.get(registry_id) {
            return Arc::clone(backend);
        }
        let registry = Registry::distribution(Access::Anonymous).await;
        let backend = Arc::new(Backend {
            upstream: Upstream::new(registry.url()),
            registry,
            mounts: AtomicBool::default(),
            referenced: Mutex::default(),
        });
        backends.insert(registry_id.clone(), Arc::clone(&backend));
        backend
    }

    /// The description of a repository, if it exists.
    pub async fn repository(&self, registry_id: &RegistryId, name: &str) -> Option<Value> {
        let key = (registry_id.clone(), name.to_owned());
        if let Some(cached) = self.repositories.lock().unwrap().get(&key) {
            return Some(cached.clone());
        }
        let body = json!({ "registryId": registry_id.account, "repositoryNames": [name] });
        let response =
            self.moto.call(&registry_id.account, &registry_id.region, "DescribeRepositories", &body).await.ok()?;
        let repository = response["repositories"][0].clone();
        self.repositories.lock().unwrap().insert(key, repository.clone());
        Some(repository)
    }

    pub fn clear_repository_cache(&self) {
        self.repositories.lock().unwrap().clear();
    }
}
