//! How nodes reach the mirror. Without secrets: files name what is to be filled in.

use std::collections::BTreeSet;

/// How nodes reach the mirror, as far as the configuration tells.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MirrorAccess {
    /// Plain HTTP.
    pub plain_http: bool,
    /// Its certificate is not verified.
    pub skip_verify: bool,
    /// Additional authorities, PEM.
    pub authorities: Option<String>,
    /// It wants a client certificate.
    pub wants_client_certificate: bool,
    /// The login that the program itself uses; nodes may need none, or another one.
    pub login: MirrorLogin,
    /// Source registries (`host[:port]`) that are reached by plain HTTP.
    pub plain_sources: BTreeSet<String>,
}

/// How the program logs in at the mirror.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum MirrorLogin {
    /// Not at all.
    #[default]
    None,
    /// With a user name and a password.
    Password,
    /// As Amazon ECR wants it: with tokens that end after 12 hours.
    Ecr,
}

impl MirrorAccess {
    pub(super) fn scheme(&self) -> &'static str {
        if self.plain_http { "http" } else { "https" }
    }

    pub(super) fn source_scheme(&self, registry: &str) -> &'static str {
        if self.plain_sources.contains(registry) { "http" } else { "https" }
    }

    /// The certificates among the configured authorities, and nothing else that the file may have.
    pub(super) fn certificates(&self) -> Option<String> {
        let mut certificates = String::new();
        let mut is_inside = false;
        for line in self.authorities.as_deref()?.lines().map(str::trim) {
            is_inside |= line == "-----BEGIN CERTIFICATE-----";
            if is_inside && line.bytes().all(|byte| byte.is_ascii_graphic() || byte == b' ') {
                certificates.push_str(line);
                certificates.push('\n');
            }
            is_inside &= line != "-----END CERTIFICATE-----";
        }
        (!certificates.is_empty()).then_some(certificates)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_certificates_are_taken_from_a_file_of_authorities() {
        let text =
            "subject=/CN=x\u{7}\r\n-----BEGIN CERTIFICATE-----\r\nMIIB\r\n-----END CERTIFICATE-----\r\nkey: value\n";
        let access = MirrorAccess { authorities: Some(text.to_owned()), ..MirrorAccess::default() };
        let expected = "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n";
        assert_eq!(access.certificates().as_deref(), Some(expected));
        let access = MirrorAccess { authorities: Some("nothing".to_owned()), ..MirrorAccess::default() };
        assert_eq!(access.certificates(), None);
    }
}
