//! Where image uses come from: a cluster, watched or listed once, or manifest files. And who leads among replicas.

mod api;
mod client;
mod inventory;
mod lease;
mod list;
mod manifest;
mod object;
mod resource;
mod watch;

pub use client::{ClientError, client};
pub use inventory::Change;
pub use kube::Client;
pub use lease::{Election, Hold, Leadership, LeaseError};
pub use list::list;
pub use manifest::{ManifestError, Manifests, read_manifests};
pub use resource::{ListError, Namespaces, WatchSettings};
pub use watch::watch;
