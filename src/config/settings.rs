//! What was set, as the other rooms see it.

use std::{collections::BTreeMap, net::SocketAddr, path::PathBuf, time::Duration};

use regex::Regex;

use crate::model::{
    Credential, EcrRegistry, Hook, Login, NewRepositories, Platform, Reference, RegistryAccess, TargetKind,
    WorkloadKind,
};

/// Everything that was set, checked.
#[derive(Debug, PartialEq)]
pub struct Config {
    /// Where images go; never empty, names distinct.
    pub targets: Vec<TargetConfig>,
    /// What is watched.
    pub watch: WatchConfig,
    /// What the default plugins and the user's own are to know.
    pub policy: PolicyConfig,
    /// How images are copied.
    pub copy: CopyConfig,
    /// How single registries are reached, sources and targets alike; names distinct.
    pub registries: Vec<RegistryAccess>,
    /// Credentials for sources, in the file's order.
    pub credentials: Vec<Credential>,
    /// Listeners, leadership, the cluster.
    pub process: ProcessConfig,
}

/// One target.
#[derive(Debug, PartialEq)]
pub struct TargetConfig {
    /// Distinct; `default` for the one that the original's settings make.
    pub name: String,
    /// Its kind.
    pub kind: TargetKind,
    /// `host[:port][/path]` without a scheme or a trailing slash for a registry (for ecr made from account and region),
    /// the folder for a layout.
    pub registry: String,
    /// Tokens unexpanded.
    pub repo_prefix: String,
    /// Plain HTTP and unchecked certificates.
    pub insecure: bool,
    /// User and password: both or none.
    pub login: Option<Login>,
    /// What only ecr has.
    pub ecr: Option<EcrConfig>,
}

/// The settings below `ecr:`.
#[derive(Debug, PartialEq)]
pub struct EcrConfig {
    /// Account, region, and how it is reached.
    pub registry: EcrRegistry,
    /// The ARN of the role to take on first.
    pub assume_role: Option<String>,
    /// Whether missing repositories are made.
    pub create_repo: bool,
    /// What those get that are made.
    pub new: NewRepositories,
}

/// Which objects of the cluster are looked at.
#[derive(Debug, PartialEq)]
pub struct WatchConfig {
    /// Names and shell globs; `*` alone for all.
    pub include_namespaces: Vec<String>,
    /// Exact names.
    pub skip_namespaces: Vec<String>,
    /// Exact `name`, `namespace/name`, or `*`, by kind.
    pub skip_names: BTreeMap<WorkloadKind, Vec<String>>,
    /// Never empty, in the order of [`WorkloadKind::ALL`].
    pub resources: Vec<WorkloadKind>,
}

/// What decides.
#[derive(Debug, PartialEq)]
pub struct PolicyConfig {
    /// In order.
    pub path_map: Vec<PathMapRule>,
    /// Prefixes of images that are never mirrored.
    pub exclude_registries: Vec<String>,
    /// The user's plugins, in order.
    pub plugins: Vec<PluginConfig>,
    /// Where further plugins are looked for; need not exist.
    pub plugin_dir: PathBuf,
    /// Which of the built-in plugins stand at the end of their chains.
    pub default_plugins: Vec<Hook>,
}

/// One rule of `pathMap`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PathMapRule {
    /// A path prefix, or a regular expression.
    pub from: String,
    /// What comes in its place.
    pub to: String,
    /// Whether `from` is a regular expression.
    pub regex: bool,
}

/// One plugin of the user's.
#[derive(Clone, Debug, PartialEq)]
pub struct PluginConfig {
    /// Distinct among all plugins.
    pub name: String,
    /// Where its code is.
    pub module: PluginModule,
    /// What `configure` is handed; none where the user gave none.
    pub config: Option<serde_json::Value>,
    /// What it may take.
    pub limits: PluginLimitsConfig,
    /// What a failing call means.
    pub on_failure: OnFailure,
}

/// Where a plugin's code is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PluginModule {
    /// In a file, which exists.
    File(PathBuf),
    /// In a registry, under a reference with a digest.
    Oci(Reference),
}

