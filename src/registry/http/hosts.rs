//! How single registries are reached, as the user says, and how all others.

use hyper_util::client::proxy::matcher::Matcher;
use reqwest::{Certificate, Identity};
use secrecy::{ExposeSecret, SecretString};
use tokio_util::task::TaskTracker;
use url::Url;

use crate::model::{ClientCertificate, PemFile, RegistryAccess};
use crate::registry::{
    error::SetupError,
    host::is_loopback,
    http::clients::{Clients, Tls, builder},
    http::naming::{Pattern, chosen, names_of},
    limits::connections::Connections,
};

/// The ways to all hosts. Token services and those whom registries send us on to are hosts as well: what is said of a
/// registry does not hold for them, unless its name fits.
pub(in crate::registry) struct Ways {
    special: Vec<(Vec<Pattern>, Way)>,
    usual: Way,
    proxies: Matcher,
    /// What is still cleared away at registries although nobody waits for it.
    pub(in crate::registry) clearing: TaskTracker,
    /// How many requests each registry gets at once.
    pub(in crate::registry) connections: Connections,
}

/// The way to some hosts.
pub(in crate::registry) struct Way {
    /// Plain HTTP is spoken, and nothing else tried.
    pub(in crate::registry) is_plain: bool,
    /// TLS is spoken, and nothing else tried.
    pub(in crate::registry) is_tls: bool,
    pub(in crate::registry) clients: Clients,
    /// The most requests at once, where that is said.
    pub(in crate::registry) connections: Option<usize>,
}

impl Ways {
    /// Nothing is contacted. `connections` is how many requests a registry gets at once.
    pub(in crate::registry) fn new(registries: &[RegistryAccess], connections: usize) -> Result<Self, SetupError> {
        let special = registries.iter().map(|access| Ok((vec![Pattern::new(&access.registry)], way(access)?)));
        let usual = Way { is_plain: false, is_tls: false, clients: Clients::new(Tls::default()), connections: None };
        Ok(Self {
            special: special.collect::<Result<_, _>>()?,
            usual,
            // As reqwest's own.
            proxies: Matcher::from_system(),
            clearing: TaskTracker::new(),
            connections: Connections::new(connections),
        })
    }

    /// Whether a proxy stands before the host of a URL: then nobody here knows its address.
    pub(in crate::registry) fn is_proxied(&self, url: &Url) -> bool {
        let uri = url.as_str().parse::<http::Uri>();
        !is_loopback(url) && uri.is_ok_and(|uri| self.proxies.intercept(&uri).is_some())
    }

    /// The one to the host of a URL.
    pub(in crate::registry) fn to(&self, url: Option<&Url>) -> &Way {
        let url = url.filter(|_| !self.special.is_empty());
        url.and_then(|url| chosen(&self.special, &names_of(url))).unwrap_or(&self.usual)
    }
}

fn way(access: &RegistryAccess) -> Result<Way, SetupError> {
    let tls = Tls {
        authorities: access.authorities.as_ref().map(authorities).transpose()?.unwrap_or_default(),
        identity: access.client.as_ref().map(identity).transpose()?,
        skip_verify: access.skip_verify,
    };
    let (is_plain, is_tls) = (access.plain_http, access.wants_tls());
    Ok(Way { is_plain, is_tls, clients: Clients::new(tls), connections: access.connections })
}

/// Tried now: a certificate that can't be used is to stop the start, and not the first request.
fn authorities(file: &PemFile) -> Result<Vec<Certificate>, SetupError> {
    let read = || {
        let certificates = Certificate::from_pem_bundle(file.text.as_bytes())?;
        builder().tls_certs_only(certificates.clone()).build()?;
        Ok(certificates)
    };
    read().map_err(|error| SetupError::file(file.path.display().to_string(), error))
}

/// As above: whether the key is the certificate's own shows only when both are used.
fn identity(client: &ClientCertificate) -> Result<Identity, SetupError> {
    let read = || {
        let both = SecretString::from(format!("{}\n{}", client.certificates.text, client.key.expose_secret()));
        let identity = Identity::from_pem(both.expose_secret().as_bytes())?;
        builder().tls_certs_only([]).identity(identity.clone()).build()?;
        Ok(identity)
    };
    let files = format!("{} with {}", client.certificates.path.display(), client.key_path.display());
    read().map_err(|error| SetupError::file(files, error))
}

#[cfg(test)]
mod tests {
    use rcgen::{CertifiedKey, generate_simple_self_signed};

    use super::*;

    fn pem(text: String) -> PemFile {
        PemFile { path: "some.pem".into(), text }
    }

    fn client(certificate: &CertifiedKey<rcgen::KeyPair>, key: &CertifiedKey<rcgen::KeyPair>) -> RegistryAccess {
        let key = key.signing_key.serialize_pem().into();
        let client = ClientCertificate { certificates: pem(certificate.cert.pem()), key_path: "some.key".into(), key };
        RegistryAccess { registry: "r.example".to_owned(), client: Some(client), ..RegistryAccess::default() }
    }

    fn certified() -> CertifiedKey<rcgen::KeyPair> {
        generate_simple_self_signed(["client".to_owned()]).unwrap()
    }

    #[test]
    fn what_is_said_of_a_registry_holds_for_no_other_host() {
        let certified = certified();
        let ways = Ways::new(&[client(&certified, &certified)], 1).unwrap();
        for (url, is_special) in [
            ("https://r.example/v2/", true),
            ("https://R.example:443/v2/", true),
            ("https://r.example:8443/v2/", false),
            ("https://auth.r.example/token", false),
            ("https://cdn.example/", false),
        ] {
            let way = ways.to(Some(&Url::parse(url).unwrap()));
            assert_eq!((way.is_tls, std::ptr::eq(way, &raw const ways.usual)), (is_special, !is_special), "{url}");
        }
    }

    #[test]
    fn certificates_that_cannot_be_used_stop_the_start_and_no_key_is_told() {
        let (one, other) = (certified(), certified());
        let error = Ways::new(&[client(&one, &other)], 1).err().unwrap();
        let key = other.signing_key.serialize_pem();
        assert!(error.to_string().starts_with("some.pem with some.key: the certificate can't be used"), "{error}");
        assert!(!format!("{error} {error:?}").contains(key.lines().nth(1).unwrap()));

        let damaged = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n".to_owned();
        let access = RegistryAccess { authorities: Some(pem(damaged)), ..RegistryAccess::default() };
        let error = Ways::new(&[access], 1).err().unwrap();
        assert!(error.to_string().starts_with("some.pem: the certificate can't be used"), "{error}");
    }
}
