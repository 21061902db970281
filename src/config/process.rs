//! Settings of the process: listeners, leader election, logs.

use std::net::SocketAddr;

use tracing::level_filters::LevelFilter;

use super::{
    Flags, LogFormat, OperationsAuthorization, ProcessConfig,
    error::SourceLocation,
    reader::{Reader, Section, Spanned},
    value::{keyword, level, listener},
};

/// The words of `operationsAuthorization`.
pub(super) const AUTHORIZATIONS: [(&str, OperationsAuthorization); 2] =
    [("none", OperationsAuthorization::None), ("kubernetes", OperationsAuthorization::Kubernetes)];

pub(super) fn process(reader: &mut Reader<'_>, root: &mut Section<'_>, flags: &Flags) -> ProcessConfig {
    let level = reader.setting(root, "logLevel", None, level).map(|found| found.value);
    let authorization = reader.setting(root, "operationsAuthorization", Some("OPERATIONS_AUTHORIZATION"), |text| {
        keyword(text, &AUTHORIZATIONS)
    });
    let devel = flags.zap_devel.unwrap_or(false);
    let default_level = if devel { LevelFilter::DEBUG } else { LevelFilter::INFO };
    ProcessConfig {
        metrics_addr: metrics_addr(reader, flags),
        health_addr: health_addr(reader, flags),
        operations_authorization: authorization.map_or(OperationsAuthorization::None, |found| found.value),
        leader_elect: flags.leader_elect.unwrap_or(true),
        kubeconfig: flags.kubeconfig.clone(),
        log_level: flags.zap_log_level.or(level).unwrap_or(default_level),
        log_format: flags.log_format.or(flags.zap_encoder).or(devel.then_some(LogFormat::Text)),
    }
}

fn metrics_addr(reader: &mut Reader<'_>, flags: &Flags) -> Option<SocketAddr> {
    let in_variable = reader.nonblank_variable("METRICS_ADDR");
    let found = flag("--metrics-bind-address", flags.metrics_bind_address.as_ref())
        .filter(|found| !found.value.is_empty())
        .or(in_variable)
        .unwrap_or(Spanned { value: ":8080".to_owned(), location: SourceLocation::Flag("--metrics-bind-address") });
    reader.parse(&found, listener).and_then(|found| found.value)
}

/// An empty flag disables health checks, as in the original program.
fn health_addr(reader: &mut Reader<'_>, flags: &Flags) -> Option<SocketAddr> {
    let found = flag("--health-probe-bind-address", flags.health_probe_bind_address.as_ref()).unwrap_or(Spanned {
        value: ":8081".to_owned(),
        location: SourceLocation::Flag("--health-probe-bind-address"),
    });
    if found.value.is_empty() {
        return None;
    }
    reader.parse(&found, listener).and_then(|found| found.value)
}

fn flag(name: &'static str, value: Option<&String>) -> Option<Spanned> {
    value.map(|value| Spanned { value: value.trim().to_owned(), location: SourceLocation::Flag(name) })
}
