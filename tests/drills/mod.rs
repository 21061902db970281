//! The chart, signatures, the alerts, the dashboard and the status page with the tools that operators use. `make drills` runs them.

mod alerts;
mod chart;
mod dashboard;
mod drift;
mod helm;
mod installing;
mod monitoring;
mod node;
mod page;
mod restored_node;
mod restoring;
mod schema;
mod signing;
mod templates;
mod upstreams;
