//! Integration tests of the program with real servers: a Kubernetes API server, and registries of two implementations.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stderr,
    reason = "a test fails at the first unexpected value"
)]

mod access;
mod authoring;
mod authorization;
mod check;
mod command_line;
mod compatibility;
mod confined;
mod contract;
mod delivery;
// Needs more than the others: `make drills`.
mod drills;
mod ecr;
mod events;
mod failures;
mod faults;
#[allow(dead_code, reason = "not all guests are used here")]
mod guests;
mod hostile;
mod hostile_images;
mod hostile_layouts;
mod hostile_loading;
mod layering;
mod leadership;
mod loading;
mod logins;
mod lost_parts;
mod mirroring;
mod planning;
mod platforms;
mod plugins;
mod pull_secrets;
mod referrers;
mod reloading;
mod repairing;
mod rescuing;
mod restoring;
mod settings;
mod shipped;
mod signals;
mod soak;
mod status;
mod support;
mod syncing;
mod verifying;
mod verifying_continually;
mod verifying_deep;
mod verifying_names;
mod verifying_referrers;
mod watching;
