//! Reports what happens: metrics, Kubernetes events, log lines, and the HTTP endpoints.

mod cluster_events;
mod endpoints;
mod log;
mod metrics;
mod observers;
mod page;
pub mod status;
#[cfg(test)]
mod testing;
mod utc;

pub use cluster_events::{ClusterEvents, Publisher};
pub use endpoints::{
    CallerAuthorization, Condition, CooldownReset, ForcedPass, Operations, PluginsReport, Readiness, serve_health,
    serve_operations,
};
pub use log::{LogFormat, LogObserver, LoggingError, init_logging};
pub use metrics::{Metrics, MetricsError};
pub use observers::Observers;
