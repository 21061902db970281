//! The environment of the process.

use std::{env, fs};

/// The Pod's namespace, mounted with its ServiceAccount.
const NAMESPACE_FILE: &str = "/var/run/secrets/kubernetes.io/serviceaccount/namespace";

/// An environment variable. Invalid Unicode is replaced: an error about the value is better than ignoring it silently.
pub fn variable(name: &str) -> Option<String> {
    env::var_os(name).map(|value| value.to_string_lossy().into_owned())
}

/// The namespace of the Pod; none outside a cluster.
pub fn namespace() -> Option<String> {
    let namespace = env::var("POD_NAMESPACE").ok().or_else(|| fs::read_to_string(NAMESPACE_FILE).ok());
    namespace.map(|namespace| namespace.trim().to_owned()).filter(|namespace| !namespace.is_empty())
}

/// The host name; in a cluster, the name of the Pod.
pub fn hostname() -> String {
    let hostname = env::var("HOSTNAME").ok().or_else(|| fs::read_to_string("/etc/hostname").ok());
    let hostname = hostname.map(|hostname| hostname.trim().to_owned()).filter(|hostname| !hostname.is_empty());
    hostname.unwrap_or_else(|| "unknown".to_owned())
}
