//! The flags that are settings.

use std::path::PathBuf;

use tracing::level_filters::LevelFilter;

use super::LogFormat;

/// What the command line says; none where it says nothing.
#[derive(Clone, Debug, Default)]
pub struct Flags {
    /// `--config`: the file to read, which must exist.
    pub config: Option<PathBuf>,
    /// `--dry-run`: everything but the write.
    pub dry_run: Option<bool>,
    /// `--dry-pull`: ask nobody.
    pub dry_pull: Option<bool>,
    /// `--metrics-bind-address`, in Go's form; `0` for none.
    pub metrics_bind_address: Option<String>,
    /// `--health-probe-bind-address`, in Go's form; `0` for none.
    pub health_probe_bind_address: Option<String>,
    /// `--leader-elect`: on where it is not given.
    pub leader_elect: Option<bool>,
    /// `--kubeconfig`: instead of the usual places.
    pub kubeconfig: Option<PathBuf>,
    /// `--log-format`.
    pub log_format: Option<LogFormat>,
    /// `--zap-devel`: text, and level debug, unless something else says otherwise.
    pub zap_devel: Option<bool>,
    /// `--zap-encoder`.
    pub zap_encoder: Option<LogFormat>,
    /// `--zap-log-level`, which wins over the file's `logLevel`.
    pub zap_log_level: Option<LevelFilter>,
}
