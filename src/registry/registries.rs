//! Access to all registries.

use std::sync::Arc;

use super::{
    client::Client,
    error::CertificateError,
    repository::{Repository, probe::Probe, upload_session::cancel_kept_sessions},
    settings::Settings,
};
use crate::model::{Login, RegistryAccess};

/// Access to all registries. A clone is cheap and shares connections, tokens and what was learned about hosts.
#[derive(Clone)]
pub struct Registries {
    client: Arc<Client>,
}

impl Registries {
    /// Contacts no registry. `connections` is the maximum number of concurrent requests to one registry. If several of
    /// `registries` match a name, an exact name wins over a glob, and a later entry over an earlier one.
    ///
    /// # Errors
    /// When one of their certificates can't be used.
    pub fn new(
        settings: Settings,
        registries: &[RegistryAccess],
        connections: usize,
    ) -> Result<Self, CertificateError> {
        Ok(Self { client: Arc::new(Client::new(settings, registries, connections)?) })
    }

    /// Access with other settings. Shares connections and their limits, but no tokens.
    #[must_use]
    pub fn with_settings(&self, settings: Settings) -> Self {
        Self { client: Arc::new(self.client.with_settings(settings)) }
    }

    /// Ends all pauses that registries have requested; if a pull quota is used up, one pull is tried.
    pub fn end_rate_limit_waits(&self) {
        self.client.end_rate_limit_waits();
    }

    /// Cancels, in the background, uploads that were started and are not needed.
    pub fn cancel_unused_uploads(&self) {
        for host in self.client.known_hosts() {
            cancel_kept_sessions(&self.client, &host);
        }
    }

    /// Waits until cancelled uploads have been removed at the registries, including those of all `Registries` that share
    /// connections with this one. Each takes at most 10 s.
    pub async fn background_finished(&self) {
        self.client.background_finished().await;
    }

    /// A repository of a registry. `registry` is `host[:port]` (`docker.io` for Docker Hub), `name` its path
    /// (`library/` included). The first request reports an invalid `registry`.
    pub fn repository(&self, registry: &str, name: &str) -> Repository {
        Repository::new(Arc::clone(&self.client), registry, name)
    }

    /// The same with an owner's login in place of the configured credentials. Tokens are reused for this owner and login,
    /// and never for another owner.
    pub fn repository_with_login(&self, registry: &str, name: &str, owner: &str, login: &Login) -> Repository {
        let host = self.client.host_with_login(registry, owner, login);
        Repository::with_host(Arc::clone(&self.client), host, registry, name)
    }

    /// Questions about a repository of a registry, as [`Registries::repository`] names them.
    pub fn probe(&self, registry: &str, name: &str) -> Probe {
        Probe::new(self.repository(registry, name))
    }
}
