//! The whole configuration: a test for every documented variable, key and flag, which fails if it is ignored.

use std::{collections::BTreeMap, path::Path, time::Duration};

use secrecy::ExposeSecret as _;
use tracing::level_filters::LevelFilter;

use super::*;
use crate::model::{Hook, Login, TargetKind, WorkloadKind};

mod access;
mod docker_logins;
mod ecr;
mod errors;
mod further_sources;
mod platforms;
mod plugins;
mod pull_secrets;
mod schema;
mod secret_files;
mod targets;

/// Settings in a temporary folder.
struct Setup {
    dir: tempfile::TempDir,
    flags: Flags,
    env: BTreeMap<String, String>,
}

impl Setup {
    fn new(file: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("config.yaml"), file).unwrap();
        let env = BTreeMap::from([("CONFIG_PATH".to_owned(), path(dir.path(), "config.yaml"))]);
        Self { dir, flags: Flags::default(), env }
    }

    /// With a target that is irrelevant to the test.
    fn with_target(file: &str) -> Self {
        Self::new(file).var("TARGET_KIND", "docker").var("TARGET_REGISTRY", "mirror.test:5000")
    }

    fn var(mut self, name: &str, value: &str) -> Self {
        self.env.insert(name.to_owned(), value.to_owned());
        self
    }

    fn flags(mut self, set: impl FnOnce(&mut Flags)) -> Self {
        set(&mut self.flags);
        self
    }

    fn load(&self) -> Result<Loaded, ConfigErrors> {
        load(&self.flags, &|name| self.env.get(name).cloned())
    }

    #[track_caller]
    fn config(&self) -> Config {
        self.load().unwrap_or_else(|errors| panic!("{errors}")).config
    }

    #[track_caller]
    fn errors(&self) -> Vec<String> {
        self.load().expect_err("accepted").iter().map(ToString::to_string).collect()
    }
}

fn path(dir: &Path, name: &str) -> String {
    dir.join(name).to_str().unwrap().to_owned()
}

/// The variable and the key have the same effect, which differs from the default.
#[track_caller]
fn both_ways<T: PartialEq + std::fmt::Debug>(
    (variable, text): (&str, &str),
    file: &str,
    read: impl Fn(&Config) -> T,
    expected: &T,
) {
    assert_ne!(read(&Setup::with_target("").config()), *expected, "{variable}: the default");
    assert_eq!(read(&Setup::with_target(file).config()), *expected, "{file}");
    assert_eq!(read(&Setup::with_target("").var(variable, text).config()), *expected, "{variable}");
}

#[test]
fn switches() {
    both_ways(("DRY_RUN", "true"), "dryRun: yes", |c| c.copy.dry_run, &true);
    both_ways(("DRY_PULL", "Yes"), "dryPull: true", |c| c.copy.dry_pull, &true);
    both_ways(("DIGEST_PULL", "1"), "digestPull: on", |c| c.copy.digest_pull, &true);
    both_ways(
        ("ALLOW_DIFFERENT_DIGEST_REPUSH", "f"),
        "allowDifferentDigestRepush: false",
        |c| c.copy.allow_different_digest_repush,
        &false,
    );
}

