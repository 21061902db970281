//! All registries, and what their repositories share.

use std::sync::Arc;

use super::{Repository, SetupError, client::Wire, repository::push, settings::Settings};
use crate::model::RegistryAccess;

/// The way to every registry. A clone is cheap and shares connections, tokens and what was learned about hosts.
#[derive(Clone)]
pub struct Registries {
    wire: Arc<Wire>,
}

impl Registries {
    /// Nothing is contacted. A registry gets `connections` requests at once, whoever sends them. Where several of
    /// `registries` fit a name, the exact one beats a glob, and among equals the later wins.
    ///
    /// # Errors
    /// When one of their certificates can't be used.
    pub fn new(settings: Settings, registries: &[RegistryAccess], connections: usize) -> Result<Self, SetupError> {
        Ok(Self { wire: Arc::new(Wire::new(settings, registries, connections)?) })
    }

    /// The way to every registry with other settings. Connections and how single registries are reached are shared,
    /// tokens are not.
    pub fn beside(&self, settings: Settings) -> Self {
        Self { wire: Arc::new(self.wire.beside(settings)) }
    }

    /// Ends all pauses that registries have asked for; where pulls are used up, one may be tried.
    pub fn reset_pauses(&self) {
        self.wire.reset_pauses();
    }

    /// Takes back the uploads that were begun and are not needed any more.
    pub fn clear(&self) {
        for host in self.wire.known_hosts() {
            push::clear(&self.wire, &host);
        }
    }

    /// Waits until what was left behind at registries is cleared away, of all that were made beside each other. Each
    /// upload that was begun and broken off takes 10 s at most.
    pub async fn cleared(&self) {
        self.wire.cleared().await;
    }

    /// The repository `repository` (a path, `library/` explicit) of `registry` (`host[:port]`, Docker Hub is
    /// `docker.io`). What is no host shows at the first request.
    pub fn repository(&self, registry: &str, repository: &str) -> Repository {
        Repository::new(Arc::clone(&self.wire), registry, repository)
    }
}
