//! Registry names as users write them and as URLs contain them.

use std::str::Chars;

use regex::Regex;
use url::{Host, Url};

use crate::model::canonical_registry;

/// Docker Hub as references name it; its other names are aliases.
pub(in crate::registry) const DOCKER_HUB: &str = "docker.io";

/// Lower case, and all names of Docker Hub as `docker.io`.
pub(in crate::registry) fn canonical(registry: &str) -> String {
    canonical_registry(registry.trim())
}

/// All names of a URL's host: with its port, and without it if it is the default port.
pub(in crate::registry) fn names_of_url(url: &Url) -> Vec<String> {
    let Some(host) = url.host_str() else { return Vec::new() };
    let bare = url.port().is_none().then(|| canonical(host));
    bare.into_iter().chain(url.port_or_known_default().map(|port| format!("{host}:{port}"))).collect()
}

/// 127.0.0.0/8, `[::1]` and `localhost`.
pub(in crate::registry) fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    }
}

/// Whether plain HTTP is allowed without a setting in `registries`: on loopback, and for hosts listed as insecure.
pub(in crate::registry) fn allows_plain_http(url: &Url, insecure: &[String]) -> bool {
    is_loopback(url) || is_insecure(url, insecure)
}

/// Whether the list of insecure registries contains the host. A name without a port means the default ports.
pub(in crate::registry) fn is_insecure(url: &Url, insecure: &[String]) -> bool {
    let Some(host) = url.host_str() else { return false };
    insecure.iter().any(|listed| {
        let listed = canonical(listed.trim());
        let with_port = |port: Option<u16>| port.is_some_and(|port| listed == format!("{host}:{port}"));
        with_port(url.port_or_known_default()) || (url.port().is_none() && listed == host)
    })
}

/// A name, or a shell glob: `*` matches any text, `?` any one character, `[a-c]` one character of a set, `[^a-c]` one
/// outside of it; `\\` takes the next character literally.
///
/// Kept by hand: glob crates take the brackets of an IPv6 address for a set.
pub(in crate::registry) struct HostPattern {
    text: String,
    glob: Option<Regex>,
}

impl HostPattern {
    pub(in crate::registry) fn new(text: &str) -> Self {
        let text = canonical(text);
        let glob = text.contains(['*', '?', '[']).then(|| glob_to_regex(&text));
        Self { glob: glob.and_then(|glob| Regex::new(&glob).ok()), text }
    }

    /// Whether it equals or matches any of these names.
    pub(in crate::registry) fn matches_any(&self, names: &[String]) -> bool {
        names.iter().any(|name| self.equals(name) || self.matches_glob(name))
    }

    fn equals(&self, name: &str) -> bool {
        self.text == name
    }

    fn matches_glob(&self, name: &str) -> bool {
        self.glob.as_ref().is_some_and(|glob| glob.is_match(name))
    }
}

fn glob_to_regex(glob: &str) -> String {
    let mut regex = String::from("^");
    let mut rest = glob.chars();
    while let Some(next) = rest.next() {
        match next {
            '*' => regex.push_str(".*"),
            '?' => regex.push('.'),
            '\\' => push_literal(&mut regex, rest.next().unwrap_or('\\')),
            '[' => match set(rest.as_str()) {
                Some((set, after)) => {
                    regex.push_str(&set);
                    rest = after.chars();
                }
                None => push_literal(&mut regex, '['),
            },
            literal => push_literal(&mut regex, literal),
        }
    }
    regex.push('$');
    regex
}

fn push_literal(regex: &mut String, literal: char) {
    regex.push_str(&regex::escape(literal.encode_utf8(&mut [0; 4])));
}

/// The regular expression of the set at the beginning of `text`, and the text after it. None if the bracket begins no
/// set: it is never closed, or contains a colon, as the brackets of an IPv6 address do and no host name does.
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
        // A descending range is empty.
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

/// The entry for a registry with these names: an exact name wins over a glob, and a later entry over an earlier one.
pub(in crate::registry) fn best_match<'a, T>(entries: &'a [(Vec<HostPattern>, T)], names: &[String]) -> Option<&'a T> {
    let last = |matches: fn(&HostPattern, &str) -> bool| {
        let any =
            |patterns: &[HostPattern]| patterns.iter().any(|pattern| names.iter().any(|name| matches(pattern, name)));
        entries.iter().rev().find(|(patterns, _)| any(patterns)).map(|(_, entry)| entry)
    };
    last(HostPattern::equals).or_else(|| last(HostPattern::matches_glob))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn matches_globs_as_a_shell_does() {
        for (glob, text, matches) in [
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
            assert_eq!(HostPattern::new(glob).matches_glob(text), matches, "{glob} {text}");
        }
    }

    #[test]
    fn names_a_host_with_and_without_its_default_port() {
        for (url, names) in [
            ("https://r.example/", &["r.example", "r.example:443"][..]),
            ("http://r.example/", &["r.example", "r.example:80"]),
            ("https://r.example:5000/", &["r.example:5000"]),
            ("https://registry-1.docker.io/", &["docker.io", "registry-1.docker.io:443"]),
            ("https://[::1]:5000/", &["[::1]:5000"]),
        ] {
            assert_eq!(names_of_url(&Url::parse(url).unwrap()), names, "{url}");
        }
    }

    #[test]
    fn prefers_exact_names_to_globs_and_later_entries_to_earlier_ones() {
        let entries = ["a.example", "*.example", "b.example", "b.example", "?.example"];
        let entries: Vec<_> = entries.iter().enumerate().map(|(at, name)| (vec![HostPattern::new(name)], at)).collect();
        for (name, expected) in [
            ("a.example", Some(0)),
            ("b.example", Some(3)),
            ("c.example", Some(4)),
            ("cc.example", Some(1)),
            ("x", None),
        ] {
            assert_eq!(best_match(&entries, &[name.to_owned()]).copied(), expected, "{name}");
        }
    }
}
