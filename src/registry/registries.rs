//! All registries, and what is shared between their repositories.

use super::{Repository, SetupError, settings::Settings};

/// The way to every registry. A clone is cheap and shares connections, tokens and what was learned about hosts.
#[derive(Clone)]
pub struct Registries;

impl Registries {
    /// Nothing is contacted.
    ///
    /// # Errors
    /// When TLS can't be set up.
    pub fn new(settings: Settings) -> Result<Self, SetupError> {
        drop(settings);
        Ok(Self)
    }

    /// The repository `repository` (a path, `library/` explicit) of `registry` (`host[:port]`, Docker Hub is `docker.io`).
    pub fn repository(&self, _registry: &str, _repository: &str) -> Repository {
        Repository
    }
}
