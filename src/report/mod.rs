//! Tells what happened: metrics, Kubernetes events, log lines, and the HTTP endpoints.

mod cluster_events;
mod families;
mod health;
mod image_counter;
mod image_states;
mod journal;
mod json_lines;
mod logging;
mod metrics;
mod moment;
mod observers;
mod operations;
mod plugin_metrics;
mod plugins_page;
mod registry_limits;
mod server;
mod text_fields;

pub use cluster_events::{ClusterEvents, Publisher};
pub use health::{Condition, Readiness, serve_health};
pub use journal::Journal;
pub use logging::{LogFormat, LoggingError, init_logging};
pub use metrics::{Metrics, MetricsError};
pub use observers::Observers;
pub use operations::{CooldownReset, ForcedPass, Operations, serve_metrics};
pub use plugins_page::PluginsReport;

#[cfg(test)]
mod testing;
