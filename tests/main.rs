//! The program against real servers: an API server of Kubernetes, and registries of two makes.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stderr,
    reason = "a test stops at the first surprise, and says so"
)]

mod access;
mod authoring;
mod compatibility;
mod confined;
mod contract;
mod delivery;
mod ecr;
mod events;
mod failures;
mod faults;
#[allow(dead_code, reason = "not all of the guests are used here")]
mod guests;
mod hostile;
mod hostile_images;
mod hostile_loading;
mod layering;
mod leadership;
mod mirroring;
mod planning;
mod platforms;
mod plugins;
mod reloading;
mod settings;
mod shipped;
mod signals;
mod soak;
mod support;
mod syncing;
mod watching;
