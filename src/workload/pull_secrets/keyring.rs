//! Which logins belong to an image, and in which order they are tried: the kubelet's rules, so that what nodes can pull the
//! mirror can pull too.

use std::collections::BTreeMap;

use patterns::Glob;

use super::docker_config::Entry;
use crate::model::{Login, Reference};

/// Docker Hub in an image's name, and in pull secrets.
const HUB: &str = "docker.io";
const HUB_KEY: &str = "index.docker.io";

/// Host and path of a key in a pull secret.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Key {
    /// Host, port and path as one text: what the kubelet orders by.
    text: String,
    host_length: usize,
}

/// The logins of several secrets for an image. `secrets` has their names, in the Pod's order.
///
/// More specific keys come first, as their texts sort later; of equal keys those of the first secret.
pub(super) fn matching<'e>(secrets: &'e [(String, Vec<Entry>)], image: &Reference) -> Vec<(&'e str, &'e Login)> {
    let mut by_key: BTreeMap<Key, Vec<(&str, &Login)>> = BTreeMap::new();
    for (secret, entries) in secrets {
        for Entry { registry, login } in entries {
            // The kubelet ignores a key that is no URL.
            if let Some(key) = Key::new(registry) {
                by_key.entry(key).or_default().push((secret, login));
            }
        }
    }
    let (host, path) = (image.registry(), format!("/{}", image.repository()));
    let matching = by_key.iter().rev().filter(|(key, _)| key.matches(host, &path));
    let found: Vec<_> = matching.flat_map(|(_, logins)| logins).copied().collect();
    if found.is_empty() && (host == HUB || host == HUB_KEY) {
        let is_hub = |key: &&Key| key.text == HUB_KEY;
        return by_key.iter().find(|(key, _)| is_hub(key)).map(|(_, logins)| logins.clone()).unwrap_or_default();
    }
    found
}

impl Key {
    /// Without scheme, user, query, and the version that Docker's own entries have as their path. None if Go's `net/url`
    /// rejects it: so of the globs only `*` works, as `?` begins a query and brackets belong to IPv6 addresses.
    fn new(registry: &str) -> Option<Self> {
        let rest = registry.strip_prefix("https://").or_else(|| registry.strip_prefix("http://")).unwrap_or(registry);
        let rest = rest.split(['?', '#']).next().unwrap_or_default();
        let (host, path) = match rest.find('/') {
            Some(slash) => rest.split_at(slash),
            None => (rest, ""),
        };
        let (user, host) = host.rsplit_once('@').unwrap_or(("", host));
        let is_of_user = |byte: u8| byte.is_ascii_alphanumeric() || b"-._:~!$&'()*+,;=%@".contains(&byte);
        let has_brackets = host.trim_start_matches('[').contains('[') || (!host.starts_with('[') && host.contains(']'));
        let (_, port) = split_port(host);
        if !user.bytes().all(is_of_user)
            || has_brackets
            || host.contains(['\\', ' ', '<', '>', '"'])
            || !port.bytes().all(|byte| byte.is_ascii_digit())
        {
            return None;
        }
        let path = match path {
            _ if path.starts_with("/v1/") || path.starts_with("/v2/") => path.get(3..).unwrap_or_default(),
            path => path,
        };
        let path = if path == "/" { "" } else { path };
        Some(Self { text: format!("{host}{path}"), host_length: host.len() })
    }

    /// Whether host and port agree, label by label, and the path is how the image's begins.
    fn matches(&self, host: &str, path: &str) -> bool {
        let (own_host, own_path) = self.text.split_at_checked(self.host_length).unwrap_or((&self.text, ""));
        let ((own_name, own_port), (name, port)) = (split_port(own_host), split_port(host));
        let (own_labels, labels) = (own_name.split('.'), name.split('.'));
        own_port == port
            && own_labels.clone().count() == labels.clone().count()
            && path.starts_with(own_path)
            && own_labels.zip(labels).all(|(glob, label)| Glob::new(glob).is_ok_and(|glob| glob.matches(label)))
    }
}

