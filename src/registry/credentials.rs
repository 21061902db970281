//! Whose credentials go to which registry.

use crate::model::{Credential, Login};

/// Docker Hub as references name it; its other names are no registries of their own when it comes to credentials.
pub(super) const DOCKER_HUB: &str = "docker.io";

/// Lower case, the names of Docker Hub made one.
pub(super) fn canonical(registry: &str) -> String {
    let lower = registry.to_ascii_lowercase();
    match lower.as_str() {
        "index.docker.io" | "registry-1.docker.io" => DOCKER_HUB.to_owned(),
        _ => lower,
    }
}

/// The exact name beats a glob, and among equals the later entry wins.
pub(super) fn login_for<'a>(registry: &str, credentials: &'a [Credential]) -> Option<&'a Login> {
    let registry = canonical(registry);
    let names = |credential: &'a Credential| {
        std::iter::once(&credential.registry).chain(&credential.aliases).map(|name| canonical(name.trim()))
    };
    let latest = |fits: &dyn Fn(&str) -> bool| {
        credentials.iter().rev().find(|credential| names(credential).any(|name| fits(&name)))
    };
    latest(&|name| name == registry).or_else(|| latest(&|name| glob_fits(name, &registry))).map(|found| &found.login)
}

/// `*` is any text, `?` any one character.
fn glob_fits(glob: &str, text: &str) -> bool {
    let pattern = regex::escape(glob).replace(r"\*", ".*").replace(r"\?", ".");
    regex::Regex::new(&format!("^{pattern}$")).is_ok_and(|pattern| pattern.is_match(text))
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret;

    use super::*;

    fn credential(registry: &str, aliases: &[&str], token: &str) -> Credential {
        Credential {
            registry: registry.to_owned(),
            aliases: aliases.iter().map(|&alias| alias.to_owned()).collect(),
            login: Login::Token(token.to_owned().into()),
        }
    }

    #[test]
    fn the_exact_name_beats_a_glob_and_the_later_entry_an_earlier() {
        let credentials = [
            credential("ghcr.io", &[], "early"),
            credential("GHCR.io", &["quay.io"], "late"),
            credential("*.example", &["*"], "glob"),
            credential("a.example", &[], "exact"),
            credential("b?.example:5000", &[], "later glob"),
            credential("registry-1.docker.io", &[], "hub"),
        ];
        for (registry, expected) in [
            ("ghcr.io", "late"),
            ("QUAY.io", "late"),
            ("a.example", "exact"),
            ("z.example", "glob"),
            ("b1.example:5000", "later glob"),
            ("b.example:5000", "glob"),
            ("docker.io", "hub"),
            ("index.docker.io", "hub"),
        ] {
            let login = login_for(registry, &credentials);
            let Some(Login::Token(token)) = login else { panic!("{registry}: {login:?}") };
            assert_eq!(token.expose_secret(), expected, "{registry}");
        }
        assert!(login_for("ghcr.io:443", &credentials[..2]).is_none());
    }

    #[test]
    fn globs_are_read_as_in_a_shell() {
        for (glob, text, fits) in [
            ("*", "", true),
            ("", "", true),
            ("", "a", false),
            ("?", "", false),
            ("*.ghcr.io", "x.y.ghcr.io", true),
            ("*.ghcr.io", "ghcr.io", false),
            ("a*b*c", "aXbYbc", true),
            ("a*b*c", "aXbYb", false),
            ("**", "abc", true),
        ] {
            assert_eq!(glob_fits(glob, text), fits, "{glob} {text}");
        }
    }
}
