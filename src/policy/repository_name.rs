//! The repository of an image at a target, made from the plugins' answers and always checked.

use sha1::{Digest as _, Sha1};

use crate::model::{Reference, ReferenceError, Target, cut};

/// The maximum length of a repository's path at registries.
const MAX_LENGTH: usize = 255;
/// The number of hex digits that distinguish shortened names.
const SUFFIX: usize = 12;

/// Why there is no valid repository. A retry does not help: the image, the configuration or the plugin must change.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum RepositoryNameError {
    /// Nothing of the path is allowed in a repository.
    #[error("the path {0:?} has no character that a repository may contain; map it to letters and digits")]
    Empty(String),
    /// Invalid after normalisation.
    #[error("invalid repository, map the path or change the prefix: {0}")]
    Invalid(ReferenceError),
    /// The path of the target's registry is so long that no repository fits.
    #[error("the path of the target's registry {0:?} is too long for any repository below it")]
    NoSpace(String),
}

/// The repository at `target` for `path` below `prefix`: normalised, and short enough with the path of the target's
/// registry before it.
pub fn repository(target: &Target, prefix: &str, path: &str) -> Result<String, RepositoryNameError> {
    let normalised = normalise(path);
    if normalised.is_empty() {
        return Err(RepositoryNameError::Empty(cut(path, MAX_LENGTH).into_owned()));
    }
    let name = normalise(&format!("{prefix}/{normalised}"));
    let name =
        shorten(&name, max_length(target)).ok_or_else(|| RepositoryNameError::NoSpace(target.registry.clone()))?;
    Reference::check_repository(&name).map_err(RepositoryNameError::Invalid)?;
    Ok(name)
}

/// Lower case, dashes instead of characters that are not allowed, no empty segments, and no dashes or dots at the start
/// or end of a segment.
fn normalise(name: &str) -> String {
    let allowed = |c: char| if matches!(c, 'a'..='z' | '0'..='9' | '_' | '/' | '.' | '-') { c } else { '-' };
    let name: String = name.to_lowercase().chars().map(allowed).collect();
    let parts: Vec<&str> = name.split('/').map(|part| part.trim_matches(['-', '.'])).collect();
    parts.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join("/")
}

/// The maximum length of a repository at `target`.
fn max_length(target: &Target) -> usize {
    MAX_LENGTH.saturating_sub(target.address().path_length())
}

/// A name that is too long keeps its start and gets a hash of the whole as suffix. None: even the suffix does not fit.
fn shorten(name: &str, max: usize) -> Option<String> {
    if name.len() <= max {
        return Some(name.to_owned());
    }
    let kept = name.get(..max.checked_sub(SUFFIX + 1)?)?.trim_end_matches(['-', '/', '.', '_']);
    let digest = hex::encode(Sha1::digest(name));
    let suffix = digest.get(..SUFFIX)?;
    (!kept.is_empty()).then(|| format!("{kept}-{suffix}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::TargetKind;

    fn target(registry: &str) -> Target {
        Target {
            name: "default".to_owned(),
            kind: TargetKind::Docker,
            registry: registry.to_owned(),
            repo_prefix: String::new(),
        }
    }

    fn made(prefix: &str, path: &str) -> Result<String, RepositoryNameError> {
        repository(&target("registry.example"), prefix, path)
    }

    #[test]
    fn normalises_and_joins_prefix_and_path() {
        for (prefix, path, expected) in [
            ("", "library/nginx", "library/nginx"),
            ("mirror", "library/nginx", "mirror/library/nginx"),
            ("/mirror//all/", "/a//b/", "mirror/all/a/b"),
            ("Team A", "App", "team-a/app"),
            ("localhost:5000", "a", "localhost-5000/a"),
            ("-.x.-", "team-/x", "x/team/x"),
            ("", "prod/project/-x", "prod/project/x"),
            ("a/-/b", "c/./d", "a/b/c/d"),
            (" ", "a_b/c__d/e.f/g--h", "a_b/c__d/e.f/g--h"),
            ("", "ä-b/ü", "b"),
        ] {
            assert_eq!(made(prefix, path).as_deref(), Ok(expected), "{prefix:?} {path:?}");
        }
    }

    #[test]
    fn rejects_invalid_repositories() {
        for (prefix, path) in [("mirror", ""), ("mirror", "/"), ("", "-./ü")] {
            assert!(matches!(made(prefix, path), Err(RepositoryNameError::Empty(_))), "{prefix:?} {path:?}");
        }
        for path in ["a..b", "_a", "a_", "a___b", "a.-b"] {
            assert!(matches!(made("", path), Err(RepositoryNameError::Invalid(_))), "{path:?}");
        }
    }

    #[test]
    fn shortens_long_names_with_a_hash() {
        let long = "a".repeat(256);
        let name = made("", &long).unwrap();
        // sha1sum of 256 times "a"
        assert_eq!(name, format!("{}-{}", "a".repeat(242), "9c78512ad150"));
        assert_ne!(name, made("", &format!("{long}b")).unwrap());
        assert_eq!(made("", &"a".repeat(255)).unwrap().len(), 255);

        let border = format!("{}/{}", "a".repeat(241), "b".repeat(50));
        let name = made("", &border).unwrap();
        assert!(name.starts_with(&format!("{}-", "a".repeat(241))) && name.len() == 254, "{name}");
    }

    #[test]
    fn includes_the_path_of_the_registry_in_the_length() {
        let name = repository(&target("ghcr.io/acme"), "", &"a".repeat(255)).unwrap();
        assert_eq!(name.len() + "acme/".len(), 255);
        let full = repository(&target(&format!("ghcr.io/{}", "a".repeat(250))), "", "app-of-mine");
        assert!(matches!(full, Err(RepositoryNameError::NoSpace(_))), "{full:?}");
        let layout = Target { kind: TargetKind::OciLayout, ..target("/var/lib/images") };
        assert_eq!(repository(&layout, "", &"a".repeat(255)).unwrap().len(), 255);
    }
}