/// Host and port, as Go's `net.SplitHostPort`; without a valid port, everything is the host.
fn split_port(host: &str) -> (&str, &str) {
    let split = match host.strip_prefix('[') {
        Some(rest) => rest.split_once("]:"),
        None => host.split_once(':').filter(|(_, port)| !port.contains(':')),
    };
    split.unwrap_or((host, ""))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(registry: &str) -> Entry {
        let login = Login::Password { username: registry.to_owned(), password: "p".to_owned().into() };
        Entry { registry: registry.to_owned(), login }
    }

    /// The keys of one secret that match an image, in order.
    fn found(keys: &[&str], image: &str) -> Vec<String> {
        let secrets = [("s".to_owned(), keys.iter().map(|key| entry(key)).collect())];
        let users = matching(&secrets, &image.parse().unwrap()).into_iter();
        let users = users.map(|(_, login)| match login {
            Login::Password { username, .. } => username.clone(),
            Login::Token(_) => String::new(),
        });
        users.collect()
    }

    #[test]
    fn hosts_and_ports_must_agree() {
        for (key, image, matches) in [
            ("r.example", "r.example/app:1", true),
            (
                "r.example",
                "r.example/team/app@sha256:0101010101010101010101010101010101010101010101010101010101010101",
                true,
            ),
            ("https://r.example", "r.example/app", true),
            ("http://r.example/", "r.example/app", true),
            ("https://user@r.example/v2/", "r.example/app", true),
            ("r.example", "s.example/app", false),
            ("r.example", "a.r.example/app", false),
            ("r.example", "r.example:5000/app", false),
            ("r.example:5000", "r.example:5000/app", true),
            ("r.example:5000", "r.example/app", false),
            ("r.example:443", "r.example/app", false),
            ("127.0.0.1:5000", "127.0.0.1:5000/app", true),
            ("[::1]:5000", "[::1]:5000/app", true),
            ("[::1]", "[::1]:5000/app", false),
            ("r.example:", "r.example/app", true),
            ("r.example:abc", "r.example/app", false),
            (" r.example", "r.example/app", false),
            ("\\@r.example", "r.example/app", false),
            ("R.example", "r.example/app", false),
            ("r.example?a=b", "r.example/app", true),
            ("", "r.example/app", false),
            ("https://", "r.example/app", false),
        ] {
            assert_eq!(!found(&[key], image).is_empty(), matches, "{key} {image}");
        }
    }

    // The expectations of these tests are what the kubelet's own code (1.37.1) answered.
    #[test]
    fn globs_match_within_one_label_of_the_host() {
        for (key, image, matches) in [
            ("*.example", "r.example/app", true),
            ("*.example", "a.r.example/app", false),
            ("*.*.example", "a.r.example/app", true),
            ("*", "r.example/app", false),
            ("*", "localhost/app", true),
            ("r-?.example", "r-1.example/app", false),
            ("r-[1-3].example", "r-2.example/app", false),
            ("r\\.example", "r.example/app", false),
            ("*:5000", "localhost:5000/app", true),
            ("*.dkr.ecr.*.amazonaws.com", "123456789012.dkr.ecr.eu-central-1.amazonaws.com/app", true),
            ("*.example:5000", "r.example:5000/app", true),
            ("r.example:*", "r.example:5000/app", false),
            ("r.exam[ple", "r.example/app", false),
            ("r.example/*", "r.example/app", false),
        ] {
            assert_eq!(!found(&[key], image).is_empty(), matches, "{key} {image}");
        }
    }

    #[test]
    fn a_path_is_a_prefix_of_the_repository() {
        for (key, image, matches) in [
            ("r.example/team", "r.example/team/app", true),
            ("r.example/team", "r.example/teams/app", true),
            ("r.example/team/", "r.example/teams/app", false),
            ("r.example/team/app", "r.example/team/app:1", true),
            ("r.example/team/app", "r.example/team", false),
            ("https://r.example/v1/team", "r.example/team/app", true),
            ("https://r.example/v1", "r.example/app", false),
            ("r.example/v1/app", "r.example/app", true),
            ("r.example//", "r.example/app", false),
            ("*.example/team", "r.example/team/app", true),
        ] {
            assert_eq!(!found(&[key], image).is_empty(), matches, "{key} {image}");
        }
    }

    #[test]
    fn docker_hub_has_several_names() {
        for key in ["https://index.docker.io/v1/", "index.docker.io", "docker.io", "https://index.docker.io/v2/"] {
            assert_eq!(found(&[key], "nginx:1"), [key]);
            assert_eq!(found(&[key], "docker.io/acme/app"), [key]);
        }
        for key in ["registry-1.docker.io", "https://index.docker.io/v1", "hub.docker.com"] {
            assert!(found(&[key], "nginx:1").is_empty(), "{key}");
        }
        // Its default key counts only if no other does.
        let both = ["https://index.docker.io/v1/", "docker.io/acme"];
        assert_eq!(found(&both, "acme/app"), ["docker.io/acme"]);
        assert_eq!(found(&both, "nginx:1"), ["https://index.docker.io/v1/"]);
        assert!(found(&["https://index.docker.io/v1/"], "quay.io/acme/app").is_empty());
    }

    #[test]
    fn more_specific_keys_come_first_and_all_matches_are_tried() {
        let keys = ["*.example", "r.example", "r.example/team/app", "r.example/team", "other.example"];
        assert_eq!(
            found(&keys, "r.example/team/app"),
            ["r.example/team/app", "r.example/team", "r.example", "*.example"]
        );
    }

    #[test]
    fn equal_keys_are_tried_in_the_order_of_the_secrets() {
        let secrets = [
            ("first".to_owned(), vec![entry("r.example")]),
            ("second".to_owned(), vec![entry("https://r.example/v1/"), entry("r.example/team")]),
        ];
        let names: Vec<_> =
            matching(&secrets, &"r.example/team/app".parse().unwrap()).iter().map(|(name, _)| *name).collect();
        assert_eq!(names, ["second", "first", "second"]);
    }
}
