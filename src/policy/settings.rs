//! What the policy is told at its start.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use serde_json::{Value, json};

use super::module::Module;
use crate::model::{Hook, Target, WorkloadKind};

/// Who is asked, and what the default plugins are configured with.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The user's plugins, in the order in which they are asked; names distinct.
    pub plugins: Vec<PluginSettings>,
    /// The hooks that have their default plugin at the end of the chain.
    pub defaults: Vec<Hook>,
    /// For the default plugin of `skip`.
    pub skip: SkipSettings,
    /// For the default plugin of `path-mapping`, in order.
    pub path_map: Vec<PathMapRule>,
    /// Where images may go; names distinct.
    pub targets: Vec<Arc<Target>>,
    /// Who decides at once, and with it how many instances of a plugin there are at most; at least 1.
    pub threads: usize,
}

/// One plugin of the user's.
#[derive(Clone, Debug)]
pub struct PluginSettings {
    /// Its name, for people.
    pub name: String,
    /// Its code.
    pub module: Module,
    /// What `configure` is handed as JSON; none where the user gave none.
    pub config: Option<Value>,
    /// What is done to it and for it.
    pub limits: PluginLimits,
    /// What a failing call means.
    pub on_failure: OnFailure,
}

/// What one plugin may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PluginLimits {
    /// How long a hook call may take.
    pub timeout: Duration,
    /// How long instantiating and `configure` may take.
    pub configure_timeout: Duration,
    /// The most linear memory that an instance may have, in bytes.
    pub memory: usize,
    /// The longest module, unpacked, in bytes.
    pub module: usize,
    /// The most that a call may answer or log at once, in bytes.
    pub output: usize,
    /// The most instances, if that is less than who decides at once; at least 1.
    pub instances: usize,
    /// The most lines that it may log in a second.
    pub log_lines: u32,
}

impl Default for PluginLimits {
    fn default() -> Self {
        Self {
            timeout: Duration::from_secs(1),
            configure_timeout: Duration::from_secs(5),
            memory: 64 << 20,
            module: 64 << 20,
            output: 1 << 20,
            instances: usize::MAX,
            log_lines: 20,
        }
    }
}

/// What a failing call means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnFailure {
    /// The image use fails.
    Fail,
    /// The next plugin of the chain is asked.
    Pass,
}

/// What is left out.
#[derive(Clone, Debug)]
pub struct SkipSettings {
    /// Names and shell globs; `*` alone for all.
    pub include_namespaces: Vec<String>,
    /// Exact names.
    pub skip_namespaces: Vec<String>,
    /// Exact `name`, `namespace/name`, or `*`, by kind.
    pub skip_names: BTreeMap<WorkloadKind, Vec<String>>,
    /// Prefixes of images.
    pub exclude_registries: Vec<String>,
}

impl Default for SkipSettings {
    fn default() -> Self {
        Self {
            include_namespaces: vec!["*".to_owned()],
            skip_namespaces: Vec::new(),
            skip_names: BTreeMap::new(),
            exclude_registries: Vec::new(),
        }
    }
}

/// One rule of `pathMap`.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct PathMapRule {
    /// A path prefix, or a regular expression.
    pub from: String,
    /// What comes in its place.
    pub to: String,
    /// Whether `from` is a regular expression.
    pub regex: bool,
}

impl Settings {
    /// The configuration of the default plugin of `hook`; none where it takes none.
    pub(super) fn default_config(&self, hook: Hook) -> Option<Value> {
        match hook {
            Hook::Skip => Some(self.skip.config()),
            Hook::TargetSelection => None,
            Hook::PathMapping => Some(json!({ "pathMap": self.path_map })),
            Hook::RepositoryPrefix => {
                let templates: Vec<&str> = self.targets.iter().map(|target| target.repo_prefix.as_str()).collect();
                Some(json!({ "templates": templates }))
            }
        }
    }
}

impl SkipSettings {
    fn config(&self) -> Value {
        let setting = |kind: WorkloadKind| match kind {
            WorkloadKind::Deployment => "deployments",
            WorkloadKind::StatefulSet => "statefulSets",
            WorkloadKind::DaemonSet => "daemonSets",
            WorkloadKind::Job => "jobs",
            WorkloadKind::CronJob => "cronJobs",
            WorkloadKind::Pod => "pods",
        };
        let names: BTreeMap<&str, &Vec<String>> =
            self.skip_names.iter().map(|(kind, names)| (setting(*kind), names)).collect();
        json!({
            "includeNamespaces": self.include_namespaces,
            "skipNamespaces": self.skip_namespaces,
            "skipNames": names,
            "excludeRegistries": self.exclude_registries,
        })
    }
}