/// What a plugin may take, as far as the user says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PluginLimitsConfig {
    /// How long a hook call may take.
    pub timeout: Option<Duration>,
    /// How long `configure` may take.
    pub configure_timeout: Option<Duration>,
    /// The most linear memory an instance may have, in bytes.
    pub memory: Option<usize>,
    /// The longest module, unpacked, in bytes.
    pub module_size: Option<usize>,
    /// The most that a call may answer or log at once, in bytes.
    pub output: Option<usize>,
    /// The most instances; at least 1.
    pub instances: Option<usize>,
    /// The most lines that it may log in a second.
    pub log_lines: Option<u32>,
}

/// What a failing call means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnFailure {
    /// The image use fails.
    Fail,
    /// The next plugin of the chain is asked.
    Pass,
}

/// How images are copied.
#[derive(Debug, PartialEq)]
pub struct CopyConfig {
    /// How long a request may wait, and a transfer stand still; none: for ever.
    pub request_timeout: Option<Duration>,
    /// The least that a transfer brings a second, in bytes; none: it may be as slow as it likes.
    pub least_transfer_rate: Option<u64>,
    /// Hosts (`host[:port]`, globs allowed) that a registry on a public address may send us on to although theirs is
    /// private.
    pub private_redirects: Vec<String>,
    /// Tries of a request that can pass on another one, the first included; at least 1.
    pub retry_attempts: u32,
    /// The longest pause between two of them that is not the registry's own wish.
    pub retry_backoff: Duration,
    /// How long a failed destination is left alone at most; none: no such state is kept.
    pub failure_cooldown: Option<Duration>,
    /// How often everything is looked at again; none: never.
    pub force_reconcile: Option<Duration>,
    /// Images at once for each watched kind; at least 1.
    pub max_concurrent_reconciles: usize,
    /// Blobs of one image on their way at once; at least 1.
    pub max_concurrent_blobs: usize,
    /// Requests to one registry at once, all images together, where `registries` says nothing of it; at least 1.
    pub max_connections_per_registry: usize,
    /// Resolve a tag first, and pull what it was resolved to.
    pub digest_pull: bool,
    /// Tags that this does not hold for, in lower case.
    pub digest_pull_ignored_tags: Vec<String>,
    /// Which platforms of an index are copied; none: all of them.
    pub platforms: Option<PlatformConfig>,
    /// Whether a tag at the target may be moved to another digest.
    pub allow_different_digest_repush: bool,
    /// Everything but the write.
    pub dry_run: bool,
    /// Ask nobody.
    pub dry_pull: bool,
    /// Sources that may be reached over plain HTTP and without certificate checks: `host[:port]`.
    pub insecure_registries: Vec<String>,
}

/// Which platforms of an index are copied.
#[derive(Debug)]
pub struct PlatformConfig {
    /// Every one, whatever else is asked for.
    pub all: bool,
    /// These, for every image.
    pub listed: Vec<Platform>,
    /// And those of the nodes that run the image.
    pub of_nodes: bool,
    /// Of which images and platforms (`image|platform`) it is known that they are not to be had.
    pub expected_missing: Vec<Regex>,
}

impl PartialEq for PlatformConfig {
    fn eq(&self, other: &Self) -> bool {
        let expected = |config: &Self| config.expected_missing.iter().map(Regex::to_string).collect::<Vec<_>>();
        (self.all, &self.listed, self.of_nodes, expected(self))
            == (other.all, &other.listed, other.of_nodes, expected(other))
    }
}

/// The process itself.
#[derive(Debug, PartialEq)]
pub struct ProcessConfig {
    /// Where metrics and endpoints are served; none: nowhere.
    pub metrics_addr: Option<SocketAddr>,
    /// Where health is served; none: nowhere.
    pub health_addr: Option<SocketAddr>,
    /// Whether a Lease decides who acts.
    pub leader_elect: bool,
    /// Instead of the usual places.
    pub kubeconfig: Option<PathBuf>,
    /// What is logged.
    pub log_level: tracing::level_filters::LevelFilter,
    /// How it is logged; none: text on a terminal, JSON elsewhere.
    pub log_format: Option<LogFormat>,
}

/// How log lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// One JSON object a line.
    Json,
    /// For people.
    Text,
}
