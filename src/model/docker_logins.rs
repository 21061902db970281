//! The logins that `docker login`, `podman login` and the like have stored.

use std::{path::Path, sync::Arc};

use super::Login;

/// The logins in Docker's and Podman's files; empty if none is read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DockerLogins {
    /// The first one that has a login for an image is used.
    pub files: Vec<Arc<DockerConfig>>,
}

/// One such file: Docker's `config.json` or Podman's `auth.json`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DockerConfig {
    /// The file.
    pub file: Arc<Path>,
    /// The entries of `auths`; registry and path are distinct.
    pub entries: Vec<DockerEntry>,
    /// `credHelpers`, by registry as in [`DockerEntry::registry`].
    pub helpers: Vec<DockerHelper>,
    /// `credsStore`: the program `docker-credential-…` that has the logins of all other registries.
    pub store: Option<String>,
}

/// An entry of `auths`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DockerEntry {
    /// As [`canonical_registry`](super::canonical_registry) names it.
    pub registry: String,
    /// The entry is for this repository and those below it; empty for all repositories of the registry.
    pub path: String,
    /// The key in the file, under which a credential helper knows the login.
    pub server: String,
    /// None: a credential helper has it.
    pub login: Option<Arc<Login>>,
}

/// An entry of `credHelpers`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DockerHelper {
    /// As [`canonical_registry`](super::canonical_registry) names it.
    pub registry: String,
    /// The key in the file, which the helper is asked for.
    pub server: String,
    /// What follows `docker-credential-` in the program's name.
    pub name: String,
}

impl DockerEntry {
    /// Whether the entry is for a repository of a registry, both in their canonical form.
    pub fn is_for(&self, registry: &str, repository: &str) -> bool {
        let below = || repository.strip_prefix(self.path.as_str());
        self.registry == registry
            && (self.path.is_empty() || below().is_some_and(|rest| rest.is_empty() || rest.starts_with('/')))
    }
}

impl DockerLogins {
    /// The longest path for which a file has an entry of its own and that is this repository or above it; empty if no
    /// entry for the registry has a path. Repositories with the same result have the same login.
    pub fn scope(&self, registry: &str, repository: &str) -> &str {
        let entries = self.files.iter().flat_map(|file| &file.entries);
        let paths = entries.filter(|entry| entry.is_for(registry, repository)).map(|entry| entry.path.as_str());
        paths.max_by_key(|path| path.len()).unwrap_or_default()
    }
}

impl DockerConfig {
    /// The entry for a repository: the one with the longest path.
    pub fn entry(&self, registry: &str, repository: &str) -> Option<&DockerEntry> {
        let entries = self.entries.iter().filter(|entry| entry.is_for(registry, repository));
        entries.max_by_key(|entry| entry.path.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn logins(paths: &[&str]) -> DockerLogins {
        let entry = |path: &&str| DockerEntry {
            registry: "r.example".to_owned(),
            path: (*path).to_owned(),
            server: format!("r.example/{path}"),
            login: Some(Arc::new(Login::Token((*path).to_owned().into()))),
        };
        let entries = paths.iter().map(entry).collect();
        let file = DockerConfig { file: Path::new("auth.json").into(), entries, helpers: Vec::new(), store: None };
        DockerLogins { files: vec![Arc::new(file)] }
    }

    #[test]
    fn the_longest_path_at_or_above_the_repository_is_chosen() {
        let logins = logins(&["", "a/b", "a", "a/b/c/d"]);
        for (registry, repository, path) in [
            ("r.example", "a/b/c", Some("a/b")),
            ("r.example", "a/b", Some("a/b")),
            ("r.example", "a/bc", Some("a")),
            ("r.example", "a/b/c/d", Some("a/b/c/d")),
            ("r.example", "ab", Some("")),
            ("other.example", "a/b", None),
        ] {
            let entry = logins.files[0].entry(registry, repository);
            assert_eq!(entry.map(|entry| entry.path.as_str()), path, "{registry}/{repository}");
            assert_eq!(logins.scope(registry, repository), path.unwrap_or_default(), "{registry}/{repository}");
        }
    }
}
