//! Reloads a changed configuration or changed plugins. If the new version fails to load, the old one stays active.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::{task::spawn_blocking, time::sleep};
use tracing::warn;

use super::{
    CommandError,
    build::{self, PluginArtifacts},
    env,
    file_states::FileStates,
};
use crate::{
    config::{self, Config, Flags, Loaded},
    mirror::{Mirror, Reconfiguration, Stopped},
    model::{Event, Observer, PullSecrets},
    policy::Policy,
    registry::Aws,
};

/// Between two checks of the files. The kubelet takes up to a minute to update a mounted ConfigMap.
const POLL_INTERVAL: Duration = Duration::from_millis(250);

/// The state of reloading, for `/plugins` and `/status`.
#[derive(Clone, Debug)]
pub struct ReloadState {
    /// The active configuration.
    pub active: Arc<Config>,
    /// Why the changed configuration was rejected; none if it is active.
    pub error: Option<String>,
    /// Changed settings that take effect only after a restart.
    pub needs_restart: Vec<&'static str>,
}

/// Watches the configuration and plugin files, and reloads them.
pub struct Reloader {
    flags: Flags,
    /// The configuration at the start, to find changes that need a restart.
    initial: Arc<Config>,
    current: Arc<Config>,
    artifacts: PluginArtifacts,
    policy: Arc<Policy>,
    mirror: Mirror,
    aws: Aws,
    pull_secrets: Option<Arc<dyn PullSecrets>>,
    observer: Arc<dyn Observer>,
    state: Arc<Mutex<ReloadState>>,
}

impl Reloader {
    pub fn new(
        flags: Flags,
        config: Arc<Config>,
        artifacts: PluginArtifacts,
        (policy, mirror): (Arc<Policy>, Mirror),
        (aws, pull_secrets): (Aws, Option<Arc<dyn PullSecrets>>),
        observer: Arc<dyn Observer>,
    ) -> Self {
        let state = ReloadState { active: config.clone(), error: None, needs_restart: Vec::new() };
        let (initial, current, state) = (config.clone(), config, Arc::new(Mutex::new(state)));
        Self { flags, initial, current, artifacts, policy, mirror, aws, pull_secrets, observer, state }
    }

    /// The state, which is updated by every reload.
    pub fn state(&self) -> Arc<Mutex<ReloadState>> {
        Arc::clone(&self.state)
    }

    /// Reloads whenever the files differ from `last`. Returns when the mirror has stopped.
    pub async fn run(mut self, mut last: FileStates) -> Stopped {
        loop {
            let changed = last.current();
            if changed == last {
                sleep(POLL_INTERVAL).await;
                continue;
            }
            // A file may be written in several steps.
            sleep(POLL_INTERVAL).await;
            if changed.current() != changed {
                continue;
            }
            let (read, error) = match self.reload().await {
                Ok(read) => (read, None),
                Err(Rejection::Stopped(stopped)) => return stopped,
                Err(Rejection::Invalid(read, reason)) => (read, Some(reason)),
                Err(Rejection::Outdated) => continue,
            };
            match &error {
                None => self.observer.observe(&Event::Reloaded),
                Some(reason) => self.observer.observe(&Event::ReloadRefused { reason }),
            }
            self.state.lock().unwrap_or_else(PoisonError::into_inner).error = error;
            // The earlier state takes precedence, so that changes since then are noticed.
            last = changed.merge(read);
        }
    }

