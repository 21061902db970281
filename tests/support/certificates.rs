//! A certificate authority for one test, and what it signs.

use std::{fs, path::Path};

use rcgen::{BasicConstraints, Certificate, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};

/// A certificate authority.
pub struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    /// A new one, trusted by nobody yet.
    pub fn new() -> Self {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, "k8s-copycat tests");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    /// Its certificate.
    pub fn pem(&self) -> String {
        self.0.pem()
    }

    /// Its certificate.
    pub fn der(&self) -> &[u8] {
        self.0.der()
    }

    /// A server's certificate for these names, and its key.
    pub fn sign(&self, names: &[&str]) -> (Certificate, KeyPair) {
        let pair = KeyPair::generate().unwrap();
        let names: Vec<_> = names.iter().map(|name| (*name).to_owned()).collect();
        (CertificateParams::new(names).unwrap().signed_by(&pair, &self.0).unwrap(), pair)
    }

    /// Writes the certificate and the key of a server on loopback.
    pub fn write_server(&self, certificate: &Path, key: &Path) {
        let (signed, pair) = self.sign(&["127.0.0.1", "localhost"]);
        fs::write(certificate, signed.pem()).unwrap();
        fs::write(key, pair.serialize_pem()).unwrap();
    }
}
