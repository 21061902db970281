//! What the parts of the stand-in for AWS know together.

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

/// What the program signs with: nobody is let in by it, and nobody may see it.
pub const SECRET_KEY: &str = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYCOPYCATKEY";

/// An account's registry in a region.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Place {
    /// Twelve digits.
    pub account: String,
    /// `eu-central-1`
    pub region: String,
}

impl Place {
    pub fn new(account: &str, region: &str) -> Self {
        Self { account: account.to_owned(), region: region.to_owned() }
    }

    /// What tokens are issued for.
    pub fn registry(&self) -> String {
        format!("{}/{}", self.account, self.region)
    }
}

/// What stands behind the data plane of one registry.
pub struct Backing {
    /// It keeps what is pushed.
    pub registry: Registry,
    /// The way to it.
    pub upstream: Upstream,
    /// Whether blobs may be mounted from one repository into another.
    pub mounts: AtomicBool,
    /// The blobs that a manifest refers to.
    pub referenced: Mutex<HashSet<String>>,
}

/// What all parts share.
pub struct Cloud {
    pub moto: &'static Moto,
    /// The way to it.
    pub upstream: Upstream,
    /// The caller's account, and an access key of it.
    pub account: String,
    pub key: String,
    pub tokens: Tokens,
    /// The requests to registries.
    pub traffic: Traffic,
    /// The status of a refusal because a token has expired.
    pub expired: AtomicU16,
    calls: Mutex<Vec<Call>>,
    refusals: Mutex<Vec<(String, usize, Refusal)>>,
    /// The account of each access key.
    keys: Mutex<HashMap<String, String>>,
    secrets: Mutex<Vec<String>>,
    backings: tokio::sync::Mutex<HashMap<Place, Arc<Backing>>>,
    /// What moto said of repositories since it was last changed.
    repositories: Mutex<HashMap<(Place, String), Value>>,
}

impl Cloud {
    /// With a caller in an account that nobody else uses.
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
            backings: tokio::sync::Mutex::default(),
            repositories: Mutex::default(),
        }
    }

    /// Knows an access key from now on, and what goes with it as secret.
    pub fn add_key(&self, key: &str, account: &str, secrets: impl IntoIterator<Item = String>) {
        self.keys.lock().unwrap().insert(key.to_owned(), account.to_owned());
        self.secrets.lock().unwrap().extend(secrets);
    }

    /// The account of an access key.
    pub fn account_of(&self, key: &str) -> Option<String> {
        self.keys.lock().unwrap().get(key).cloned()
    }

    /// All that nobody may tell.
    pub fn secrets(&self) -> Vec<String> {
        let mut secrets = self.secrets.lock().unwrap().clone();
        secrets.extend(self.tokens.all());
        secrets
    }

    /// Writes a call down, and says how it is to be refused.
    pub fn note(&self, call: &Call) -> Option<Refusal> {
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

    /// Refuses nothing any more.
    pub fn heal(&self) {
        self.refusals.lock().unwrap().clear();
        self.traffic.heal();
    }

    /// What keeps the images of a registry, started when it is first asked for.
    pub async fn backing(&self, place: &Place) -> Arc<Backing> {
        let mut backings = self.backings.lock().await;
        if let Some(backing) = backings.get(place) {
            return Arc::clone(backing);
        }
        let registry = Registry::distribution(Access::Anonymous).await;
        let backing = Arc::new(Backing {
            upstream: Upstream::new(registry.url()),
            registry,
            mounts: AtomicBool::default(),
            referenced: Mutex::default(),
        });
        backings.insert(place.clone(), Arc::clone(&backing));
        backing
    }

    /// What moto says of a repository, if there is one.
    pub async fn repository(&self, place: &Place, name: &str) -> Option<Value> {
        let key = (place.clone(), name.to_owned());
        if let Some(known) = self.repositories.lock().unwrap().get(&key) {
            return Some(known.clone());
        }
        let body = json!({ "registryId": place.account, "repositoryNames": [name] });
        let said = self.moto.ask(&place.account, &place.region, "DescribeRepositories", &body).await.ok()?;
        let repository = said["repositories"][0].clone();
        self.repositories.lock().unwrap().insert(key, repository.clone());
        Some(repository)
    }

    /// Asks moto again about each repository.
    pub fn forget_repositories(&self) {
        self.repositories.lock().unwrap().clear();
    }
}