#[test]
fn numbers() {
    let timeout = |c: &Config| c.copy.request_timeout;
    let seconds = |seconds| Some(Duration::from_secs(seconds));
    both_ways(("REGISTRY_REQUEST_TIMEOUT", "30"), "requestTimeout: 30", timeout, &seconds(30));
    both_ways(("REGISTRY_REQUEST_TIMEOUT", "0"), "requestTimeout: 0", timeout, &None);
    let cooldown = |c: &Config| c.copy.failure_cooldown;
    both_ways(("FAILURE_COOLDOWN_MINUTES", "5"), "failureCooldownMinutes: 5", cooldown, &seconds(300));
    both_ways(("FAILURE_COOLDOWN_MINUTES", "-1"), "failureCooldownMinutes: -1", cooldown, &None);
    let force = |c: &Config| c.copy.force_reconcile;
    both_ways(("FORCE_RECONCILE_MINUTES", "60"), "forceReconcileMinutes: 60", force, &seconds(3600));
    let attempts = |c: &Config| c.copy.retry_attempts;
    both_ways(("REGISTRY_RETRY_ATTEMPTS", "3"), "registryRetryAttempts: 3", attempts, &3);
    let rate = |c: &Config| c.copy.min_transfer_rate;
    both_ways(("MIN_TRANSFER_RATE_KIB", "64"), "minTransferRateKiB: 64", rate, &Some(65_536));
    both_ways(("MIN_TRANSFER_RATE_KIB", "0"), "minTransferRateKiB: 0", rate, &None);
    assert_eq!(rate(&Setup::with_target("").config()), Some(4096));
    let pause = |c: &Config| c.copy.retry_backoff;
    both_ways(("REGISTRY_RETRY_BACKOFF", "0"), "registryRetryBackoff: 0", pause, &Duration::ZERO);
    assert_eq!(pause(&Setup::with_target("registryRetryBackoffSeconds: 7").config()), Duration::from_secs(7));
    let most = |c: &Config| c.copy.max_concurrent_reconciles;
    both_ways(("MAX_CONCURRENT_RECONCILES", "7"), "maxConcurrentReconciles: 7", most, &7);
    let blobs = |c: &Config| c.copy.max_concurrent_blobs;
    both_ways(("MAX_CONCURRENT_BLOBS", "1"), "maxConcurrentBlobs: 1", blobs, &1);
    let connections = |c: &Config| c.copy.max_connections_per_registry;
    both_ways(("MAX_CONNECTIONS_PER_REGISTRY", "9"), "maxConnectionsPerRegistry: 9", connections, &9);

    let config = Setup::with_target("").config();
    assert_eq!((blobs(&config), connections(&config)), (4, 64));
    assert_eq!((timeout(&config), cooldown(&config)), (seconds(120), seconds(86_400)));
    assert_eq!((force(&config), most(&config)), (None, 2));
    assert_eq!((attempts(&config), pause(&config)), (5, Duration::from_secs(10)));
    for key in ["registryRetryAttempts: 0", "registryRetryBackoff: -1", "registryRetryBackoff: 2m"] {
        assert_eq!(Setup::with_target(key).errors().len(), 1, "{key}");
    }
}

#[test]
fn lists() {
    let expected = vec!["a".to_owned(), "b-*".to_owned()];
    let include = |c: &Config| c.watch.include_namespaces.clone();
    both_ways(("INCLUDE_NAMESPACES", " a, b-* ,"), "includeNamespaces: ['a, b-*']", include, &expected);
    let skip = |c: &Config| c.watch.skip_namespaces.clone();
    both_ways(("SKIP_NAMESPACES", "a,b-*"), "skipNamespaces: [a, b-*]", skip, &expected);
    let exclude = |c: &Config| c.policy.exclude_registries.clone();
    both_ways(("EXCLUDE_REGISTRIES", "a,b-*"), "excludeRegistries: [a, b-*]", exclude, &expected);
    let ignored = |c: &Config| c.copy.digest_pull_ignored_tags.clone();
    both_ways(("DIGEST_PULL_IGNORED_TAGS", "A,b-*"), "digestPullIgnoredTags: [A, 'b-*']", ignored, &expected);
    assert_eq!(ignored(&Setup::with_target("digestPullIgnoredTags: []").config()), ["latest"]);
    let insecure = |c: &Config| c.copy.insecure_registries.clone();
    let hosts = vec!["a.io:80".to_owned(), "b.io".to_owned()];
    both_ways(("INSECURE_REGISTRIES", "A.io:80,b.io"), "insecureRegistries: [a.io:80, b.io]", insecure, &hosts);
    let private = |c: &Config| c.copy.private_redirects.clone();
    let hosts = vec!["minio.corp:9000".to_owned(), "*.internal".to_owned()];
    both_ways(
        ("PRIVATE_REDIRECTS", "Minio.corp:9000,*.internal"),
        "privateRedirects: ['minio.corp:9000', '*.internal']",
        private,
        &hosts,
    );
    for wrong in ["https://minio.corp", "minio.corp/bucket", "user@minio.corp", "[a"] {
        let errors = Setup::with_target(&format!("privateRedirects: ['{wrong}']")).errors();
        assert!(errors.iter().any(|error| error.contains("privateRedirects")), "{wrong}: {errors:?}");
    }
    let watched = |c: &Config| c.watch.resources.clone();
    let kinds = vec![WorkloadKind::Job, WorkloadKind::Pod];
    both_ways(("WATCH_RESOURCES", "Pods, jobs,pods"), "watchResources: [pods, Jobs]", watched, &kinds);

    assert_eq!(include(&Setup::with_target("includeNamespaces: []").config()), ["*"]);
    assert_eq!(include(&Setup::with_target("includeNamespaces: [a, '*']").config()), ["*"]);
    assert_eq!(watched(&Setup::with_target("watchResources: []").config()), WorkloadKind::ALL);
}

