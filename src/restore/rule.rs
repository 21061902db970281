//! One rule of a runtime's configuration.

/// Names of one registry, and where in the mirror their images are.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Rule {
    /// `host[:port]` as references write it; `docker.io` for Docker Hub.
    pub registry: String,
    /// Which of its repositories.
    pub scope: Scope,
    /// A path at the mirror's registry: for a whole registry what precedes its repositories, and empty for nothing;
    /// otherwise the repository itself.
    pub mirror: String,
    /// Whether the mirror is asked what a tag means. If not, the rule serves images named by digest alone.
    pub tags: bool,
}

/// Which repositories of a registry a rule is about.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Scope {
    /// All.
    Registry,
    /// One, and those below it.
    Subtree(String),
    /// One.
    Repository(String),
}

impl Rule {
    /// The repository of the registry that has its image at `path` of the mirror; none if the rule leads nothing there.
    pub(super) fn repository_at(&self, path: &str) -> Option<String> {
        let rest = match path.strip_prefix(&self.mirror)? {
            "" => None,
            rest if self.mirror.is_empty() => Some(rest),
            rest => Some(rest.strip_prefix('/')?),
        };
        match (&self.scope, rest) {
            (Scope::Registry, rest) => rest.map(str::to_owned),
            (Scope::Subtree(repository) | Scope::Repository(repository), None) => Some(repository.clone()),
            (Scope::Subtree(repository), Some(rest)) => Some(format!("{repository}/{rest}")),
            (Scope::Repository(_), Some(_)) => None,
        }
    }

    /// Whether what precedes the repository in the mirror ends with the registry's name, as `$registry` writes it: then it is
    /// no other registry's.
    pub(super) fn names_registry(&self) -> bool {
        let prefix = match &self.scope {
            Scope::Registry => Some(self.mirror.as_str()),
            Scope::Subtree(repository) | Scope::Repository(repository) => prefix_of(&self.mirror, repository),
        };
        let name = self.registry.replace(':', "-").to_lowercase();
        prefix.is_some_and(|prefix| prefix.rsplit('/').next() == Some(name.as_str()))
    }

    /// The names that the rule is about, as a reader knows them.
    pub(super) fn subject(&self) -> String {
        match &self.scope {
            Scope::Registry => self.registry.clone(),
            Scope::Subtree(repository) | Scope::Repository(repository) => format!("{}/{repository}", self.registry),
        }
    }
}

/// A path below a prefix, which may be empty.
pub fn join(prefix: &str, path: &str) -> String {
    match (prefix, path) {
        ("", path) => path.to_owned(),
        (prefix, "") => prefix.to_owned(),
        (prefix, path) => format!("{prefix}/{path}"),
    }
}

/// What precedes `repository` in `path`; none if `path` does not end with it.
pub fn prefix_of<'p>(path: &'p str, repository: &str) -> Option<&'p str> {
    match path.strip_suffix(repository)? {
        "" => Some(""),
        prefix => prefix.strip_suffix('/'),
    }
}

/// A repository as a regular expression.
pub fn escaped(repository: &str) -> String {
    // The only character of repositories that has a meaning there.
    repository.replace('.', "\\.")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_ends_at_a_slash() {
        assert_eq!(prefix_of("mirror/docker.io/library/nginx", "library/nginx"), Some("mirror/docker.io"));
        assert_eq!(prefix_of("library/nginx", "library/nginx"), Some(""));
        assert_eq!(prefix_of("my-library/nginx", "library/nginx"), None);
        assert_eq!(prefix_of("mirror/nginx", "library/nginx"), None);
    }

    #[test]
    fn a_rule_leads_back_to_the_name() {
        let rule = |scope, mirror: &str| Rule {
            registry: "docker.io".to_owned(),
            scope,
            mirror: mirror.to_owned(),
            tags: true,
        };
        let registry = rule(Scope::Registry, "m");
        assert_eq!(registry.repository_at("m/library/x").as_deref(), Some("library/x"));
        assert_eq!((registry.repository_at("m"), registry.repository_at("mm/x")), (None, None));
        assert_eq!(rule(Scope::Registry, "").repository_at("a/b").as_deref(), Some("a/b"));
        let subtree = rule(Scope::Subtree("library/x".to_owned()), "m/y");
        assert_eq!(subtree.repository_at("m/y").as_deref(), Some("library/x"));
        assert_eq!(subtree.repository_at("m/y/z").as_deref(), Some("library/x/z"));
        assert_eq!(subtree.repository_at("m/yz"), None);
        let repository = rule(Scope::Repository("library/x".to_owned()), "m/y");
        assert_eq!(repository.repository_at("m/y/z"), None);
    }
}
