//! Where a target stores its images.

use std::{
    fmt,
    path::{Component, Path, PathBuf},
};

use super::registry_host::canonical_host;

/// Where a target stores its images, as its `registry` is configured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TargetAddress<'a> {
    /// A registry.
    Registry {
        /// `host[:port]`
        host: &'a str,
        /// The path below which all repositories are; empty for none.
        path: &'a str,
    },
    /// The folder of an OCI image layout.
    Layout(&'a Path),
}

impl<'a> TargetAddress<'a> {
    /// Of `host[:port][/path]`.
    pub fn registry(address: &'a str) -> Self {
        let (host, path) = Self::host_and_path(address);
        Self::Registry { host, path }
    }

    /// Splits `host[:port][/path]`; without a path it is empty.
    pub fn host_and_path(address: &str) -> (&str, &str) {
        address.split_once('/').unwrap_or((address, ""))
    }

    /// Identifies a repository: equal for two targets if and only if both mean the same repository.
    pub fn canonical_repository(self, repository: &str) -> String {
        match self {
            Self::Registry { host, path: "" } => format!("{}/{repository}", canonical_host(host)),
            Self::Registry { host, path } => format!("{}/{path}/{repository}", canonical_host(host)),
            Self::Layout(folder) => format!("oci:{}:{repository}", canonical_folder(folder).display()),
        }
    }

    /// Whether the target stores this repository of `registry`, that is, below its path.
    pub fn contains(self, registry: &str, repository: &str) -> bool {
        match self {
            Self::Registry { host, path } => {
                canonical_host(registry) == canonical_host(host)
                    && repository.strip_prefix(path).is_some_and(|rest| path.is_empty() || rest.starts_with('/'))
            }
            Self::Layout(_) => false,
        }
    }

    /// How many bytes of a repository's full path at the registry the target itself takes.
    pub fn path_length(self) -> usize {
        match self {
            Self::Registry { path: "", .. } | Self::Layout(_) => 0,
            Self::Registry { path, .. } => path.len() + 1,
        }
    }
}

/// As the beginning of a reference: `host/path`, or `oci:FOLDER`.
impl fmt::Display for TargetAddress<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Registry { host, path: "" } => f.write_str(host),
            Self::Registry { host, path } => write!(f, "{host}/{path}"),
            Self::Layout(folder) => write!(f, "oci:{}", folder.display()),
        }
    }
}

/// Removes `.`, `..` and doubled or final slashes; does not follow links.
fn canonical_folder(path: &Path) -> PathBuf {
    let mut canonical = PathBuf::new();
    for component in path.components() {
        match component {
            Component::CurDir => {}
            Component::ParentDir if canonical.file_name().is_some_and(|name| name != "..") => {
                canonical.pop();
            }
            other => canonical.push(other),
        }
    }
    canonical
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layout(folder: &str) -> TargetAddress<'_> {
        TargetAddress::Layout(Path::new(folder))
    }

    #[test]
    fn one_repository_has_one_canonical_name_at_every_target() {
        let usual = TargetAddress::registry("123456789012.dkr.ecr.us-west-2.amazonaws.com");
        let registry = TargetAddress::registry;
        for (one, repository, other, other_repository) in [
            (registry("r.io"), "mirror/app", registry("R.io:443/mirror"), "app"),
            (registry("docker.io/team"), "app", registry("registry-1.docker.io"), "team/app"),
            (registry("index.docker.io"), "team/app", registry("docker.io/team"), "app"),
            (usual, "app", registry("123456789012.dkr-ecr-fips.us-west-2.on.aws"), "app"),
            (layout("/var/images"), "app", layout("/var/./lib/..//images/"), "app"),
            (layout("../images"), "app", layout("../x/../images"), "app"),
        ] {
            let canonical = one.canonical_repository(repository);
            assert_eq!(canonical, other.canonical_repository(other_repository), "{one} {other}");
        }
        for (one, other) in [
            (registry("r.io"), registry("r.io:80")),
            (registry("r.io/a"), registry("r.io/b")),
            (usual, registry("123456789012.dkr.ecr.us-west-1.amazonaws.com")),
            (layout("/var/images"), layout("/var/images/more")),
            (layout("../images"), layout("images")),
        ] {
            assert_ne!(one.canonical_repository("app"), other.canonical_repository("app"));
        }
    }

    #[test]
    fn finds_repositories_under_every_name_of_the_registry() {
        let contains =
            |at: &str, registry: &str, repository: &str| TargetAddress::registry(at).contains(registry, repository);
        assert!(contains("index.docker.io/team", "docker.io", "team/app"));
        assert!(contains("registry-1.docker.io", "docker.io", "library/app"));
        assert!(contains("R.io", "r.io:443", "app"));
        assert!(!contains("r.io/team", "r.io", "teams/app"));
        assert!(!contains("r.io/team", "r.io", "team"));
        assert!(!layout("r.io").contains("r.io", "app"));
    }

    #[test]
    fn the_path_shortens_what_is_left_for_repositories() {
        assert_eq!(TargetAddress::registry("ghcr.io/acme/team").path_length(), "acme/team/".len());
        assert_eq!((TargetAddress::registry("ghcr.io").path_length(), layout("/var/images").path_length()), (0, 0));
    }
}
