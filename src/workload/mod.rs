//! Where image uses come from: a cluster, watched or listed once, or manifest files; and leader election among replicas.

mod api;
mod client;
mod inventory;
mod lease;
mod list;
mod manifest;
mod object;
mod resource;
mod watch;

pub use api::ListError;
pub use client::{ClientError, client};
pub use inventory::Change;
pub use kube::Client;
pub use lease::{Election, Leadership, LeaseError, LeaseState};
pub use list::list;
pub use manifest::{ManifestError, Manifests, read_manifests};
pub use resource::{Namespaces, WatchSettings};
pub use watch::watch;
