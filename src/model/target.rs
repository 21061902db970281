//! Where images go.

use std::{
    fmt,
    path::{Component, Path, PathBuf},
    sync::Arc,
};

use super::{Digest, EcrRegistry, canonical_registry};

/// The kinds of targets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TargetKind {
    /// Amazon Elastic Container Registry.
    Ecr,
    /// Any registry that speaks the OCI distribution specification.
    Docker,
    /// An OCI image layout in a folder.
    OciLayout,
}

impl TargetKind {
    /// As `targetKind` writes it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Ecr => "ecr",
            Self::Docker => "docker",
            Self::OciLayout => "oci-layout",
        }
    }
}

impl fmt::Display for TargetKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A configured target, as policies see it: nothing secret is in it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Target {
    /// Its name in the configuration; `default` for the one that the original's settings make.
    pub name: String,
    /// Its kind.
    pub kind: TargetKind,
    /// `host[:port][/path]` of a registry, or the folder of a layout.
    pub registry: String,
    /// The configured repository prefix, tokens unexpanded.
    pub repo_prefix: String,
}

impl Target {
    /// Where a repository of this target lies, in one and the same words for every target that has it: the registry's
    /// host under one of its names, and the whole path; or the layout's folder and the repository in it.
    pub fn canonical_repository(&self, repository: &str) -> String {
        if self.kind == TargetKind::OciLayout {
            return format!("oci:{}:{repository}", canonical_folder(Path::new(&self.registry)).display());
        }
        let (host, path) = self.registry.split_once('/').unwrap_or((&self.registry, ""));
        let slash = if path.is_empty() { "" } else { "/" };
        format!("{}/{path}{slash}{repository}", canonical_host(host))
    }

    /// Whether a repository of this registry lies at the target, below its path if it has one.
    pub fn has(&self, registry: &str, repository: &str) -> bool {
        if self.kind == TargetKind::OciLayout {
            return false;
        }
        let (host, path) = self.registry.split_once('/').unwrap_or((&self.registry, ""));
        let below = repository.strip_prefix(path);
        canonical_host(registry) == canonical_host(host)
            && below.is_some_and(|rest| path.is_empty() || rest.starts_with('/'))
    }
}

/// A registry's host under one of its names: Amazon's endpoints with FIPS 140 and with IPv6 lead to the same registry as
/// the usual one, and 443 is the port that nobody need write.
fn canonical_host(host: &str) -> String {
    let host = canonical_registry(host.strip_suffix(":443").unwrap_or(host));
    match host.parse::<EcrRegistry>() {
        Ok(registry) => EcrRegistry { fips: false, dual_stack: false, ..registry }.to_string(),
        Err(_) => host,
    }
}

/// Without `.`, `..` and doubled or final slashes; links are not followed.
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

/// A name at a target.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Destination {
    /// Which target.
    pub target: Arc<Target>,
    /// The repository below the target's registry, clean.
    pub repository: String,
    /// The tag; none for what was asked for by digest alone.
    pub tag: Option<String>,
    /// The digest that was asked for, where one was.
    pub digest: Option<Digest>,
}

/// The reference as the original writes it: `registry/repository:tag`, `registry/repository@digest` where there is no
/// tag, and `oci:PATH:REPOSITORY:TAG` for a layout.
impl fmt::Display for Destination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.target.kind {
            TargetKind::OciLayout => write!(f, "oci:{}:{}", self.target.registry, self.repository)?,
            TargetKind::Ecr | TargetKind::Docker => write!(f, "{}/{}", self.target.registry, self.repository)?,
        }
        match (&self.tag, &self.digest) {
            (Some(tag), _) => write!(f, ":{tag}"),
            (None, Some(digest)) => write!(f, "@{digest}"),
            (None, None) => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(kind: TargetKind, registry: &str) -> Target {
        Target { name: "default".into(), kind, registry: registry.into(), repo_prefix: String::new() }
    }

    #[test]
    fn one_repository_has_one_canonical_name_whichever_target_it_is_of() {
        use TargetKind::{Docker, Ecr, OciLayout};
        let usual = "123456789012.dkr.ecr.us-west-2.amazonaws.com";
        for (kind, registry, repository, other, other_repository) in [
            (Docker, "r.io", "mirror/app", "R.io:443/mirror", "app"),
            (Docker, "docker.io/team", "app", "registry-1.docker.io", "team/app"),
            (Docker, "index.docker.io", "team/app", "docker.io/team", "app"),
            (Ecr, usual, "app", "123456789012.dkr-ecr-fips.us-west-2.on.aws", "app"),
            (OciLayout, "/var/images", "app", "/var/./lib/..//images/", "app"),
            (OciLayout, "../images", "app", "../x/../images", "app"),
        ] {
            let one = target(kind, registry).canonical_repository(repository);
            assert_eq!(one, target(kind, other).canonical_repository(other_repository), "{registry} {other}");
        }
        for (kind, registry, other) in [
            (Docker, "r.io", "r.io:80"),
            (Docker, "r.io/a", "r.io/b"),
            (Ecr, usual, "123456789012.dkr.ecr.us-west-1.amazonaws.com"),
            (OciLayout, "/var/images", "/var/images/more"),
            (OciLayout, "../images", "images"),
        ] {
            let [one, other] = [registry, other].map(|registry| target(kind, registry).canonical_repository("app"));
            assert_ne!(one, other);
        }
    }

    #[test]
    fn what_lies_at_a_target_is_known_by_each_of_its_names() {
        let has = |at: &str, registry: &str, repository: &str| target(TargetKind::Docker, at).has(registry, repository);
        assert!(has("index.docker.io/team", "docker.io", "team/app"));
        assert!(has("registry-1.docker.io", "docker.io", "library/app"));
        assert!(has("R.io", "r.io:443", "app"));
        assert!(!has("r.io/team", "r.io", "teams/app"));
        assert!(!has("r.io/team", "r.io", "team"));
        assert!(!target(TargetKind::OciLayout, "r.io").has("r.io", "app"));
    }
}
