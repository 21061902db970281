//! Connection settings of registries.

use std::path::PathBuf;

use secrecy::{ExposeSecret as _, SecretString};

/// Settings for one registry, or for all that match a pattern.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RegistryAccess {
    /// `host[:port]` in any case, or a shell glob: `*`, `?`, `[a-c]`, `[^a-c]`.
    pub registry: String,
    /// Use HTTP without TLS, and never try HTTPS.
    pub plain_http: bool,
    /// Do not verify the server's certificate.
    pub skip_verify: bool,
    /// Additional trusted certificate authorities.
    pub authorities: Option<PemFile>,
    /// The client certificate (mutual TLS).
    pub client: Option<ClientCertificate>,
    /// Maximum concurrent requests; none for the default.
    pub connections: Option<usize>,
}

impl RegistryAccess {
    /// Whether it has TLS settings, which rule out plain HTTP.
    pub fn wants_tls(&self) -> bool {
        self.skip_verify || self.authorities.is_some() || self.client.is_some()
    }
}

/// The content of a file with certificates.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PemFile {
    /// The file.
    pub path: PathBuf,
    /// PEM (RFC 7468), with at least one certificate.
    pub text: String,
}

/// A client certificate with its key.
#[derive(Clone, Debug)]
pub struct ClientCertificate {
    /// The certificate, followed by its intermediates.
    pub certificates: PemFile,
    /// The key's file.
    pub key_path: PathBuf,
    /// That file's content: PEM, with an unencrypted key.
    pub key: SecretString,
}

impl PartialEq for ClientCertificate {
    fn eq(&self, other: &Self) -> bool {
        let Self { certificates, key_path, key } = self;
        (certificates, key_path, key.expose_secret())
            == (&other.certificates, &other.key_path, other.key.expose_secret())
    }
}

impl Eq for ClientCertificate {}
