//! The identities that Google Cloud and Azure give to Pods and machines, for their own registries. Registries are told by
//! their host names alone: other hosts cause no request.
//!
//! Here because google-cloud-auth 1.19 renews tokens in the background whether they are used or not, signs its tokens for
//! service accounts itself, which registries are not documented to accept, and because azure_identity 1.0 brings Azure's
//! whole client. Both bring HTTP clients of their own, and neither bounds the look for a metadata server that isn't there.

mod azure;
mod environment;
mod google;
mod google_file;
mod jwt;
mod metadata;
mod requests;

pub(in crate::registry) use azure::AzureLogin;
pub use environment::CloudEnvironment;
pub(in crate::registry) use google::GoogleIdentity;

use std::sync::Arc;

use azure::AzureIdentity;

use crate::registry::{http::host_names::canonical, shared_cache::SharedCache};

/// When this many registries are known, unused ones are removed: image references can name any number.
const MAX_REGISTRIES: usize = 1024;

/// Azure's registries: in its public cloud, in China, and for the government of the USA.
const AZURE_SUFFIXES: [&str; 3] = [".azurecr.io", ".azurecr.cn", ".azurecr.us"];

/// The identities in Google Cloud and Azure. Nothing is looked for before a registry of that cloud asks for a login. A
/// clone is cheap and shares tokens.
#[derive(Clone)]
pub struct CloudIdentities {
    google: Arc<GoogleIdentity>,
    azure: Arc<AzureIdentity>,
    azure_logins: Arc<SharedCache<String, AzureLogin>>,
}

/// The identity for a registry.
pub(in crate::registry) enum CloudLogin {
    Google(Arc<GoogleIdentity>),
    Azure(Arc<AzureLogin>),
}

/// Whose registries have a host name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Cloud {
    Google,
    Azure,
}

impl CloudIdentities {
    /// The identities that the variables name, or the metadata servers of the clouds.
    pub fn new(environment: CloudEnvironment) -> Self {
        let environment = Arc::new(environment);
        Self {
            google: Arc::new(GoogleIdentity::new(Arc::clone(&environment))),
            azure: Arc::new(AzureIdentity::new(environment)),
            azure_logins: Arc::new(SharedCache::new(MAX_REGISTRIES)),
        }
    }

    /// The identity for a registry, `host[:port]`; None for those of others.
    pub(in crate::registry) fn login(&self, registry: &str) -> Option<CloudLogin> {
        let host = canonical(registry);
        let host = host.strip_suffix(":443").unwrap_or(&host);
        Some(match cloud_of(host)? {
            Cloud::Google => CloudLogin::Google(Arc::clone(&self.google)),
            Cloud::Azure => CloudLogin::Azure(
                self.azure_logins.get(host, || AzureLogin::new(Arc::clone(&self.azure), host.to_owned())),
            ),
        })
    }
}

/// `host` in lower case, without a port.
fn cloud_of(host: &str) -> Option<Cloud> {
    let is_below =
        |suffix: &str| host.strip_suffix(suffix).is_some_and(|name| !name.is_empty() && !name.ends_with('.'));
    if host == "gcr.io" || is_below(".gcr.io") || is_below(".pkg.dev") {
        Some(Cloud::Google)
    } else if AZURE_SUFFIXES.into_iter().any(is_below) {
        Some(Cloud::Azure)
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn registries_are_told_by_whole_labels_of_their_names() {
        for (host, cloud) in [
            ("gcr.io", Some(Cloud::Google)),
            ("eu.gcr.io", Some(Cloud::Google)),
            ("europe-west3-docker.pkg.dev", Some(Cloud::Google)),
            ("acme.azurecr.io", Some(Cloud::Azure)),
            ("acme.eastus.geo.azurecr.io", Some(Cloud::Azure)),
            ("acme.azurecr.cn", Some(Cloud::Azure)),
            ("acme.azurecr.us", Some(Cloud::Azure)),
            ("evil-gcr.io", None),
            ("evilpkg.dev", None),
            ("pkg.dev", None),
            ("azurecr.io", None),
            ("evil-azurecr.io", None),
            ("acme.azurecr.io.evil.example", None),
            ("gcr.io.evil.example", None),
            (".pkg.dev", None),
            ("acme.azurecr.io:5000", None),
        ] {
            assert_eq!(cloud_of(host), cloud, "{host}");
        }
        let clouds = CloudIdentities::new(CloudEnvironment::default());
        assert!(clouds.login("GCR.io:443").is_some() && clouds.login("gcr.io:5000").is_none());
    }
}