#[test]
fn the_period_of_verifications_may_be_a_fraction_of_an_hour_and_zero_turns_them_off() {
    let period = |config: &Config| config.copy.verification.period;
    let half_an_hour = Some(Duration::from_secs(1800));
    both_ways(("VERIFY_HOURS", "0.5"), "verifyHours: 0.5", period, &half_an_hour);
    both_ways(("VERIFY_HOURS", "0"), "verifyHours: 0", period, &None);
    let requests = |config: &Config| config.copy.verification.requests_per_minute;
    both_ways(("VERIFY_REQUESTS_PER_MINUTE", "7"), "verifyRequestsPerMinute: 7", requests, &7);
    for wrong in ["0.0001", "NaN", "inf", "1h", "90000"] {
        let errors = Setup::with_target(&format!("verifyHours: {wrong}")).errors();
        assert!(errors.len() == 1 && errors[0].contains("verifyHours"), "{wrong}: {errors:?}");
    }
}

#[test]
fn skipped_names() {
    for (kind, key, variable) in [
        (WorkloadKind::Deployment, "deployments", "SKIP_DEPLOYMENTS"),
        (WorkloadKind::StatefulSet, "statefulSets", "SKIP_STATEFULSETS"),
        (WorkloadKind::DaemonSet, "daemonSets", "SKIP_DAEMONSETS"),
        (WorkloadKind::Job, "jobs", "SKIP_JOBS"),
        (WorkloadKind::CronJob, "cronJobs", "SKIP_CRONJOBS"),
        (WorkloadKind::Pod, "pods", "SKIP_PODS"),
    ] {
        let expected = BTreeMap::from([(kind, vec!["copycat".to_owned(), "ns/redis".to_owned()])]);
        let file = format!("skipNames:\n  {key}: [copycat, ns/redis, /x, x/]\n");
        both_ways((variable, "copycat,ns/redis"), &file, |c| c.watch.skip_names.clone(), &expected);
    }
}

#[test]
fn path_map_and_default_plugins() {
    let file = "
pathMap:
  - {from: group/project, to: prod/project}
  - {from: '^legacy/(.*)', to: modern/$1, regex: true}
  - {from: gone}
";
    let rule = |from: &str, to: &str, regex| PathMapRule { from: from.to_owned(), to: to.to_owned(), regex };
    assert_eq!(
        Setup::with_target(file).config().policy.path_map,
        [
            rule("group/project", "prod/project", false),
            rule("^legacy/(.*)", "modern/$1", true),
            rule("gone", "", false)
        ]
    );
    let errors = Setup::with_target("pathMap:\n  - {from: '(', regex: true}\n").errors();
    assert!(errors.len() == 1 && errors[0].contains("pathMap[0].from: \"(\""), "{errors:?}");

    let hooks = |file: &str| Setup::with_target(file).config().policy.default_plugins;
    assert_eq!(hooks(""), Hook::ALL);
    assert_eq!(hooks("defaultPlugins: [path-mapping, skip]"), [Hook::Skip, Hook::PathMapping]);
    assert!(hooks("defaultPlugins: []").is_empty());
    assert!(Setup::with_target("defaultPlugins: [skipp]").errors()[0].contains("did you mean \"skip\"?"));
}

#[test]
fn credentials_of_sources() {
    let file = "
registryCredentials:
  - registry: registry-1.docker.io
    registryAliases: ['*.docker.io']
    usernameEnv: HUB_USER
    username: other
    passwordEnv: HUB_PASSWORD
  - {registry: GHCR.io, tokenEnv: GHCR_TOKEN}
  - {registry: 'https://quay.io/v2/', username: me, password: 0123}
  - {registry: token.io, token: abc, username: ignored}
  - {registry: nothing.io, tokenEnv: UNSET}
";
    let setup = Setup::with_target(file).var("HUB_USER", "hub").var("HUB_PASSWORD", "pw").var("GHCR_TOKEN", "ghp\n");
    let Loaded { config, warnings, .. } = setup.load().unwrap();
    let logins: Vec<_> = config
        .credentials
        .iter()
        .map(|credential| match &credential.login {
            Login::Password { username, password } => {
                format!("{} {username}:{}", credential.registry, password.expose_secret())
            }
            Login::Token(token) => format!("{} {}", credential.registry, token.expose_secret()),
        })
        .collect();
    assert_eq!(logins, ["registry-1.docker.io hub:pw", "ghcr.io ghp", "quay.io me:0123", "token.io abc"]);
    assert_eq!(config.credentials[0].aliases, ["*.docker.io"]);
    assert_eq!(warnings.len(), 2, "{warnings:?}");
    for half in ["username: me", "password: x"] {
        let errors = Setup::with_target(&format!("registryCredentials: [{{registry: a.io, {half}}}]")).errors();
        assert_eq!(errors.len(), 1, "{errors:?}");
    }
}

