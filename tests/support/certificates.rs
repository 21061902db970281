//! A certificate authority for one test, and what it signs.

use std::{fs, path::Path};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};

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

    /// Writes the certificate and the key of a server on loopback.
    pub fn write_server(&self, certificate: &Path, key: &Path) {
        let names = ["127.0.0.1", "localhost"].map(str::to_owned);
        let pair = KeyPair::generate().unwrap();
        let signed = CertificateParams::new(names).unwrap().signed_by(&pair, &self.0).unwrap();
        fs::write(certificate, signed.pem()).unwrap();
        fs::write(key, pair.serialize_pem()).unwrap();
    }
}
