//! The HTTP endpoints of both listeners.

mod answers;
mod authorization;
mod health;
mod operations;
mod pages;
mod plugins;
mod router;
mod server;

pub use authorization::CallerAuthorization;
pub use health::{Condition, Readiness, serve_health};
pub use operations::{CooldownReset, ForcedPass, Operations};
pub use plugins::PluginsReport;
pub use router::serve_operations;
