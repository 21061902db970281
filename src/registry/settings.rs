//! How registries are accessed.

use std::{sync::Arc, time::Duration};

use super::{
    auth::clouds::CloudIdentities,
    ecr::Aws,
    http::{retry::Backoff, transfer_rate::MinTransferRate},
};
use crate::model::{Credential, DockerLogins, Observer};

/// Settings for access to registries.
#[derive(Clone)]
pub struct Settings {
    /// The timeout for response headers, and for a transfer in which no byte moves; None: only the 30 s timeout for TCP
    /// connections.
    pub request_timeout: Option<Duration>,
    /// None: no minimum.
    pub min_transfer_rate: Option<MinTransferRate>,
    /// Hosts (`host[:port]`, globs allowed) with private addresses to which servers on the Internet may redirect.
    pub private_redirects: Vec<String>,
    /// An exact name wins over a glob, and a later entry over an earlier one.
    pub credentials: Vec<Credential>,
    /// The logins of `docker login` and `podman login`, for registries without an entry in `credentials`.
    pub docker_logins: DockerLogins,
    /// AWS credentials, for registries of Amazon without any of these.
    pub aws: Aws,
    /// The identities in Google Cloud and Azure, for their registries without any of these.
    pub clouds: CloudIdentities,
    /// Receives events about rate limits.
    pub observer: Arc<dyn Observer>,
    /// Registries (`host[:port]`) whose certificates are not verified, and that may use plain HTTP.
    pub insecure: Vec<String>,
    /// The retries of failed requests.
    pub backoff: Backoff,
}
