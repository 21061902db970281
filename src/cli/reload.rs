//! Takes a changed configuration or a changed plugin into force, or refuses it and goes on with what there was.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::{
    task::{JoinError, spawn_blocking},
    time::sleep,
};
use tracing::warn;

use crate::{
    config::{self, Config, Flags, Loaded},
    mirror::{Mirror, Reconfiguration, Stopped},
    model::{Event, Observer},
    policy::Policy,
    registry::Aws,
};

use super::{CommandError, assemble, files::Snapshot, modules::Modules, start::variable};

/// How often the files are looked at. The kubelet itself takes up to a minute to bring a ConfigMap's change.
const PERIOD: Duration = Duration::from_millis(250);

/// What the operator is shown of it.
#[derive(Clone, Debug, Default)]
pub struct ReloadState {
    /// Why what is on disk is not in force, where it is not.
    pub refused: Option<String>,
    /// What has changed on disk and takes effect after a restart only.
    pub needs_restart: Vec<&'static str>,
}

/// What is in force, and who has to learn of another.
pub struct Reloading {
    flags: Flags,
    /// As it was at the start: what needs a restart is compared with it.
    first: Arc<Config>,
    current: Arc<Config>,
    modules: Modules,
    policy: Arc<Policy>,
    mirror: Mirror,
    aws: Aws,
    observer: Arc<dyn Observer>,
    state: Arc<Mutex<ReloadState>>,
}

impl Reloading {
    /// Nothing is looked at yet.
    pub fn new(
        flags: Flags,
        config: Arc<Config>,
        modules: Modules,
        (policy, mirror): (Arc<Policy>, Mirror),
        aws: Aws,
        observer: Arc<dyn Observer>,
    ) -> Self {
        let (first, current, state) = (config.clone(), config, Arc::default());
        Self { flags, first, current, modules, policy, mirror, aws, observer, state }
    }

    /// What the operator is shown, now and later.
    pub fn state(&self) -> Arc<Mutex<ReloadState>> {
        Arc::clone(&self.state)
    }

    /// Follows the files, as they were when `seen` was taken. Ends when the mirror does.
    pub async fn follow(mut self, mut seen: Snapshot) -> Stopped {
        loop {
            let now = seen.again();
            if now == seen {
                sleep(PERIOD).await;
                continue;
            }
            // Who writes in place may be in the midst of it.
            sleep(PERIOD).await;
            if now.again() != now {
                continue;
            }
            let (read, refused) = match self.reload().await {
                Ok(read) => (read, None),
                Err(Refused::Stopped(stopped)) => return stopped,
                Err(Refused::Unusable(read, reason)) => (read, Some(reason)),
                Err(Refused::Outdated) => continue,
            };
            match &refused {
                None => self.observer.observe(&Event::Reloaded),
                Some(reason) => self.observer.observe(&Event::ReloadRefused { reason }),
            }
            self.state.lock().unwrap_or_else(PoisonError::into_inner).refused = refused;
            // The earlier state counts, so that what changed meanwhile is seen the next time.
            seen = now.and(read);
        }
    }

    /// Answers with the files that were looked at, before plugins were loaded from them.
    async fn reload(&mut self) -> Result<Snapshot, Refused> {
        let flags = self.flags.clone();
        let loaded = spawn_blocking(move || {
            config::load(&flags, &variable).map_err(|settings| {
                let read = Snapshot::take(settings.files().to_vec());
                let plugins = assemble::broken(settings.plugins());
                Refused::unusable(&read, CommandError::Configuration { settings, plugins }.to_string())
            })
        });
        let broken = |error: JoinError| Refused::Unusable(Snapshot::default(), format!("reading broke down: {error}"));
        let Loaded { config, files, warnings } = loaded.await.map_err(broken)??;
        let read = Snapshot::take(files);
        let unusable = |reason: String| Refused::unusable(&read, reason);
        let modules = self.modules.fetched(&config).await;
        let modules = modules.map_err(|errors| unusable(CommandError::Modules(errors).to_string()))?;
        let settings = assemble::policy_settings(&config, &modules);
        let policy = Arc::clone(&self.policy);
        let successor = spawn_blocking(move || policy.prepare(settings)).await;
        let successor = successor
            .map_err(|broken| unusable(format!("loading the plugins broke down: {broken}")))?
            .map_err(|errors| unusable(CommandError::Plugins(errors).to_string()))?;
        let copier = if copies_alike(&self.current, &config) {
            None
        } else {
            let copier = assemble::copier(&config, &self.aws, self.observer.clone());
            Some(copier.map_err(|error| unusable(error.to_string()))?)
        };
        // A plugin's settings of one version and its module of the next would be neither.
        if read.again() != read {
            return Err(Refused::Outdated);
        }
        for warning in warnings {
            warn!("{warning}");
        }
        let needs_restart = needs_restart(&self.first, &config);
        for setting in &needs_restart {
            warn!(setting, "changed; takes effect after a restart");
        }
        self.state.lock().unwrap_or_else(PoisonError::into_inner).needs_restart = needs_restart;
        let places = assemble::places(&config.copy, &self.first.watch);
        let new = Reconfiguration {
            policy: successor,
            copier,
            cooldown: config.copy.failure_cooldown,
            max_concurrency: places,
        };
        self.mirror.reconfigure(new).await?;
        (self.current, self.modules) = (Arc::new(config), modules);
        Ok(read)
    }
}

/// Why nothing changed.
enum Refused {
    /// What is on disk can't be used, for this reason; the files that were looked at.
    Unusable(Snapshot, String),
    /// The files changed while they were read.
    Outdated,
    Stopped(Stopped),
}

impl Refused {
    fn unusable(read: &Snapshot, reason: String) -> Self {
        if read.again() == *read { Self::Unusable(read.clone(), reason) } else { Self::Outdated }
    }
}

impl From<Stopped> for Refused {
    fn from(stopped: Stopped) -> Self {
        Self::Stopped(stopped)
    }
}

/// Whether nothing has changed of what copies images.
fn copies_alike(old: &Config, new: &Config) -> bool {
    (&old.targets, &old.copy, &old.credentials, &old.registries)
        == (&new.targets, &new.copy, &new.credentials, &new.registries)
}

/// What has changed and is read once, at the start.
fn needs_restart(old: &Config, new: &Config) -> Vec<&'static str> {
    let changed = [
        ("watchResources", old.watch.resources != new.watch.resources),
        ("includeNamespaces", assemble::watch_settings(old).namespaces != assemble::watch_settings(new).namespaces),
        ("checkNodePlatform", assemble::watch_settings(old).nodes != assemble::watch_settings(new).nodes),
        ("forceReconcileMinutes", old.copy.force_reconcile != new.copy.force_reconcile),
        ("logLevel", old.process != new.process),
    ];
    changed.into_iter().filter(|(_, changed)| *changed).map(|(setting, _)| setting).collect()
}
