//! How each host is reached: plain HTTP or TLS, certificates, proxies.

use hyper_util::client::proxy::matcher::Matcher;
use reqwest::{Certificate, Identity};
use secrecy::{ExposeSecret, SecretString};
use url::Url;

use crate::{
    model::{ClientCertificate, PemFile, RegistryAccess},
    registry::{
        error::CertificateError,
        http::{
            clients::{HttpClients, TlsConfig, builder},
            host_names::{HostPattern, best_match, is_loopback, names_of_url},
        },
    },
};

/// The configuration of all hosts. Token services and redirect targets are hosts too: the settings of a registry apply
/// to them only if its pattern matches their names.
pub(in crate::registry) struct HostConfigs {
    configured: Vec<(Vec<HostPattern>, HostConfig)>,
    default: HostConfig,
    proxies: Matcher,
}

/// How some hosts are reached.
pub(in crate::registry) struct HostConfig {
    /// Use plain HTTP only.
    pub(in crate::registry) plain_only: bool,
    /// Use TLS only.
    pub(in crate::registry) tls_only: bool,
    pub(in crate::registry) clients: HttpClients,
    /// Overrides the maximum number of concurrent requests.
    pub(in crate::registry) max_connections: Option<usize>,
}

impl HostConfigs {
    pub(in crate::registry) fn new(registries: &[RegistryAccess]) -> Result<Self, CertificateError> {
        let configured =
            registries.iter().map(|access| Ok((vec![HostPattern::new(&access.registry)], host_config(access)?)));
        Ok(Self {
            configured: configured.collect::<Result<_, _>>()?,
            default: HostConfig {
                plain_only: false,
                tls_only: false,
                clients: HttpClients::new(TlsConfig::default()),
                max_connections: None,
            },
            // The same source as reqwest's.
            proxies: Matcher::from_system(),
        })
    }

    /// Whether requests to the host of a URL go through a proxy, which resolves its address.
    pub(in crate::registry) fn is_proxied(&self, url: &Url) -> bool {
        let uri = url.as_str().parse::<http::Uri>();
        !is_loopback(url) && uri.is_ok_and(|uri| self.proxies.intercept(&uri).is_some())
    }

    pub(in crate::registry) fn for_url(&self, url: Option<&Url>) -> &HostConfig {
        let url = url.filter(|_| !self.configured.is_empty());
        url.and_then(|url| best_match(&self.configured, &names_of_url(url))).unwrap_or(&self.default)
    }
}

fn host_config(access: &RegistryAccess) -> Result<HostConfig, CertificateError> {
    let tls = TlsConfig {
        authorities: access.authorities.as_ref().map(authorities).transpose()?.unwrap_or_default(),
        identity: access.client.as_ref().map(identity).transpose()?,
        skip_verify: access.skip_verify,
    };
    Ok(HostConfig {
        plain_only: access.plain_http,
        tls_only: access.wants_tls(),
        clients: HttpClients::new(tls),
        max_connections: access.connections,
    })
}

/// Builds a client, so that an unusable certificate fails the start and not the first request.
fn authorities(file: &PemFile) -> Result<Vec<Certificate>, CertificateError> {
    let read = || {
        let certificates = Certificate::from_pem_bundle(file.text.as_bytes())?;
        builder().tls_certs_only(certificates.clone()).build()?;
        Ok(certificates)
    };
    read().map_err(|error| CertificateError::new(file.path.display().to_string(), error))
}

/// Builds a client too: only that checks whether the key belongs to the certificate.
fn identity(client: &ClientCertificate) -> Result<Identity, CertificateError> {
    let read = || {
        let pem = SecretString::from(format!("{}\n{}", client.certificates.text, client.key.expose_secret()));
        let identity = Identity::from_pem(pem.expose_secret().as_bytes())?;
        builder().tls_certs_only([]).identity(identity.clone()).build()?;
        Ok(identity)
    };
    let files = format!("{} with {}", client.certificates.path.display(), client.key_path.display());
    read().map_err(|error| CertificateError::new(files, error))
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
    fn applies_settings_of_a_registry_to_no_other_host() {
        let certified = certified();
        let hosts = HostConfigs::new(&[client(&certified, &certified)]).unwrap();
        for (url, is_configured) in [
            ("https://r.example/v2/", true),
            ("https://R.example:443/v2/", true),
            ("https://r.example:8443/v2/", false),
            ("https://auth.r.example/token", false),
            ("https://cdn.example/", false),
        ] {
            let config = hosts.for_url(Some(&Url::parse(url).unwrap()));
            assert_eq!(
                (config.tls_only, std::ptr::eq(config, &raw const hosts.default)),
                (is_configured, !is_configured),
                "{url}"
            );
        }
    }

    #[test]
    fn rejects_unusable_certificates_without_showing_the_key() {
        let (one, other) = (certified(), certified());
        let error = HostConfigs::new(&[client(&one, &other)]).err().unwrap();
        let key = other.signing_key.serialize_pem();
        assert!(error.to_string().starts_with("some.pem with some.key: the certificate can't be used"), "{error}");
        assert!(!format!("{error} {error:?}").contains(key.lines().nth(1).unwrap()));

        let damaged = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n".to_owned();
        let access = RegistryAccess { authorities: Some(pem(damaged)), ..RegistryAccess::default() };
        let error = HostConfigs::new(&[access]).err().unwrap();
        assert!(error.to_string().starts_with("some.pem: the certificate can't be used"), "{error}");
    }
}
