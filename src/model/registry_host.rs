//! One name for each registry, whichever of its names is used.

use super::EcrRegistry;

/// Docker Hub, under the name that image references use.
pub(super) const DOCKER_HUB: &str = "docker.io";

/// A registry's host in lower case; Docker Hub's other names become `docker.io`.
pub fn canonical_registry(host: &str) -> String {
    let lower = host.to_ascii_lowercase();
    match lower.as_str() {
        "index.docker.io" | "registry-1.docker.io" => DOCKER_HUB.to_owned(),
        _ => lower,
    }
}

/// The same for any two hosts of one registry: as [`canonical_registry`], without the default port 443, and with
/// Amazon's usual endpoint in place of those with FIPS 140 and IPv6.
pub(super) fn canonical_host(host: &str) -> String {
    let host = canonical_registry(host.strip_suffix(":443").unwrap_or(host));
    match host.parse::<EcrRegistry>() {
        Ok(registry) => EcrRegistry { fips: false, dual_stack: false, ..registry }.to_string(),
        Err(_) => host,
    }
}
