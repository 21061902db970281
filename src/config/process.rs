//! Listeners, leadership, logs.

use std::net::SocketAddr;

use tracing::level_filters::LevelFilter;

use super::{
    Flags, LogFormat, ProcessConfig,
    mistake::Place,
    reader::{Found, Reader, Section},
    scalar::{level, listener},
};

pub(super) fn process(reader: &mut Reader<'_>, root: &mut Section<'_>, flags: &Flags) -> ProcessConfig {
    let level = reader.setting(root, "logLevel", None, level).map(|found| found.value);
    let devel = flags.zap_devel.unwrap_or(false);
    let default_level = if devel { LevelFilter::DEBUG } else { LevelFilter::INFO };
    ProcessConfig {
        metrics_addr: metrics_addr(reader, flags),
        health_addr: health_addr(reader, flags),
        leader_elect: flags.leader_elect.unwrap_or(true),
        kubeconfig: flags.kubeconfig.clone(),
        log_level: flags.zap_log_level.or(level).unwrap_or(default_level),
        log_format: flags.log_format.or(flags.zap_encoder).or(devel.then_some(LogFormat::Text)),
    }
}

fn metrics_addr(reader: &mut Reader<'_>, flags: &Flags) -> Option<SocketAddr> {
    let in_variable = reader.worded_variable("METRICS_ADDR");
    let found = flag("--metrics-bind-address", flags.metrics_bind_address.as_ref())
        .filter(|found| !found.value.is_empty())
        .or(in_variable)
        .unwrap_or(Found { value: ":8080".to_owned(), place: Place::Flag("--metrics-bind-address") });
    reader.read(&found, listener).and_then(|found| found.value)
}

/// An empty flag turns health off, as in the original.
fn health_addr(reader: &mut Reader<'_>, flags: &Flags) -> Option<SocketAddr> {
    let found = flag("--health-probe-bind-address", flags.health_probe_bind_address.as_ref())
        .unwrap_or(Found { value: ":8081".to_owned(), place: Place::Flag("--health-probe-bind-address") });
    if found.value.is_empty() {
        return None;
    }
    reader.read(&found, listener).and_then(|found| found.value)
}

fn flag(name: &'static str, value: Option<&String>) -> Option<Found> {
    value.map(|value| Found { value: value.trim().to_owned(), place: Place::Flag(name) })
}
