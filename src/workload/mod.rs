//! Where image uses come from: a cluster, watched or listed once, or manifest files; and leader election among replicas.

mod api;
mod bearer_tokens;
mod client;
mod inventory;
mod lease;
mod list;
mod manifest;
mod object;
mod pull_secrets;
mod remote_status;
mod resource;
mod rights;
mod server;
mod watch;

pub use api::ListError;
pub use bearer_tokens::BearerTokens;
pub use client::{ClientError, client};
pub use inventory::Change;
pub use kube::Client;
pub use lease::{Election, Leadership, LeaseError, LeaseHolder, LeaseState, lease_holder};
pub use list::list;
pub use manifest::{ManifestError, Manifests, read_manifests};
#[cfg(fuzzing)]
pub use pull_secrets::fuzzing;
pub use pull_secrets::{NamespaceNeeds, PullSecretReader, pull_secret_needs};
pub use remote_status::{RemoteProgram, RemoteStatusError};
pub use resource::{Namespaces, WatchSettings};
pub use rights::{Need, Right, RightsSettings, missing_verbs, needed_rights};
pub use server::{Server, ServerError, server};
pub use watch::watch;
