//! The chart, the alerts and the dashboard with the tools that operators use. `make drills` runs them.

mod alerts;
mod chart;
mod dashboard;
mod drift;
mod helm;
mod installing;
mod monitoring;
mod node;
mod schema;
mod templates;
