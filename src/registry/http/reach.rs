//! How a registry is reached, for those who tell it to others.

use url::Url;

use super::host_names::{HostPattern, best_match, is_insecure, names_of_url};
use crate::model::RegistryAccess;

/// The settings for the registry `host[:port]`; none if there are none for it. Of several that match, an exact name wins over a
/// glob, and a later entry over an earlier one.
pub fn access_to<'a>(registries: &'a [RegistryAccess], host: &str) -> Option<&'a RegistryAccess> {
    let names = names_of_url(&url(host)?);
    let patterns: Vec<_> = registries.iter().map(|access| (vec![HostPattern::new(&access.registry)], access)).collect();
    best_match(&patterns, &names).copied()
}

/// Whether the list of insecure registries has `host[:port]`.
pub fn is_listed_as_insecure(insecure: &[String], host: &str) -> bool {
    url(host).is_some_and(|url| is_insecure(&url, insecure))
}

fn url(host: &str) -> Option<Url> {
    Url::parse(&format!("https://{host}/")).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_found_by_every_name_of_a_registry() {
        let registries = ["*.example.com", "r.example.com:443", "docker.io"]
            .map(|registry| RegistryAccess { registry: registry.to_owned(), ..RegistryAccess::default() });
        let found = |host: &str| access_to(&registries, host).map(|access| access.registry.as_str());
        assert_eq!(found("r.example.com"), Some("r.example.com:443"));
        assert_eq!(found("s.example.com"), Some("*.example.com"));
        assert_eq!(found("registry-1.docker.io"), Some("docker.io"));
        assert_eq!(found("quay.io"), None);
        assert!(is_listed_as_insecure(&["r.io:443".to_owned()], "r.io"));
        assert!(!is_listed_as_insecure(&["r.io:80".to_owned()], "r.io:8080"));
    }
}
