//! Mirrors the images that a Kubernetes cluster runs into a registry of one's own.

pub mod authoring;
pub mod cli;
pub mod config;
pub mod mirror;
pub mod model;
pub mod policy;
pub mod registry;
pub mod report;
pub mod workload;
