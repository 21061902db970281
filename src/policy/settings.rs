//! The settings of the policy: the plugins, their limits, and the configuration of the default plugins.

use std::{collections::BTreeMap, fmt, path::PathBuf, sync::Arc, time::Duration};

use serde_json::{Value, json};

use crate::model::{Hook, OnFailure, Reference, Target, WorkloadKind};

/// The plugins, and the configuration of the default plugins.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The user's plugins in the order of their calls; names distinct.
    pub plugins: Vec<PluginSettings>,
    /// The hooks whose chain ends with the default plugin.
    pub defaults: Vec<Hook>,
    /// Configures the default plugin of `skip`.
    pub skip: SkipSettings,
    /// Configures the default plugin of `path-mapping`, in order.
    pub path_map: Vec<PathMapRule>,
    /// The configured targets; names distinct.
    pub targets: Vec<Arc<Target>>,
    /// The number of decisions made at the same time, and so the maximum number of instances of a plugin; at least 1.
    pub threads: usize,
}

/// One of the user's plugins.
#[derive(Clone, Debug)]
pub struct PluginSettings {
    /// Its name in logs, metrics and decisions.
    pub name: String,
    /// Where its code comes from.
    pub module: Module,
    /// Passed to `configure` as JSON. None: nothing is configured.
    pub config: Option<Value>,
    /// Its limits.
    pub limits: PluginLimits,
    /// What happens when a call fails.
    pub on_failure: OnFailure,
}

/// Where the code of a plugin comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Module {
    /// A file, plain or compressed with gzip. It may be a symbolic link, as all files of a mounted ConfigMap are.
    File(PathBuf),
    /// Pulled from a registry.
    Fetched {
        /// The reference, with a digest.
        reference: Reference,
        /// The component.
        bytes: Arc<[u8]>,
    },
}

impl Module {
    /// Where it comes from, without its code.
    pub fn origin(&self) -> Origin {
        match self {
            Self::File(file) => Origin::File(file.clone()),
            Self::Fetched { reference, .. } => Origin::Registry(reference.to_string()),
        }
    }
}

/// Where a plugin comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Part of the program.
    BuiltIn,
    /// A file.
    File(PathBuf),
    /// A reference in a registry.
    Registry(String),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BuiltIn => f.write_str("built in"),
            Self::File(path) => path.display().fmt(f),
            Self::Registry(reference) => write!(f, "oci: {reference}"),
        }
    }
}

/// The limits of one plugin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PluginLimits {
    /// The maximum duration of a hook call.
    pub timeout: Duration,
    /// The maximum duration of instantiation, and of `configure`.
    pub configure_timeout: Duration,
    /// The maximum memory of an instance, in bytes.
    pub memory: usize,
    /// The maximum size of the module after decompression, in bytes.
    pub module: usize,
    /// The maximum size of an answer or a log message, in bytes.
    pub output: usize,
    /// The maximum number of instances; at least 1. [`Settings::threads`] is another limit.
    pub instances: usize,
    /// The maximum number of log lines per second.
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

/// What the default plugin of `skip` skips.
#[derive(Clone, Debug)]
pub struct SkipSettings {
    /// Names and shell globs; `*` matches all.
    pub include_namespaces: Vec<String>,
    /// Exact names.
    pub skip_namespaces: Vec<String>,
    /// Exact `name`, `namespace/name`, or `*`, by kind.
    pub skip_names: BTreeMap<WorkloadKind, Vec<String>>,
    /// Prefixes of image references.
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
    /// A path prefix or a regular expression.
    pub from: String,
    /// The replacement.
    pub to: String,
    /// Whether `from` is a regular expression.
    pub regex: bool,
}

impl Settings {
    /// The configuration of the default plugin of `hook`. None: it takes none.
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
