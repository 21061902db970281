//! A certificate authority for tests.

use std::{fs, path::Path};

use rcgen::{BasicConstraints, Certificate, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};

/// A certificate authority with its own key.
pub struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    pub fn new() -> Self {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, "k8s-copycat tests");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    pub fn pem(&self) -> String {
        self.0.pem()
    }

    pub fn der(&self) -> &[u8] {
        self.0.der()
    }

    /// Signs a server certificate for these names; returns it with its key.
    pub fn sign(&self, names: &[&str]) -> (Certificate, KeyPair) {
        let pair = KeyPair::generate().unwrap();
        let names: Vec<_> = names.iter().map(|name| (*name).to_owned()).collect();
        (CertificateParams::new(names).unwrap().signed_by(&pair, &self.0).unwrap(), pair)
    }

    /// Writes certificate and key of a server on loopback.
    pub fn write_server(&self, certificate: &Path, key: &Path) {
        self.write_server_at(&[], certificate, key);
    }

    /// The same for a server that has these addresses as well.
    pub fn write_server_at(&self, addresses: &[&str], certificate: &Path, key: &Path) {
        let (signed, pair) = self.sign(&[&["127.0.0.1", "localhost"], addresses].concat());
        fs::write(certificate, signed.pem()).unwrap();
        fs::write(key, pair.serialize_pem()).unwrap();
    }
}
