//! Names of registries, as users write them and as URLs have them.

use regex::Regex;
use url::Url;

/// Docker Hub as references name it; its other names are no registries of their own.
pub(super) const DOCKER_HUB: &str = "docker.io";

/// Lower case, the names of Docker Hub made one.
pub(super) fn canonical(registry: &str) -> String {
    let lower = registry.trim().to_ascii_lowercase();
    match lower.as_str() {
        "index.docker.io" | "registry-1.docker.io" => DOCKER_HUB.to_owned(),
        _ => lower,
    }
}

/// All names of the host of a URL: with its port, and at the default port without it.
pub(super) fn names_of(url: &Url) -> Vec<String> {
    let Some(host) = url.host_str() else { return Vec::new() };
    let bare = url.port().is_none().then(|| canonical(host));
    bare.into_iter().chain(url.port_or_known_default().map(|port| format!("{host}:{port}"))).collect()
}

/// A name, in which `*` is any text and `?` any one character.
pub(super) struct Pattern {
    text: String,
    glob: Option<Regex>,
}

impl Pattern {
    /// As a user writes it.
    pub(super) fn new(written: &str) -> Self {
        let text = canonical(written);
        let glob = text.contains(['*', '?']).then(|| regex::escape(&text).replace(r"\*", ".*").replace(r"\?", "."));
        Self { glob: glob.and_then(|glob| Regex::new(&format!("^{glob}$")).ok()), text }
    }

    /// Whether it is, or fits, any of these names.
    pub(super) fn holds(&self, names: &[String]) -> bool {
        names.iter().any(|name| self.is(name) || self.fits(name))
    }

    fn is(&self, name: &str) -> bool {
        self.text == name
    }

    fn fits(&self, name: &str) -> bool {
        self.glob.as_ref().is_some_and(|glob| glob.is_match(name))
    }
}

/// The entry that holds for a registry of these names: the exact name beats a glob, and among equals the later entry
/// wins.
pub(super) fn chosen<'a, T>(entries: &'a [(Vec<Pattern>, T)], names: &[String]) -> Option<&'a T> {
    let latest = |fits: fn(&Pattern, &str) -> bool| {
        let any = |patterns: &[Pattern]| patterns.iter().any(|pattern| names.iter().any(|name| fits(pattern, name)));
        entries.iter().rev().find(|(patterns, _)| any(patterns)).map(|(_, entry)| entry)
    };
    latest(Pattern::is).or_else(|| latest(Pattern::fits))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn globs_are_read_as_in_a_shell() {
        for (glob, text, fits) in [
            ("*", "", true),
            ("?", "", false),
            ("*.ghcr.io", "x.y.ghcr.io", true),
            ("*.ghcr.io", "ghcr.io", false),
            ("a*b*c", "aXbYbc", true),
            ("a*b*c", "aXbYb", false),
            ("**", "abc", true),
            ("a.b", "a.b", false),
        ] {
            assert_eq!(Pattern::new(glob).fits(text), fits, "{glob} {text}");
        }
    }

    #[test]
    fn a_host_has_two_names_at_the_default_port() {
        for (url, names) in [
            ("https://r.example/", &["r.example", "r.example:443"][..]),
            ("http://r.example/", &["r.example", "r.example:80"]),
            ("https://r.example:5000/", &["r.example:5000"]),
            ("https://registry-1.docker.io/", &["docker.io", "registry-1.docker.io:443"]),
            ("https://[::1]:5000/", &["[::1]:5000"]),
        ] {
            assert_eq!(names_of(&Url::parse(url).unwrap()), names, "{url}");
        }
    }

    #[test]
    fn the_exact_name_beats_a_glob_and_the_later_entry_an_earlier() {
        let entries = ["a.example", "*.example", "b.example", "b.example", "?.example"];
        let entries: Vec<_> = entries.iter().enumerate().map(|(at, name)| (vec![Pattern::new(name)], at)).collect();
        for (name, expected) in [
            ("a.example", Some(0)),
            ("b.example", Some(3)),
            ("c.example", Some(4)),
            ("cc.example", Some(1)),
            ("x", None),
        ] {
            assert_eq!(chosen(&entries, &[name.to_owned()]).copied(), expected, "{name}");
        }
    }
}
