//! The list `registries`: TLS, plain HTTP and connections of single registries.

use std::{
    fs::{self, File},
    io::{self, Read as _},
    path::{Path, PathBuf},
};

use rustls_pki_types::{
    CertificateDer, PrivateKeyDer,
    pem::{self, PemObject as _},
};
use secrecy::{ExposeSecret as _, SecretString};

use super::{
    reader::{Reader, Section, Spanned, reject_duplicates},
    registry_name::credential_host,
    value::{boolean, count},
};
use crate::model::{ClientCertificate, PemFile, RegistryAccess};

/// The CA bundles of whole systems have a fifth of it.
const MAX_BYTES: u64 = 1 << 20;

/// The entries in order.
pub(super) fn registries(reader: &mut Reader<'_>, root: &mut Section<'_>) -> Vec<RegistryAccess> {
    let mut names = Vec::new();
    let mut registries = Vec::new();
    for section in root.sections(reader, "registries") {
        let location = section.location();
        if let Some(entry) = entry(reader, section) {
            names.push((entry.registry.clone(), location));
            registries.push(entry);
        }
    }
    reject_duplicates(reader, "registry", names.iter().map(|(name, location)| (name.as_str(), location.clone())));
    registries
}

fn entry(reader: &mut Reader<'_>, mut section: Section<'_>) -> Option<RegistryAccess> {
    let location = section.location();
    let registry = section.scalar(reader, "registry").filter(|found| !found.value.trim().is_empty());
    let mut switch = |key| reader.setting(&mut section, key, None, boolean).is_some_and(|found| found.value);
    let (plain_http, skip_verify) = (switch("plainHTTP"), switch("skipVerify"));
    let mut file = |key| reader.setting(&mut section, key, None, |text| Ok(PathBuf::from(text.trim())));
    let [ca, certificate, key] = ["caFile", "clientCertFile", "clientKeyFile"].map(&mut file);
    let connections = reader.setting(&mut section, "connections", None, count).map(|found| found.value);
    section.finish(reader);

    if registry.is_none() {
        reader.reject(&location, "this entry has no registry; write `registry: host[:port]`");
    }
    let has_ca = ca.is_some();
    let authorities = ca.and_then(|found| certificates(reader, &found));
    let client = match (certificate, key) {
        (Some(certificate), Some(key)) => client_certificate(reader, &certificate, &key),
        (None, None) => None,
        (Some(certificate), None) => {
            reader.reject(&certificate.location, "client certificate without its key: set clientKeyFile as well");
            None
        }
        (None, Some(key)) => {
            reader.reject(&key.location, "key without its client certificate: set clientCertFile as well");
            None
        }
    };
    if has_ca && skip_verify {
        reader.reject(&location, "caFile and skipVerify exclude each other; keep one of the two");
    }
    let entry = RegistryAccess {
        registry: registry.and_then(|found| credential_host(reader, &found))?,
        plain_http,
        skip_verify,
        authorities,
        client,
        connections,
    };
    if plain_http && (has_ca || entry.wants_tls()) {
        reader.reject(&location, "plainHTTP uses no certificates; remove the TLS keys");
    }
    Some(entry)
}

fn certificates(reader: &mut Reader<'_>, file: &Spanned<PathBuf>) -> Option<PemFile> {
    let path = &file.value;
    let text = read(reader, file)?;
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(text.as_bytes()).collect();
    let problem = match found {
        Ok(found) if !found.is_empty() => return Some(PemFile { path: path.clone(), text }),
        Ok(_) => "has no certificate; expected PEM, which begins with -----BEGIN CERTIFICATE-----",
        Err(_) => "is not valid PEM",
    };
    reader.reject(&file.location, format!("{} {problem}", path.display()));
    None
}

fn client_certificate(
    reader: &mut Reader<'_>,
    certificate: &Spanned<PathBuf>,
    key: &Spanned<PathBuf>,
) -> Option<ClientCertificate> {
    let certificates = certificates(reader, certificate);
    let text = read(reader, key).map(SecretString::from)?;
    if let Err(error) = PrivateKeyDer::from_pem_slice(text.expose_secret().as_bytes()) {
        let problem = match error {
            pem::Error::NoItemsFound => "has no usable private key; expected PEM without a passphrase",
            _ => "is not valid PEM",
        };
        reader.reject(&key.location, format!("{} {problem}", key.value.display()));
        return None;
    }
    Some(ClientCertificate { certificates: certificates?, key_path: key.value.clone(), key: text })
}

fn read(reader: &mut Reader<'_>, file: &Spanned<PathBuf>) -> Option<String> {
    reader.track_file(&file.value);
    match read_text(&file.value) {
        Ok(text) => Some(text),
        Err(error) => {
            reader.reject(&file.location, format!("{} can't be read: {error}", file.value.display()));
            None
        }
    }
}

/// Reads regular files only: opening a FIFO would block.
fn read_text(path: &Path) -> io::Result<String> {
    if !fs::metadata(path)?.is_file() {
        return Err(io::Error::other("not a regular file"));
    }
    let mut bytes = Vec::new();
    File::open(path)?.take(MAX_BYTES + 1).read_to_end(&mut bytes)?;
    if u64::try_from(bytes.len()).is_ok_and(|length| length > MAX_BYTES) {
        return Err(io::Error::other("larger than 1 MiB"));
    }
    // Comments between the certificates may have any encoding.
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}
