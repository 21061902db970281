//! All registries, and what their repositories share.

use std::sync::Arc;

use super::{Repository, SetupError, settings::Settings, wire::Wire};

/// The way to every registry. A clone is cheap and shares connections, tokens and what was learned about hosts.
#[derive(Clone)]
pub struct Registries {
    wire: Arc<Wire>,
}

impl Registries {
    /// Nothing is contacted.
    ///
    /// # Errors
    /// When TLS can't be set up.
    pub fn new(settings: Settings) -> Result<Self, SetupError> {
        Ok(Self { wire: Arc::new(Wire::new(settings)?) })
    }

    /// The way to every registry with other settings. Connections and CA certificates are shared, tokens are not.
    pub fn beside(&self, settings: Settings) -> Self {
        Self { wire: Arc::new(self.wire.beside(settings)) }
    }

    /// The repository `repository` (a path, `library/` explicit) of `registry` (`host[:port]`, Docker Hub is
    /// `docker.io`). What is no host shows at the first request.
    pub fn repository(&self, registry: &str, repository: &str) -> Repository {
        Repository::new(Arc::clone(&self.wire), registry, repository)
    }
}
