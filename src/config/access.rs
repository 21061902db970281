//! How single registries are reached: the list `registries`.

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
    reader::{Found, Reader, Section, refuse_twins},
    scalar::{boolean, count},
    target_name::credential_host,
};
use crate::model::{ClientCertificate, PemFile, RegistryAccess};

/// The bundles of whole systems are a fifth of it.
const MOST_BYTES: u64 = 1 << 20;

/// In the file's order.
pub(super) fn registries(reader: &mut Reader<'_>, root: &mut Section<'_>) -> Vec<RegistryAccess> {
    let mut names = Vec::new();
    let mut registries = Vec::new();
    for section in root.sections(reader, "registries") {
        let place = section.place();
        if let Some(entry) = entry(reader, section) {
            names.push((entry.registry.clone(), place));
            registries.push(entry);
        }
    }
    refuse_twins(reader, "registry", names.iter().map(|(name, place)| (name.as_str(), place.clone())));
    registries
}

fn entry(reader: &mut Reader<'_>, mut section: Section<'_>) -> Option<RegistryAccess> {
    let place = section.place();
    let registry = section.scalar(reader, "registry").filter(|found| !found.value.trim().is_empty());
    let mut switch = |key| reader.setting(&mut section, key, None, boolean).is_some_and(|found| found.value);
    let (plain_http, skip_verify) = (switch("plainHTTP"), switch("skipVerify"));
    let mut file = |key| reader.setting(&mut section, key, None, |text| Ok(PathBuf::from(text.trim())));
    let [ca, certificate, key] = ["caFile", "clientCertFile", "clientKeyFile"].map(&mut file);
    let connections = reader.setting(&mut section, "connections", None, count).map(|found| found.value);
    section.finish(reader);

    if registry.is_none() {
        reader.refuse(&place, "this entry names no registry; write `registry: host[:port]`");
    }
    let has_ca = ca.is_some();
    let authorities = ca.and_then(|found| certificates(reader, &found));
    let client = match (certificate, key) {
        (Some(certificate), Some(key)) => client_certificate(reader, &certificate, &key),
        (None, None) => None,
        (Some(half), None) => {
            reader.refuse(&half.place, "a client certificate without its key: set clientKeyFile as well");
            None
        }
        (None, Some(half)) => {
            reader.refuse(&half.place, "a key without its certificate: set clientCertFile as well");
            None
        }
    };
    if has_ca && skip_verify {
        reader.refuse(&place, "caFile says who may vouch for it, and skipVerify that nobody need: keep one of the two");
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
        reader.refuse(&place, "plainHTTP has no certificates, so that its other keys have no meaning: remove them");
    }
    Some(entry)
}

fn certificates(reader: &mut Reader<'_>, file: &Found<PathBuf>) -> Option<PemFile> {
    let path = &file.value;
    let text = read(reader, file)?;
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(text.as_bytes()).collect();
    let wrong = match found {
        Ok(found) if !found.is_empty() => return Some(PemFile { path: path.clone(), text }),
        Ok(_) => "has no certificate in it; PEM is wanted, which begins with -----BEGIN CERTIFICATE-----",
        Err(_) => "is no PEM: it is damaged",
    };
    reader.refuse(&file.place, format!("{} {wrong}", path.display()));
    None
}

fn client_certificate(
    reader: &mut Reader<'_>,
    certificate: &Found<PathBuf>,
    key: &Found<PathBuf>,
) -> Option<ClientCertificate> {
    let certificates = certificates(reader, certificate);
    let text = read(reader, key).map(SecretString::from)?;
    if let Err(error) = PrivateKeyDer::from_pem_slice(text.expose_secret().as_bytes()) {
        let wrong = match error {
            pem::Error::NoItemsFound => "has no private key in it that can be used; PEM without a passphrase is wanted",
            _ => "is no PEM: it is damaged",
        };
        reader.refuse(&key.place, format!("{} {wrong}", key.value.display()));
        return None;
    }
    Some(ClientCertificate { certificates: certificates?, key_path: key.value.clone(), key: text })
}

fn read(reader: &mut Reader<'_>, file: &Found<PathBuf>) -> Option<String> {
    reader.looks_at(&file.value);
    match text_of(&file.value) {
        Ok(text) => Some(text),
        Err(error) => {
            reader.refuse(&file.place, format!("{} can't be read: {error}", file.value.display()));
            None
        }
    }
}

/// Opened only where it is a file: a pipe would be waited for.
fn text_of(path: &Path) -> io::Result<String> {
    if !fs::metadata(path)?.is_file() {
        return Err(io::Error::other("it is not a file"));
    }
    let mut bytes = Vec::new();
    File::open(path)?.take(MOST_BYTES + 1).read_to_end(&mut bytes)?;
    if u64::try_from(bytes.len()).is_ok_and(|length| length > MOST_BYTES) {
        return Err(io::Error::other("it is larger than 1 MiB"));
    }
    // Names between the certificates may be in any encoding; they have no meaning.
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}
