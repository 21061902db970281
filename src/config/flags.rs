//! The flags of the command line that are settings.

use std::path::PathBuf;

use tracing::level_filters::LevelFilter;

use super::LogFormat;

/// The flags of the command line. None: not given.
#[derive(Clone, Debug, Default)]
pub struct Flags {
    /// `--config`: the file to read, which must exist.
    pub config: Option<PathBuf>,
    /// Not a flag: whether the command uses the logins of the user who runs it (`docker login`, `podman login`) for
    /// registries without configured credentials.
    pub user_logins: bool,
    /// `--dry-run`: do everything except writing to targets.
    pub dry_run: Option<bool>,
    /// `--dry-pull`: contact no registry.
    pub dry_pull: Option<bool>,
    /// `--metrics-bind-address`, in Go's form; `0` for none.
    pub metrics_bind_address: Option<String>,
    /// `--health-probe-bind-address`, in Go's form; `0` for none.
    pub health_probe_bind_address: Option<String>,
    /// `--leader-elect`, on by default.
    pub leader_elect: Option<bool>,
    /// `--kubeconfig`: instead of the default locations.
    pub kubeconfig: Option<PathBuf>,
    /// `--log-format`.
    pub log_format: Option<LogFormat>,
    /// `--zap-devel`: format text and level debug as defaults.
    pub zap_devel: Option<bool>,
    /// `--zap-encoder`.
    pub zap_encoder: Option<LogFormat>,
    /// `--zap-log-level`: takes precedence over `logLevel` in the file.
    pub zap_log_level: Option<LevelFilter>,
}
