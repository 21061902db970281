//! How single registries are reached.

use std::path::PathBuf;

use secrecy::{ExposeSecret as _, SecretString};

/// What holds for one registry, or for all whose names fit.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RegistryAccess {
    /// `host[:port]` in any case, or a shell glob: `*`, `?`, `[a-c]`, `[^a-c]`.
    pub registry: String,
    /// Plain HTTP is spoken, and nothing else tried.
    pub plain_http: bool,
    /// Certificates are not checked.
    pub skip_verify: bool,
    /// Who may vouch for it besides those whom the system trusts.
    pub authorities: Option<PemFile>,
    /// What it is shown when it asks who is there.
    pub client: Option<ClientCertificate>,
    /// The most requests to it at once; none for as many as to any other.
    pub connections: Option<usize>,
}

impl RegistryAccess {
    /// Whether something is said of TLS, so that nothing else is meant.
    pub fn wants_tls(&self) -> bool {
        self.skip_verify || self.authorities.is_some() || self.client.is_some()
    }
}

/// Certificates, as a file had them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PemFile {
    /// Which file.
    pub path: PathBuf,
    /// Its text: PEM (RFC 7468), at least one certificate.
    pub text: String,
}

/// A certificate of our own.
#[derive(Clone, Debug)]
pub struct ClientCertificate {
    /// The certificate, and those that lead from it to its authority.
    pub certificates: PemFile,
    /// The file of its key.
    pub key_path: PathBuf,
    /// That file's text: PEM, with a key that is not encrypted.
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