    /// Returns the state of the files before plugins were loaded from them.
    async fn reload(&mut self) -> Result<FileStates, Rejection> {
        let flags = self.flags.clone();
        let loading = spawn_blocking(move || {
            config::load(&flags, &env::variable).map_err(|settings| {
                let read = FileStates::take(settings.files().to_vec());
                let plugins = build::invalid_plugins(settings.plugins());
                Rejection::invalid(&read, &CommandError::Configuration { settings, plugins })
            })
        });
        let panicked = |task| move |source| CommandError::Panicked { task, source };
        let loaded = loading.await.map_err(panicked("reading the configuration"));
        let Loaded { config, files, warnings } =
            loaded.map_err(|error| Rejection::invalid(&FileStates::default(), &error))??;
        let read = FileStates::take(files);
        let invalid = |error: CommandError| Rejection::invalid(&read, &error);
        let artifacts = self.artifacts.fetched(&config).await;
        let artifacts = artifacts.map_err(|errors| invalid(CommandError::Artifacts(errors)))?;
        let settings = build::policy_settings(&config, &artifacts);
        let policy = Arc::clone(&self.policy);
        let prepared = spawn_blocking(move || policy.prepare(settings)).await;
        let prepared = prepared
            .map_err(|error| invalid(panicked("loading the plugins")(error)))?
            .map_err(|errors| invalid(CommandError::Plugins(errors)))?;
        let (copier, verifier) = if has_same_copier(&self.current, &config) {
            (None, None)
        } else {
            let (aws, pull_secrets) = (&self.aws, self.pull_secrets.as_ref());
            let built = build::copier_and_verifier(&config, aws, pull_secrets, self.observer.clone());
            let (copier, verifier) = built.map_err(|error| invalid(error.into()))?;
            (Some(copier), verifier)
        };
        // The configuration and the plugins must be of the same version.
        if read.current() != read {
            return Err(Rejection::Outdated);
        }
        for warning in warnings {
            warn!("{warning}");
        }
        let needs_restart = needs_restart(&self.initial, &config);
        for setting in &needs_restart {
            warn!(setting, "changed setting takes effect after a restart");
        }
        self.state.lock().unwrap_or_else(PoisonError::into_inner).needs_restart = needs_restart;
        let max_concurrency = build::max_concurrency(&config.copy, &self.initial.watch);
        let cooldown = config.copy.failure_cooldown;
        let new = Reconfiguration { policy: prepared, copier, verifier, cooldown, max_concurrency };
        self.mirror.reconfigure(new).await?;
        (self.current, self.artifacts) = (Arc::new(config), artifacts);
        self.state.lock().unwrap_or_else(PoisonError::into_inner).active = Arc::clone(&self.current);
        Ok(read)
    }
}

/// Why the active configuration is kept.
enum Rejection {
    /// The files that were read are invalid, for this reason.
    Invalid(FileStates, String),
    /// The files changed while they were read.
    Outdated,
    Stopped(Stopped),
}

impl Rejection {
    fn invalid(read: &FileStates, error: &CommandError) -> Self {
        if read.current() == *read { Self::Invalid(read.clone(), error.lines().join("\n")) } else { Self::Outdated }
    }
}

impl From<Stopped> for Rejection {
    fn from(stopped: Stopped) -> Self {
        Self::Stopped(stopped)
    }
}

/// Whether nothing has changed that the copier depends on.
fn has_same_copier(old: &Config, new: &Config) -> bool {
    (&old.targets, &old.further_sources, &old.copy, &old.credentials, &old.docker_logins, &old.registries)
        == (&new.targets, &new.further_sources, &new.copy, &new.credentials, &new.docker_logins, &new.registries)
}

/// The changed settings that are read only at the start.
fn needs_restart(old: &Config, new: &Config) -> Vec<&'static str> {
    let (old_watch, new_watch) = (build::watch_settings(old), build::watch_settings(new));
    let changed = [
        ("watchResources", old.watch.resources != new.watch.resources),
        ("includeNamespaces", old_watch.namespaces != new_watch.namespaces),
        ("checkNodePlatform", old_watch.nodes != new_watch.nodes),
        ("pullSecrets", old_watch.pull_secrets != new_watch.pull_secrets),
        ("forceReconcileMinutes", old.copy.force_reconcile != new.copy.force_reconcile),
        ("logLevel", old.process.log_level != new.process.log_level),
        ("operationsAuthorization", old.process.operations_authorization != new.process.operations_authorization),
    ];
    changed.into_iter().filter(|(_, changed)| *changed).map(|(setting, _)| setting).collect()
}
