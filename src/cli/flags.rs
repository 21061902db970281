//! The flags that are settings.

use std::path::PathBuf;

use clap::{
    Args,
    builder::{BoolishValueParser, PossibleValuesParser, TypedValueParser},
};
use tracing::level_filters::LevelFilter;

use crate::config::{Flags, LogFormat};

/// Flags that are settings; every subcommand accepts them.
#[derive(Debug, Args)]
pub struct CliFlags {
    /// The configuration file [default: $CONFIG_PATH, else /config/config.yaml]
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Do everything except writing to the targets
    #[arg(long, global = true, value_name = "BOOL", num_args = 0..=1, require_equals = true)]
    #[arg(default_missing_value = "true", value_parser = BoolishValueParser::new())]
    dry_run: Option<bool>,
    /// Contact no registry
    #[arg(long, global = true, value_name = "BOOL", num_args = 0..=1, require_equals = true)]
    #[arg(default_missing_value = "true", value_parser = BoolishValueParser::new())]
    dry_pull: Option<bool>,
    /// Listen address for metrics and endpoints; 0 to disable [default: $METRICS_ADDR, else :8080]
    #[arg(long, global = true, value_name = "ADDRESS")]
    metrics_bind_address: Option<String>,
    /// Listen address for health probes; 0 to disable [default: :8081]
    #[arg(long, global = true, value_name = "ADDRESS")]
    health_probe_bind_address: Option<String>,
    /// Use leader election among replicas [default: true]
    #[arg(long, global = true, value_name = "BOOL", num_args = 0..=1, require_equals = true)]
    #[arg(default_missing_value = "true", value_parser = BoolishValueParser::new())]
    leader_elect: Option<bool>,
    /// The kubeconfig file [default: $KUBECONFIG, the Pod's ServiceAccount, ~/.kube/config]
    #[arg(long, global = true, value_name = "FILE")]
    kubeconfig: Option<PathBuf>,
    /// Format of log lines [default: text on a terminal, else json]
    #[arg(long, global = true, value_name = "FORMAT", value_parser = log_format(["json", "text"]))]
    log_format: Option<LogFormat>,
    /// Log as text at level debug, unless other settings say otherwise
    #[arg(long, global = true, value_name = "BOOL", num_args = 0..=1, require_equals = true)]
    #[arg(default_missing_value = "true", value_parser = BoolishValueParser::new())]
    zap_devel: Option<bool>,
    /// Same as --log-format
    #[arg(long, global = true, value_name = "ENCODER", value_parser = log_format(["json", "console"]))]
    zap_encoder: Option<LogFormat>,
    /// Log level: debug, info, error, panic, or a number above 0 for debug; overrides logLevel
    #[arg(long, global = true, value_name = "LEVEL", value_parser = zap_level)]
    zap_log_level: Option<LevelFilter>,
    /// Accepted for compatibility, without effect: there are no stack traces
    #[arg(long, global = true, value_name = "LEVEL", value_parser = ["info", "error", "panic"], ignore_case = true)]
    zap_stacktrace_level: Option<String>,
    /// Accepted for compatibility, without effect: times are in RFC 3339
    #[arg(long, global = true, value_name = "ENCODING", ignore_case = true)]
    #[arg(value_parser = ["epoch", "millis", "nano", "iso8601", "rfc3339", "rfc3339nano"])]
    zap_time_encoding: Option<String>,
}

impl CliFlags {
    pub fn into_flags(self) -> Flags {
        Flags {
            config: self.config,
            user_logins: false,
            dry_run: self.dry_run,
            dry_pull: self.dry_pull,
            metrics_bind_address: self.metrics_bind_address,
            health_probe_bind_address: self.health_probe_bind_address,
            leader_elect: self.leader_elect,
            kubeconfig: self.kubeconfig,
            log_format: self.log_format,
            zap_devel: self.zap_devel,
            zap_encoder: self.zap_encoder,
            zap_log_level: self.zap_log_level,
        }
    }
}

/// Accepts the names of JSON and text.
fn log_format([json, text]: [&'static str; 2]) -> impl TypedValueParser<Value = LogFormat> {
    PossibleValuesParser::new([json, text])
        .map(move |name| if name == json { LogFormat::Json } else { LogFormat::Text })
}

fn zap_level(text: &str) -> Result<LevelFilter, String> {
    match text.to_ascii_lowercase().as_str() {
        "debug" => Ok(LevelFilter::DEBUG),
        "info" => Ok(LevelFilter::INFO),
        "error" | "panic" => Ok(LevelFilter::ERROR),
        number if number.parse::<u32>().is_ok_and(|number| number > 0) => Ok(LevelFilter::DEBUG),
        _ => Err("allowed are debug, info, error, panic, and numbers above 0".to_owned()),
    }
}
