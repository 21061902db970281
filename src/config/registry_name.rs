//! Texts that name registries: those of targets, sources and credentials, and repository prefixes.

use patterns::{PrefixToken, expand_prefix};

use super::{
    reader::{Reader, Spanned},
    value::{closest, quoted},
};
use crate::model::Reference;

/// What stands before an @ may be a password: nothing is shown.
const NO_LOGIN: &str = "a registry must not contain @; set user name and password with their own keys";

/// `host[:port][/path]`. Unambiguous mistakes are corrected with a warning.
pub(super) fn registry(reader: &mut Reader<'_>, found: &Spanned) -> Option<String> {
    match clean_registry(&found.value) {
        Ok(registry) => {
            if registry != found.value {
                reader.warn(&found.location, format!("used as {registry:?}; write host[:port][/path]"));
            }
            Some(registry)
        }
        Err(message) => {
            reader.reject(&found.location, message);
            None
        }
    }
}

fn clean_registry(text: &str) -> Result<String, String> {
    let registry = text.trim();
    if registry.contains('@') {
        return Err(NO_LOGIN.to_owned());
    }
    if let Some(rest) = registry.strip_prefix("http://") {
        return Err(format!(
            "{} means plain HTTP; write {:?} and set TARGET_INSECURE=true (in the file `insecure: true`)",
            quoted(registry),
            rest.trim_end_matches('/')
        ));
    }
    let registry = registry.strip_prefix("https://").unwrap_or(registry).trim_end_matches('/');
    let host = registry.split('/').next().unwrap_or_default();
    if !host.contains(['.', ':']) && host != "localhost" {
        return Err(format!(
            "{}: {} would be a user of Docker Hub; write {host}:80 or {host}:443, or the host's full name",
            quoted(text),
            quoted(host)
        ));
    }
    // A registry is valid if a reference below it is.
    match format!("{registry}/name:tag").parse::<Reference>() {
        Ok(_) => Ok(registry.to_owned()),
        Err(_) => Err(format!("{} is not a registry; write host[:port][/path], the path in lower case", quoted(text))),
    }
}

/// A repository prefix with known tokens only.
pub(super) fn repo_prefix(text: &str) -> Result<String, String> {
    let text = text.trim();
    match expand_prefix(text, |_| "") {
        Ok(_) => Ok(text.to_owned()),
        Err(error) => {
            let suggestion = closest(&error.token, &PrefixToken::NAMES);
            let suggestion = suggestion.map(|name| format!("; did you mean {name}?")).unwrap_or_default();
            Err(format!("prefix {}: {error}{suggestion}", quoted(text)))
        }
    }
}

/// `host[:port]` of a source, in lower case.
pub(super) fn source_host(text: &str) -> Result<String, String> {
    let host = text.trim().to_ascii_lowercase();
    if host.contains('@') {
        return Err(NO_LOGIN.to_owned());
    }
    let is_valid = format!("{host}/name:tag").parse::<Reference>().is_ok();
    if is_valid && !host.contains('/') && (host.contains(['.', ':']) || host == "localhost") {
        return Ok(host);
    }
    Err(format!("{} is not a host; write host[:port] as in image references, without scheme and path", quoted(text)))
}

/// The host of an entry in `registryCredentials`; globs are allowed. A scheme and a path are removed with a warning:
/// only `host[:port]` is compared.
pub(super) fn credential_host(reader: &mut Reader<'_>, found: &Spanned) -> Option<String> {
    let text = found.value.trim();
    if text.contains('@') {
        reader.reject(&found.location, NO_LOGIN);
        return None;
    }
    let bare = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://")).unwrap_or(text);
    let host = bare.split('/').next().unwrap_or_default().to_ascii_lowercase();
    if !host.eq_ignore_ascii_case(text) {
        reader.warn(&found.location, format!("used as {host:?}: only host[:port] is compared"));
    }
    let glob = Spanned { value: host, location: found.location.clone() };
    reader.parse(&glob, super::value::glob).map(|found| found.value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn corrects_or_rejects_registries() {
        for (text, registry) in [
            ("registry.test.svc.cluster.local:5000", "registry.test.svc.cluster.local:5000"),
            ("ghcr.io/acme", "ghcr.io/acme"),
            ("https://ghcr.io/acme/", "ghcr.io/acme"),
            ("localhost", "localhost"),
            ("registry:80", "registry:80"),
            ("[::1]:5000", "[::1]:5000"),
        ] {
            assert_eq!(clean_registry(text).as_deref(), Ok(registry), "{text}");
        }
        for (text, hint) in [
            ("registry", "registry:80"),
            ("acme/images", "acme:80"),
            ("http://registry.local", "TARGET_INSECURE"),
            ("ghcr.io/Acme", "lower case"),
            ("ghcr.io//acme", "host[:port]"),
            ("ftp://ghcr.io", "host[:port]"),
            ("ghcr.io:port", "host[:port]"),
            ("a b.io", "host[:port]"),
            (" ", "full name"),
        ] {
            let message = clean_registry(text).unwrap_err();
            assert!(message.contains(hint), "{text}: {message}");
        }
        assert!(!clean_registry("https://me:hunter2@ghcr.io").unwrap_err().contains("hunter2"));
    }

    #[test]
    fn rejects_prefixes_with_unknown_tokens() {
        for text in ["", "mirror", "$namespace/$podname/$container_name", "x-$registry-y"] {
            assert!(repo_prefix(text).is_ok(), "{text}");
        }
        for (text, hint) in [
            ("$arch", "several"),
            ("a/$namspace", "did you mean $namespace?"),
            ("$namespaces", "did you mean $namespace?"),
            ("$", "$registry"),
            ("$namespace/$x/y", "unknown token $x;"),
        ] {
            let message = repo_prefix(text).unwrap_err();
            assert!(message.contains(hint), "{text}: {message}");
        }
    }

    #[test]
    fn parses_hosts_of_sources() {
        assert_eq!(source_host(" Registry.local:5000 ").as_deref(), Ok("registry.local:5000"));
        for text in ["http://a.io", "a.io/x", "registry", "", "*.a.io"] {
            assert!(source_host(text).is_err(), "{text}");
        }
    }
}