#[test]
fn flags_and_the_process() {
    let config = Setup::with_target("").config().process;
    assert_eq!(config.metrics_addr.unwrap().port(), 8080);
    assert_eq!(config.health_addr.unwrap().port(), 8081);
    assert!(config.leader_elect && config.kubeconfig.is_none() && config.log_format.is_none());
    assert_eq!(config.log_level, LevelFilter::INFO);

    let setup = Setup::with_target("logLevel: WARN").var("METRICS_ADDR", ":9090");
    let config = setup.config().process;
    assert_eq!((config.metrics_addr.unwrap().port(), config.log_level), (9090, LevelFilter::WARN));
    let setup = setup.flags(|flags| {
        flags.metrics_bind_address = Some("0".to_owned());
        flags.health_probe_bind_address = Some("127.0.0.1:1".to_owned());
        flags.leader_elect = Some(false);
        flags.kubeconfig = Some("/k".into());
        flags.zap_log_level = Some(LevelFilter::ERROR);
        flags.zap_encoder = Some(LogFormat::Json);
        flags.zap_devel = Some(true);
    });
    let config = setup.config().process;
    assert_eq!(config.metrics_addr, None);
    assert_eq!(config.health_addr, Some("127.0.0.1:1".parse().unwrap()));
    assert!(!config.leader_elect && config.kubeconfig.as_deref() == Some(Path::new("/k")));
    assert_eq!((config.log_level, config.log_format), (LevelFilter::ERROR, Some(LogFormat::Json)));
    let config = Setup::with_target("").flags(|flags| flags.zap_devel = Some(true)).config().process;
    assert_eq!((config.log_level, config.log_format), (LevelFilter::DEBUG, Some(LogFormat::Text)));
    let config = Setup::with_target("logLevel: warn").flags(|flags| flags.zap_devel = Some(true)).config().process;
    assert_eq!(config.log_level, LevelFilter::WARN);
    let setup = Setup::with_target("").flags(|flags| {
        flags.log_format = Some(LogFormat::Text);
        flags.zap_encoder = Some(LogFormat::Json);
    });
    assert_eq!(setup.config().process.log_format, Some(LogFormat::Text));
    let setup = setup.flags(|flags| flags.metrics_bind_address = Some("nowhere".to_owned()));
    assert!(setup.errors()[0].starts_with("--metrics-bind-address"));
}

#[test]
fn flags_override_variables_override_the_file() {
    let file = "dryRun: true\ndryPull: true\nskipNamespaces: [file]\n";
    let setup =
        Setup::with_target(file).var("DRY_RUN", "false").var("DRY_PULL", " ").var("SKIP_NAMESPACES", "variable");
    let config = setup.config();
    assert_eq!((config.copy.dry_run, config.copy.dry_pull), (false, true));
    assert_eq!(config.watch.skip_namespaces, ["variable"]);
    let config = setup.flags(|flags| (flags.dry_run, flags.dry_pull) = (Some(true), Some(false))).config();
    assert_eq!((config.copy.dry_run, config.copy.dry_pull), (true, false));
    let file = "targetKind: docker\ndocker: {registry: a.io, repoPrefix: p}\n";
    let blank = Setup::new(file).var("TARGET_REGISTRY", "").var("TARGET_REPO_PREFIX", "").var("TARGET_KIND", "");
    let target = blank.config().targets.remove(0);
    assert_eq!((target.registry.as_str(), target.repo_prefix.as_str()), ("a.io", "p"));
    let empty = Setup::with_target("").var("SKIP_NAMESPACES", ",").config();
    assert!(empty.watch.skip_namespaces.is_empty());
}

#[test]
fn finds_the_file() {
    let setup = Setup::with_target("dryRun: true");
    let other = path(setup.dir.path(), "other.yaml");
    std::fs::write(&other, "dryRun: false\ndryPull: true").unwrap();
    let config = setup.flags(|flags| flags.config = Some(other.into())).config();
    assert!(config.copy.dry_pull && !config.copy.dry_run);

    let missing = Setup::with_target("").flags(|flags| flags.config = Some("/nowhere/x.yaml".into()));
    assert!(missing.errors()[0].starts_with("/nowhere/x.yaml: "));
    let loaded = Setup::with_target("").var("CONFIG_PATH", "/nowhere/x.yaml").load().unwrap();
    assert!(loaded.warnings[0].starts_with("CONFIG_PATH"));
    let folder = tempfile::tempdir().unwrap();
    assert_eq!(Setup::with_target("").var("CONFIG_PATH", folder.path().to_str().unwrap()).errors().len(), 1);
}
