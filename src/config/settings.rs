//! The checked settings.

use std::{collections::BTreeMap, fmt, net::SocketAddr, path::PathBuf, time::Duration};

use regex::Regex;

use crate::model::{
    Credential, DockerLogins, EcrRegistry, Hook, Login, NewRepositories, OnFailure, Platform, PullSecretScope,
    Reference, ReferrerScope, RegistryAccess, TargetKind, WorkloadKind,
};

/// All settings, checked.
#[derive(Debug, PartialEq)]
pub struct Config {
    /// The targets; never empty, names distinct.
    pub targets: Vec<TargetConfig>,
    /// Where images may be had when their registries can't give them, in the order in which they are asked.
    pub further_sources: Vec<FurtherSourceConfig>,
    /// Which workloads are mirrored.
    pub watch: WatchConfig,
    /// The plugins and the settings of the default plugins.
    pub policy: PolicyConfig,
    /// Settings for copying images.
    pub copy: CopyConfig,
    /// Settings of single registries, sources and targets alike; names distinct.
    pub registries: Vec<RegistryAccess>,
    /// Credentials of sources in order.
    pub credentials: Vec<Credential>,
    /// The logins of `docker login` and `podman login`, for registries without configured credentials.
    pub docker_logins: DockerLogins,
    /// Listeners, leader election, logs.
    pub process: ProcessConfig,
}

/// One target.
#[derive(Debug, PartialEq)]
pub struct TargetConfig {
    /// Distinct; `default` for the single target of the original program's settings.
    pub name: String,
    /// The kind of registry.
    pub kind: TargetKind,
    /// `host[:port][/path]` without a scheme or a trailing slash for a registry (for ecr, derived from account and
    /// region), the folder for a layout.
    pub registry: String,
    /// The repository prefix with its tokens.
    pub repo_prefix: String,
    /// Allow plain HTTP and unverified certificates.
    pub insecure: bool,
    /// User name and password.
    pub login: Option<Login>,
    /// Which referrers it gets. None: as `copy.referrers` says.
    pub referrers: Option<ReferrerScope>,
    /// Settings of kind ecr.
    pub ecr: Option<EcrConfig>,
}

/// A place where images may be had when their registries can't give them.
#[derive(Debug, PartialEq)]
pub struct FurtherSourceConfig {
    /// Which place it is.
    pub place: FurtherSourcePlace,
    /// The beginning of the registry and repository of the images that it may have, in whole parts. None: all.
    pub prefix: Option<String>,
}

/// A kind of place.
#[derive(Debug, PartialEq, Eq)]
pub enum FurtherSourcePlace {
    /// `host[:port][/path]`, with what follows the prefix in an image's name below it.
    Registry(String),
    /// A target, by its name.
    Target(String),
    /// The folder of a layout, or a tar file of one; need not exist.
    Layout(PathBuf),
}

/// `registry harbor.example.com/hub for docker.io`
impl fmt::Display for FurtherSourceConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.place {
            FurtherSourcePlace::Registry(registry) => write!(f, "registry {registry}")?,
            FurtherSourcePlace::Target(name) => write!(f, "target {name}")?,
            FurtherSourcePlace::Layout(path) => write!(f, "layout {}", path.display())?,
        }
        match &self.prefix {
            Some(prefix) => write!(f, " for {prefix}"),
            None => Ok(()),
        }
    }
}

/// The settings below `ecr:`.
#[derive(Debug, PartialEq)]
pub struct EcrConfig {
    /// Account, region and endpoints.
    pub registry: EcrRegistry,
    /// The ARN of the role to assume.
    pub assume_role: Option<String>,
    /// Whether missing repositories are created.
    pub create_repo: bool,
    /// Settings of created repositories.
    pub new: NewRepositories,
}

/// Which workloads of the cluster are mirrored.
#[derive(Debug, PartialEq)]
pub struct WatchConfig {
    /// Names and shell globs; `*` matches all.
    pub include_namespaces: Vec<String>,
    /// Exact names.
    pub skip_namespaces: Vec<String>,
    /// Exact `name`, `namespace/name`, or `*`, by kind.
    pub skip_names: BTreeMap<WorkloadKind, Vec<String>>,
    /// Never empty, in the order of [`WorkloadKind::ALL`].
    pub resources: Vec<WorkloadKind>,
    /// The namespaces whose pull secrets are used.
    pub pull_secrets: PullSecretScope,
}

/// Settings of the policy.
#[derive(Debug, PartialEq)]
pub struct PolicyConfig {
    /// The rules in order.
    pub path_map: Vec<PathMapRule>,
    /// Prefixes of images that are never mirrored.
    pub exclude_registries: Vec<String>,
    /// The user's plugins in order.
    pub plugins: Vec<PluginConfig>,
    /// The folder of further plugins; need not exist.
    pub plugin_dir: PathBuf,
    /// The hooks whose chain ends with the default plugin.
    pub default_plugins: Vec<Hook>,
}

/// One rule of `pathMap`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PathMapRule {
    /// A path prefix or a regular expression.
    pub from: String,
    /// The replacement.
    pub to: String,
    /// Whether `from` is a regular expression.
    pub regex: bool,
}

/// One of the user's plugins.
#[derive(Clone, Debug, PartialEq)]
pub struct PluginConfig {
    /// Distinct among all plugins.
    pub name: String,
    /// Where its code comes from.
    pub module: PluginModule,
    /// Passed to `configure`. None: nothing is configured.
    pub config: Option<serde_json::Value>,
    /// Its limits.
    pub limits: PluginLimitsConfig,
    /// What happens when a call fails.
    pub on_failure: OnFailure,
}

