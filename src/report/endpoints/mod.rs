//! The HTTP endpoints of both listeners.

mod authorization;
mod health;
mod operations;
mod pages;
mod plugins;
mod server;

pub use authorization::CallerAuthorization;
pub use health::{Condition, Readiness, serve_health};
pub use operations::{CooldownReset, ForcedPass, Operations, serve_operations};
pub use plugins::PluginsReport;
