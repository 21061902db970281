//! Names of registries, as users write them and as URLs have them.

use std::str::Chars;

use regex::Regex;
use url::Url;

use crate::model::canonical_registry;

/// Docker Hub as references name it; its other names are no registries of their own.
pub(in crate::registry) const DOCKER_HUB: &str = "docker.io";

/// Lower case, the names of Docker Hub made one.
pub(in crate::registry) fn canonical(registry: &str) -> String {
    canonical_registry(registry.trim())
}

/// All names of the host of a URL: with its port, and at the default port without it.
pub(in crate::registry) fn names_of(url: &Url) -> Vec<String> {
    let Some(host) = url.host_str() else { return Vec::new() };
    let bare = url.port().is_none().then(|| canonical(host));
    bare.into_iter().chain(url.port_or_known_default().map(|port| format!("{host}:{port}"))).collect()
}

/// A name, or a shell glob as the configuration takes them: `*` is any text, `?` any one character, `[a-c]` one of a set
/// and `[^a-c]` one that is not in it, and `\\` takes the next character as it is.
pub(in crate::registry) struct Pattern {
    text: String,
    glob: Option<Regex>,
}

impl Pattern {
    /// As a user writes it.
    pub(in crate::registry) fn new(written: &str) -> Self {
        let text = canonical(written);
        let glob = text.contains(['*', '?', '[']).then(|| expression(&text));
        Self { glob: glob.and_then(|glob| Regex::new(&glob).ok()), text }
    }

    /// Whether it is, or fits, any of these names.
    pub(in crate::registry) fn holds(&self, names: &[String]) -> bool {
        names.iter().any(|name| self.is(name) || self.fits(name))
    }

    fn is(&self, name: &str) -> bool {
        self.text == name
    }

    fn fits(&self, name: &str) -> bool {
        self.glob.as_ref().is_some_and(|glob| glob.is_match(name))
    }
}

/// The regular expression of a glob.
fn expression(glob: &str) -> String {
    let mut expression = String::from("^");
    let mut rest = glob.chars();
    while let Some(next) = rest.next() {
        match next {
            '*' => expression.push_str(".*"),
            '?' => expression.push('.'),
            '\\' => push_literal(&mut expression, rest.next().unwrap_or('\\')),
            '[' => match set(rest.as_str()) {
                Some((set, after)) => {
                    expression.push_str(&set);
                    rest = after.chars();
                }
                None => push_literal(&mut expression, '['),
            },
            literal => push_literal(&mut expression, literal),
        }
    }
    expression.push('$');
    expression
}

fn push_literal(expression: &mut String, literal: char) {
    expression.push_str(&regex::escape(literal.encode_utf8(&mut [0; 4])));
}

/// The expression of the set that begins `text`, and what follows it. None where the bracket begins none: it is never
/// closed, or there is a colon between, which the brackets of an IPv6 address have and no name of a host.
fn set(text: &str) -> Option<(String, &str)> {
    let mut rest = text.chars();
    let is_negated = rest.as_str().starts_with('^');
    if is_negated {
        rest.next();
    }
    let mut members = String::new();
    let mut is_first = true;
    while is_first || !rest.as_str().starts_with(']') {
        is_first = false;
        let low = member(&mut rest)?;
        let mut high = low;
        if rest.as_str().starts_with('-') {
            rest.next();
            high = member(&mut rest)?;
        }
        // A range that runs backwards has nothing in it.
        if low <= high {
            push_literal(&mut members, low);
            members.push('-');
            push_literal(&mut members, high);
        }
    }
    rest.next();
    let set = match (is_negated, members.is_empty()) {
        (false, false) => format!("[{members}]"),
        (true, false) => format!("[^{members}]"),
        (false, true) => r"[^\s\S]".to_owned(),
        (true, true) => ".".to_owned(),
    };
    Some((set, rest.as_str()))
}

fn member(rest: &mut Chars<'_>) -> Option<char> {
    match rest.next()? {
        '\\' => rest.next(),
        '-' | ']' | ':' => None,
        member => Some(member),
    }
}

/// The entry that holds for a registry of these names: the exact name beats a glob, and among equals the later entry
/// wins.
pub(in crate::registry) fn chosen<'a, T>(entries: &'a [(Vec<Pattern>, T)], names: &[String]) -> Option<&'a T> {
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
            ("r.example:510[13]", "r.example:5101", true),
            ("r.example:510[13]", "r.example:5103", true),
            ("r.example:510[13]", "r.example:5102", false),
            ("r.example:510[13]", "r.example:510[13]", false),
            ("[A-C]?.example", "b1.example", true),
            ("[a-c]?.example", "d1.example", false),
            ("[^a-c]*.example", "d1.example", true),
            ("[^a-c]*.example", "a1.example", false),
            ("[ac-e].example", "d.example", true),
            ("[ac-e].example", "b.example", false),
            ("[c-a].example", "b.example", false),
            ("[^c-a].example", "b.example", true),
            (r"r[\-\]].example", "r-.example", true),
            (r"r[.&&^~].example", "ra.example", false),
            (r"\*[1].example", "*1.example", true),
            (r"\*[1].example", "x1.example", false),
            ("[::1]:*", "[::1]:5000", true),
            ("[::1]:*", ":5000", false),
            ("[::1]:5000", ":5000", false),
            ("[a", "[a", true),
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