/// Where the code of a plugin comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PluginModule {
    /// An existing file.
    File(PathBuf),
    /// A reference with a digest in a registry.
    Oci(Reference),
}

/// The limits of a plugin. None: the default.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PluginLimitsConfig {
    /// The maximum duration of a hook call.
    pub timeout: Option<Duration>,
    /// The maximum duration of `configure`.
    pub configure_timeout: Option<Duration>,
    /// The maximum memory of an instance, in bytes.
    pub memory: Option<usize>,
    /// The maximum size of the module after decompression, in bytes.
    pub module_size: Option<usize>,
    /// The maximum size of an answer or a log message, in bytes.
    pub output: Option<usize>,
    /// The maximum number of instances; at least 1.
    pub instances: Option<usize>,
    /// The maximum number of log lines per second.
    pub log_lines: Option<u32>,
}

/// Settings for copying images.
#[derive(Debug, PartialEq)]
pub struct CopyConfig {
    /// The timeout of a request, and of a transfer without progress. None: no timeout.
    pub request_timeout: Option<Duration>,
    /// The minimum transfer rate in bytes per second. None: no minimum.
    pub min_transfer_rate: Option<u64>,
    /// Hosts (`host[:port]`, globs allowed) with private addresses to which registries with public addresses may
    /// redirect.
    pub private_redirects: Vec<String>,
    /// Attempts per request, including the first; at least 1.
    pub retry_attempts: u32,
    /// The maximum pause between attempts, unless the registry demands a longer one.
    pub retry_backoff: Duration,
    /// The maximum cooldown after a failed copy. None: no cooldown.
    pub failure_cooldown: Option<Duration>,
    /// The interval of passes over all workloads. None: no periodic passes.
    pub force_reconcile: Option<Duration>,
    /// Concurrent copies per watched kind of workload; at least 1.
    pub max_concurrent_reconciles: usize,
    /// Concurrent blob transfers per image; at least 1.
    pub max_concurrent_blobs: usize,
    /// Concurrent requests per registry, unless `registries` sets another number; at least 1.
    pub max_connections_per_registry: usize,
    /// Resolve tags first, and pull by digest.
    pub digest_pull: bool,
    /// Tags to which `digest_pull` does not apply, in lower case.
    pub digest_pull_ignored_tags: Vec<String>,
    /// The platforms of an index that are copied. None: all.
    pub platforms: Option<PlatformConfig>,
    /// Signatures and other referrers.
    pub referrers: ReferrersConfig,
    /// The verification of what is mirrored.
    pub verification: VerificationConfig,
    /// Whether a tag at the target may be moved to another digest.
    pub allow_different_digest_repush: bool,
    /// Do everything except writing to targets.
    pub dry_run: bool,
    /// Contact no registry.
    pub dry_pull: bool,
    /// Sources (`host[:port]`) with plain HTTP or unverified certificates.
    pub insecure_registries: Vec<String>,
}

/// The verification of what is mirrored, in the background.
#[derive(Debug, PartialEq)]
pub struct VerificationConfig {
    /// In which every mirrored image is verified once; at least a second. None: none is.
    pub period: Option<Duration>,
    /// Requests to targets; at least 1.
    pub requests_per_minute: usize,
}

/// Which signatures and other referrers of images are copied.
#[derive(Debug, PartialEq)]
pub struct ReferrersConfig {
    /// For targets without a setting of their own.
    pub scope: ReferrerScope,
    /// Globs of artifact types. Empty: the scope alone decides.
    pub types: Vec<String>,
    /// When the referrers of an image are looked for again. None: only when it is copied, and in forced passes.
    pub recheck: Option<Duration>,
    /// Whether an image fails if one of its referrers can't be copied.
    pub required: bool,
}

/// The platforms of an index that are copied.
#[derive(Debug)]
pub struct PlatformConfig {
    /// All platforms, whatever else is set.
    pub all: bool,
    /// The platforms for every image.
    pub listed: Vec<Platform>,
    /// Also the platforms of the nodes that run the image.
    pub of_nodes: bool,
    /// Matches images and platforms (`image|platform`) that are known not to exist.
    pub expected_missing: Vec<Regex>,
}

impl PartialEq for PlatformConfig {
    fn eq(&self, other: &Self) -> bool {
        let expected = |config: &Self| config.expected_missing.iter().map(Regex::to_string).collect::<Vec<_>>();
        (self.all, &self.listed, self.of_nodes, expected(self))
            == (other.all, &other.listed, other.of_nodes, expected(other))
    }
}

/// Settings of the process.
#[derive(Debug, PartialEq)]
pub struct ProcessConfig {
    /// The address of metrics and endpoints. None: not served.
    pub metrics_addr: Option<SocketAddr>,
    /// The address of the health checks. None: not served.
    pub health_addr: Option<SocketAddr>,
    /// Whether to use leader election.
    pub leader_elect: bool,
    /// Who may call the endpoints that act.
    pub operations_authorization: OperationsAuthorization,
    /// The kubeconfig file. None: the default locations.
    pub kubeconfig: Option<PathBuf>,
    /// The minimum level of log lines.
    pub log_level: tracing::level_filters::LevelFilter,
    /// The format of log lines. None: text on a terminal, else JSON.
    pub log_format: Option<LogFormat>,
}

/// Who may call `/force-reconcile` and `/reset-cooldown`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OperationsAuthorization {
    /// Everybody who can reach the port.
    None,
    /// Those whose bearer token the API server knows, and whom its RBAC allows the path.
    Kubernetes,
}

/// The format of log lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// One JSON object per line.
    Json,
    /// Text for people.
    Text,
}
