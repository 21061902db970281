//! Mirrors the images of a Kubernetes cluster to your own registry.

pub mod authoring;
pub mod cli;
pub mod config;
pub mod mirror;
pub mod model;
pub mod policy;
pub mod registry;
pub mod report;
pub mod restore;
pub mod workload;
