//! Which TLS failure is behind a request's error.

use std::{error::Error, io};

use rustls::{AlertDescription, InvalidMessage};

/// A TLS failure that needs a change of the configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::registry) enum TlsFailure {
    /// The server's certificate is invalid or of an unknown authority.
    UntrustedCertificate,
    /// The server does not speak TLS.
    NotTls,
    /// The server wants a client certificate, or another one.
    ClientCertificateRequired,
}

impl TlsFailure {
    pub(in crate::registry) fn of(error: &reqwest::Error) -> Option<Self> {
        let error = rustls_error(error)?;
        match error {
            rustls::Error::InvalidCertificate(_) => Some(Self::UntrustedCertificate),
            rustls::Error::InvalidMessage(InvalidMessage::InvalidContentType) => Some(Self::NotTls),
            // The alerts of RFC 8446, section 6.2, about a client certificate. With TLS 1.3 they arrive after the client
            // considers the connection established.
            rustls::Error::AlertReceived(
                AlertDescription::CertificateRequired
                | AlertDescription::BadCertificate
                | AlertDescription::UnsupportedCertificate
                | AlertDescription::UnknownCA
                | AlertDescription::CertificateUnknown,
            ) => Some(Self::ClientCertificateRequired),
            _ => None,
        }
    }
}

/// An `io::Error` that wraps another error has that one's source, so the wrapped one is reached by `get_ref` alone.
fn rustls_error<'e>(error: &'e (dyn Error + 'static)) -> Option<&'e rustls::Error> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(found) = error.downcast_ref::<rustls::Error>() {
            return Some(found);
        }
        let wrapped = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        next = match wrapped {
            Some(wrapped) => Some(wrapped as &(dyn Error + 'static)),
            None => error.source(),
        };
    }
    None
}
