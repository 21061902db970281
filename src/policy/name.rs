//! The name of an image at a target, made from what the plugins said and checked whoever said it.

use sha1::{Digest as _, Sha1};

use crate::model::{Reference, ReferenceError, Target, cut};

/// The longest path of a repository that registries take.
const LONGEST: usize = 255;
/// Hex digits that tell cut names apart.
const SUFFIX: usize = 12;

/// No name could be made. Asking again does not help: the image, the configuration or the plugin must change.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// The plugins left nothing of the path.
    #[error("nothing of the path {0:?} can stand in a repository's name; map it to letters and digits")]
    Empty(String),
    /// Cleaning did not make it valid.
    #[error("the name made for it can't be used, map the path or change the prefix: {0}")]
    Invalid(#[from] ReferenceError),
    /// The target's own path is so long that no name fits behind it.
    #[error("the path of the target's registry {0:?} leaves no room for a repository's name")]
    NoRoom(String),
}

/// The repository at `target` for `path` below `prefix`: clean, and with the path of the target's registry no longer
/// than registries take.
pub fn repository(target: &Target, prefix: &str, path: &str) -> Result<String, NameError> {
    let cleaned_path = clean(path);
    if cleaned_path.is_empty() {
        return Err(NameError::Empty(cut(path, LONGEST).into_owned()));
    }
    let name = clean(&format!("{prefix}/{cleaned_path}"));
    let name = fitted(&name, room(target)).ok_or_else(|| NameError::NoRoom(target.registry.clone()))?;
    Reference::check_repository(&name)?;
    Ok(name)
}

/// Lower case; other characters than a repository may have become dashes; parts don't start or end with a dash or a
/// dot, and none is empty.
fn clean(name: &str) -> String {
    let allowed = |c: char| if matches!(c, 'a'..='z' | '0'..='9' | '_' | '/' | '.' | '-') { c } else { '-' };
    let name: String = name.to_lowercase().chars().map(allowed).collect();
    let parts: Vec<&str> = name.split('/').map(|part| part.trim_matches(['-', '.'])).collect();
    parts.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join("/")
}

/// How long a repository may be there.
fn room(target: &Target) -> usize {
    LONGEST.saturating_sub(target.address().path_length())
}

/// A name that is too long keeps its start, and gets a suffix made of the whole. Nothing when even that does not fit.
fn fitted(name: &str, room: usize) -> Option<String> {
    if name.len() <= room {
        return Some(name.to_owned());
    }
    let kept = name.get(..room.checked_sub(SUFFIX + 1)?)?.trim_end_matches(['-', '/', '.', '_']);
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

    fn made(prefix: &str, path: &str) -> Result<String, NameError> {
        repository(&target("registry.example"), prefix, path)
    }

    #[test]
    fn names_are_cleaned_and_joined() {
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
    fn what_cannot_be_cleaned_is_an_error() {
        for (prefix, path) in [("mirror", ""), ("mirror", "/"), ("", "-./ü")] {
            assert!(matches!(made(prefix, path), Err(NameError::Empty(_))), "{prefix:?} {path:?}");
        }
        for path in ["a..b", "_a", "a_", "a___b", "a.-b"] {
            assert!(matches!(made("", path), Err(NameError::Invalid(_))), "{path:?}");
        }
    }

    #[test]
    fn long_names_are_cut_and_told_apart() {
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
    fn the_path_of_the_registry_counts() {
        let name = repository(&target("ghcr.io/acme"), "", &"a".repeat(255)).unwrap();
        assert_eq!(name.len() + "acme/".len(), 255);
        let full = repository(&target(&format!("ghcr.io/{}", "a".repeat(250))), "", "app-of-mine");
        assert!(matches!(full, Err(NameError::NoRoom(_))), "{full:?}");
        let layout = Target { kind: TargetKind::OciLayout, ..target("/var/lib/images") };
        assert_eq!(repository(&layout, "", &"a".repeat(255)).unwrap().len(), 255);
    }
}
