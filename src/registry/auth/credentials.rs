//! Which configured credentials belong to a registry.

use crate::{
    model::{Credential, Login},
    registry::http::host_names::{HostPattern, best_match, canonical},
};

/// An exact name wins over a glob, and a later entry over an earlier one.
pub(in crate::registry) fn login_for<'a>(registry: &str, credentials: &'a [Credential]) -> Option<&'a Login> {
    let patterns = |credential: &Credential| {
        std::iter::once(&credential.registry).chain(&credential.aliases).map(|name| HostPattern::new(name)).collect()
    };
    let entries: Vec<_> = credentials.iter().map(|credential| (patterns(credential), &credential.login)).collect();
    best_match(&entries, &[canonical(registry)]).copied()
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
    fn prefers_exact_names_to_globs_and_later_entries_to_earlier_ones() {
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
}
