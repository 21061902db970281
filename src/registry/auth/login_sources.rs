//! Where the login at a registry comes from: several sources, asked in order when the registry wants a login.

use std::{
    collections::HashMap,
    path::Path,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use super::{
    account::Account,
    clouds::{AzureLogin, CloudLogin, GoogleIdentity},
    docker_login::{DockerLogin, HelperLogin},
    obtained_login::{LoginError, Obtained},
};
use crate::{
    model::Login,
    registry::{
        ecr::{AwsSession, PublicLogin},
        fault::Fault,
        http::transport::Transport,
    },
};

/// The user name of an identity token, as `docker login` stores it.
pub(super) const IDENTITY_TOKEN: &str = "<token>";

/// How long a registry is asked without a login that it rejected: it is not sent again for each repository.
const WITHOUT_REJECTED: Duration = Duration::from_secs(10 * 60);

/// A source of the login at one registry.
pub(in crate::registry) enum LoginSource {
    /// The configuration.
    Configured(Arc<Login>),
    /// A file of `docker login` or `podman login`.
    Stored {
        login: Arc<Login>,
        file: Arc<Path>,
    },
    /// A credential helper of Docker.
    Helper(HelperLogin),
    /// An AWS identity, for the public registry.
    AwsPublic {
        aws: AwsSession,
        login: Arc<PublicLogin>,
    },
    Google(Arc<GoogleIdentity>),
    Azure(Arc<AzureLogin>),
}

impl From<DockerLogin> for LoginSource {
    fn from(login: DockerLogin) -> Self {
        match login {
            DockerLogin::Stored { login, file } => Self::Stored { login, file },
            DockerLogin::Helper(helper) => Self::Helper(helper),
        }
    }
}

impl From<CloudLogin> for LoginSource {
    fn from(login: CloudLogin) -> Self {
        match login {
            CloudLogin::Google(identity) => Self::Google(identity),
            CloudLogin::Azure(login) => Self::Azure(login),
        }
    }
}

/// The sources of the login at one registry. The first that has a login is used.
pub(in crate::registry) struct LoginSources {
    registry: String,
    sources: Vec<LoginSource>,
    last: Mutex<LastChoice>,
    /// The last login of each source that the registry rejected, and when.
    rejected: Mutex<HashMap<usize, (Arc<Login>, Instant)>>,
    /// Whether a rejected login has been logged.
    has_warned: AtomicBool,
}

/// What the sources answered when they were asked last.
#[derive(Default)]
struct LastChoice {
    was_asked: bool,
    /// The login, with the index of its source.
    chosen: Option<(usize, Arc<Login>)>,
    /// Of a source before that one.
    failure: Option<LoginError>,
}

/// The login to use.
#[derive(Clone)]
pub(in crate::registry) struct ChosenLogin {
    pub login: Arc<Login>,
    /// The index of its source.
    source: usize,
    /// What the source keeps.
    obtained: Option<Arc<Obtained>>,
}

impl ChosenLogin {
    /// Whether it is another login than the one that was sent.
    pub(super) fn is_other_than(&self, sent: Option<&Self>) -> bool {
        sent.is_none_or(|sent| sent.login != self.login)
    }
}

impl LoginSources {
    pub(in crate::registry) fn new(registry: &str, sources: Vec<LoginSource>) -> Self {
        Self {
            registry: registry.to_owned(),
            sources,
            last: Mutex::default(),
            rejected: Mutex::default(),
            has_warned: AtomicBool::new(false),
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.sources.is_empty()
    }

    /// Whether the registry is Amazon's public one, used with an identity.
    pub(super) fn is_public_ecr(&self) -> bool {
        matches!(self.sources.as_slice(), [LoginSource::AwsPublic { .. }])
    }

    /// The login of the first source that has one. A source that fails is left out, since the registry may want no login
    /// for what is requested; [`LoginSources::explain`] tells of it if the registry refuses.
    pub(super) async fn choose(&self, transport: &Arc<Transport>) -> Result<Option<ChosenLogin>, Fault> {
        let mut failure = None;
        for (source, place) in self.sources.iter().enumerate() {
            let obtained = match place {
                LoginSource::Stored { login, .. } if self.is_rejected(source, login) => {
                    failure = failure.or_else(|| Some(self.rejection(place, login)));
                    continue;
                }
                LoginSource::Configured(login) | LoginSource::Stored { login, .. } => {
                    let chosen = ChosenLogin { login: Arc::clone(login), source, obtained: None };
                    return Ok(self.record(Some(chosen), failure));
                }
                LoginSource::AwsPublic { aws, login } => {
                    if let Some(login) = login.get(aws).await.map_err(Fault::Aws)? {
                        return Ok(self.record(Some(ChosenLogin { login, source, obtained: None }), failure));
                    }
                    continue;
                }
                LoginSource::Helper(helper) => helper.get(&self.registry).await,
                LoginSource::Google(identity) => identity.get(transport, &self.registry).await,
                LoginSource::Azure(login) => login.get(transport).await,
            };
            match obtained {
                Ok(obtained) => {
                    if let Some(login) = &obtained.value {
                        if self.is_rejected(source, login) {
                            failure = failure.or_else(|| Some(self.rejection(place, login)));
                            continue;
                        }
                        let chosen = ChosenLogin { login: Arc::clone(login), source, obtained: Some(obtained) };
                        return Ok(self.record(Some(chosen), failure));
                    }
                }
                Err(error) => failure = failure.or(Some(error)),
            }
        }
        Ok(self.record(None, failure))
    }

    /// Another login instead of one that the registry rejected; None: there is none, or the same one.
    pub(super) async fn replace(
        &self,
        transport: &Arc<Transport>,
        rejected: &ChosenLogin,
    ) -> Result<Option<ChosenLogin>, Fault> {
        let may_be_new = match (self.sources.get(rejected.source), &rejected.obtained) {
            (Some(LoginSource::Helper(helper)), Some(obtained)) => helper.invalidate(obtained),
            (Some(LoginSource::Google(identity)), Some(obtained)) => identity.invalidate(obtained),
            (Some(LoginSource::Azure(login)), Some(obtained)) => login.invalidate(obtained),
            _ => false,
        };
        if !may_be_new {
            return Ok(None);
        }
        Ok(self.choose(transport).await?.filter(|chosen| chosen.login != rejected.login))
    }

    /// Whether the registry may be asked without a login after it rejected this one, which is logged once: not if the
    /// login is configured.
    pub(super) fn can_do_without(&self, rejected: &ChosenLogin, fault: &Fault) -> bool {
        let Some(source) = self.sources.get(rejected.source) else { return false };
        if matches!(source, LoginSource::Configured(_)) {
            return false;
        }
        if !self.has_warned.swap(true, Ordering::Relaxed) {
            let (registry, account) = (&self.registry, source.account(Some(&rejected.login)));
            tracing::warn!(registry, %fault, "the registry does not accept {account}: it is asked without a login");
        }
        // Repeated rejections get accounts locked.
        let mut all = self.rejected.lock().unwrap_or_else(PoisonError::into_inner);
        all.insert(rejected.source, (Arc::clone(&rejected.login), Instant::now()));
        true
    }

    fn is_rejected(&self, source: usize, login: &Login) -> bool {
        let rejected = self.rejected.lock().unwrap_or_else(PoisonError::into_inner);
        rejected.get(&source).is_some_and(|(rejected, at)| **rejected == *login && at.elapsed() < WITHOUT_REJECTED)
    }

    fn rejection(&self, source: &LoginSource, login: &Login) -> LoginError {
        LoginError {
            operation: format!("logging in at {}", self.registry),
            problem: format!("{} was not accepted", source.account(Some(login))),
            remedy: format!(
                "log in again (docker login), or set registryCredentials; it is sent again after {} minutes",
                WITHOUT_REJECTED.as_secs() / 60
            ),
        }
    }

    fn record(&self, chosen: Option<ChosenLogin>, failure: Option<LoginError>) -> Option<ChosenLogin> {
        let choice = chosen.as_ref().map(|chosen| (chosen.source, Arc::clone(&chosen.login)));
        *self.last() = LastChoice { was_asked: true, chosen: choice, failure };
        chosen
    }

    fn last(&self) -> MutexGuard<'_, LastChoice> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// As whom the registry is used.
    pub(super) fn account(&self) -> Account {
        let last = self.last();
        if let Some((source, login)) = &last.chosen {
            return self.sources.get(*source).map_or(Account::Anonymous, |source| source.account(Some(login)));
        }
        match (last.was_asked, &last.failure, self.sources.first()) {
            (true, Some(failure), _) => Account::Without(failure.to_string()),
            (true, None, _) | (.., None) => Account::Anonymous,
            (false, _, Some(source)) if source.is_there() => source.account(None),
            (false, _, Some(source)) => Account::IfThere(Box::new(source.account(None))),
        }
    }

    /// Whether there is a login, as far as is known.
    pub(super) fn has_login(&self) -> bool {
        let last = self.last();
        last.chosen.is_some() || (!last.was_asked && self.sources.first().is_some_and(LoginSource::is_there))
    }

    /// With what to do about a refusal, which depends on where the login came from.
    pub(super) fn explain(&self, fault: Fault) -> Fault {
        let account = self.account();
        let failure = self.last().failure.as_ref().map(LoginError::to_string);
        fault.with_advice_if_refused(match (advice(&account), failure) {
            (Some(advice), Some(failure)) => Some(format!("{advice}; {failure}")),
            (advice, failure) => advice.or(failure),
        })
    }
}

impl LoginSource {
    /// Whether it has a login for sure.
    fn is_there(&self) -> bool {
        matches!(self, Self::Configured(_) | Self::Stored { .. })
    }

    /// As whom a registry is used with this login of it; None: it has not been asked yet.
    fn account(&self, login: Option<&Login>) -> Account {
        let user = |login: &Login| match login {
            Login::Password { username, .. } if username != IDENTITY_TOKEN => Some(username.clone()),
            Login::Password { .. } | Login::Token(_) => None,
        };
        match self {
            Self::Configured(login) => user(login).map_or(Account::Token, Account::User),
            Self::Stored { login, file } => Account::Stored { user: user(login), file: Arc::clone(file) },
            Self::Helper(helper) => Account::Helper { user: login.and_then(user), program: helper.program() },
            Self::AwsPublic { .. } => Account::Aws,
            Self::Google(_) => Account::Google,
            Self::Azure(_) => Account::Azure,
        }
    }
}

/// None: what is advised for configured credentials.
fn advice(account: &Account) -> Option<String> {
    match account {
        Account::Stored { .. } | Account::Helper { .. } => Some(format!(
            "it does not accept {account}, or does not allow this: log in again (docker login), or set registryCredentials"
        )),
        Account::Google => Some(
            "give the Google identity the role roles/artifactregistry.reader (to push: roles/artifactregistry.writer), \
             and check that the repository exists"
                .to_owned(),
        ),
        Account::Azure => Some(
            "give the Azure identity the role AcrPull (to push: AcrPush), and check that the repository exists".to_owned(),
        ),
        _ => None,
    }
}
