//! The causes of errors. Here because oci-client 0.18 reports either the status or the registry's message, and ignores the
//! errors of token services.

use std::{fmt, sync::Arc, time::Duration};

use http::{HeaderMap, StatusCode, header::WWW_AUTHENTICATE};
use oci_client::errors::{OciEnvelope, OciErrorCode};

use super::{
    ecr::AwsError,
    http::{addresses::ForbiddenAddress, headers::retry_after::retry_after, tls::TlsFailure, transfer_rate::TooSlow},
    limits::rate_limiter::retry_delay,
    text::{MAX_QUOTED, one_line, root_cause},
};
use crate::model::{Digest, Retry};

/// The cause of an error, without operation and reference. `Display` includes the causes behind it, so there is no
/// `source`.
#[derive(Debug, thiserror::Error)]
pub(super) enum Fault {
    /// Connecting failed, or the connection broke.
    #[error("{}", joined(describe(.0)))]
    Network(reqwest::Error),
    /// No response, or no further bytes of a body.
    #[error("nothing received for {}s", .0.as_secs_f32())]
    Timeout(Duration),
    /// No bytes of a request were accepted.
    #[error("nothing could be sent for {}s", .0.as_secs_f32())]
    Stalled(Duration),
    #[error("the server sends too slowly: {0}")]
    SlowDownload(TooSlow),
    #[error("the server accepts too slowly: {0}")]
    SlowUpload(TooSlow),
    /// A redirect to an address outside of the allowed scope.
    #[error("{host} has {address}")]
    ForbiddenAddress { host: String, address: ForbiddenAddress },
    #[error(
        "the server responded with 401 and another challenge {attempts} times in a row, the last one {last}: its \
         authentication is misconfigured"
    )]
    TooManyChallenges {
        attempts: u32,
        /// The last `WWW-Authenticate`.
        last: String,
    },
    /// An earlier response requested a pause.
    #[error("{host} limits requests; retry in {}s", .wait.as_secs())]
    RateLimited { host: String, wait: Duration },
    /// An error response.
    #[error("{host} responded with {status}{errors}{advice}")]
    Status {
        /// `host[:port]`
        host: String,
        status: StatusCode,
        errors: RegistryErrors,
        /// What to do; may be empty.
        advice: &'static str,
        retry: Retry,
    },
    /// A successful response with unexpected content; a retry can help.
    #[error("{0}")]
    InvalidResponse(String),
    /// Content with another digest than requested or announced.
    #[error("the content has the digest {found}, not {expected}")]
    DigestMismatch { expected: Digest, found: Digest },
    /// A failure that no retry changes.
    #[error("{0}")]
    Permanent(String),
    /// The repository was deleted, and is created again when it is written to.
    #[error("{0}")]
    RepositoryDeleted(String),
    /// A call to AWS failed that has to come before.
    #[error("{0}")]
    Aws(AwsError),
    /// A refusal, with advice that depends on whose login it was.
    #[error("{}; {advice}", .fault.problem_and_remedy().0)]
    Refused {
        /// [`Fault::Status`] or [`Fault::Token`].
        fault: Box<Self>,
        advice: String,
    },
    #[error("no token from the token service {service}: {fault}")]
    Token {
        /// Its URL without the query.
        service: String,
        fault: Arc<Self>,
    },
}

impl Fault {
    /// Whether a retry can help.
    pub(super) fn retry(&self) -> Retry {
        match self {
            Self::Network(error) => match tls_failure(error) {
                Some(TlsFailure::UntrustedCertificate | TlsFailure::ClientCertificateRequired) => Retry::Later,
                Some(TlsFailure::NotTls) | None => Retry::Soon,
            },
            Self::Timeout(_)
            | Self::Stalled(_)
            | Self::SlowDownload(_)
            | Self::SlowUpload(_)
            | Self::InvalidResponse(_)
            | Self::DigestMismatch { .. }
            | Self::RepositoryDeleted(_) => Retry::Soon,
            Self::Status { retry, .. } => *retry,
            Self::RateLimited { wait, .. } => Retry::After(*wait),
            Self::Aws(error) => error.retry(),
            Self::Permanent(_) | Self::ForbiddenAddress { .. } | Self::TooManyChallenges { .. } => Retry::Later,
            Self::Token { fault, .. } => fault.retry(),
            Self::Refused { fault, .. } => fault.retry(),
        }
    }

    /// The text in two parts: what is wrong, and what to do about it, if that depends on the fault alone.
    pub(super) fn problem_and_remedy(&self) -> (String, Option<String>) {
        match self {
            Self::Network(error) => {
                let (problem, remedy) = describe(error);
                (problem, remedy.map(str::to_owned))
            }
            Self::Status { host, status, errors, advice, .. } => {
                let remedy = Some(advice.trim_start_matches("; ")).filter(|remedy| !remedy.is_empty());
                (format!("{host} responded with {status}{errors}"), remedy.map(str::to_owned))
            }
            Self::Token { service, fault } => {
                let (problem, remedy) = fault.problem_and_remedy();
                (format!("no token from the token service {service}: {problem}"), remedy)
            }
            Self::Refused { fault, advice } => (fault.problem_and_remedy().0, Some(advice.clone())),
            other => (other.to_string(), None),
        }
    }

    /// Whether a server responded with an error.
    pub(super) fn is_error_response(&self) -> bool {
        match self {
            Self::Status { .. } => true,
            Self::Token { fault, .. } => fault.is_error_response(),
            Self::Refused { fault, .. } => fault.is_error_response(),
            _ => false,
        }
    }

    /// Whether the registry, or its token service, responded with one of these.
    pub(super) fn is_refusal(&self, statuses: &[StatusCode]) -> bool {
        match self {
            Self::Status { status, .. } => statuses.contains(status),
            Self::Token { fault, .. } => fault.is_refusal(statuses),
            Self::Refused { fault, .. } => fault.is_refusal(statuses),
            _ => false,
        }
    }

    /// Whether the registry, or its token service, refused the request or limits requests; not so if it only took too long.
    pub(super) fn is_refused(&self) -> bool {
        match self {
            Self::Status { status, .. } => status.is_client_error() && *status != StatusCode::REQUEST_TIMEOUT,
            Self::RateLimited { .. } => true,
            Self::Token { fault, .. } => fault.is_refused(),
            Self::Refused { fault, .. } => fault.is_refused(),
            _ => false,
        }
    }

    /// Whether a token service did not accept the login. A registry's own 401 may be about one repository.
    pub(super) fn is_login_rejected(&self) -> bool {
        match self {
            Self::Token { fault, .. } => fault.is_refusal(&[StatusCode::UNAUTHORIZED]),
            Self::Refused { fault, .. } => fault.is_login_rejected(),
            _ => false,
        }
    }

    /// An error response with another retry.
    pub(super) fn with_retry(self, retry: Retry) -> Self {
        match self {
            Self::Status { host, status, errors, advice, .. } => Self::Status { host, status, errors, advice, retry },
            other => other,
        }
    }

    /// The same, with this advice instead of its own if a server refused with 401 or 403.
    pub(super) fn with_advice_if_refused(self, advice: Option<String>) -> Self {
        match advice.filter(|_| self.is_refusal(&[StatusCode::UNAUTHORIZED, StatusCode::FORBIDDEN])) {
            Some(advice) => Self::Refused { fault: Box::new(self), advice },
            None => self,
        }
    }

    /// Whether a server did not accept a login.
    pub(super) fn is_unauthorized(&self) -> bool {
        match self {
            Self::Status { status, .. } => *status == StatusCode::UNAUTHORIZED,
            Self::Token { fault, .. } => fault.is_unauthorized(),
            Self::Refused { fault, .. } => fault.is_unauthorized(),
            _ => false,
        }
    }

    /// `with_login`: credentials are configured for the host.
    pub(super) fn from_response(response: &ErrorResponse, with_login: bool) -> Self {
        let status = response.status;
        let is_temporary = matches!(status.as_u16(), 408 | 429 | 500 | 502 | 503 | 504)
            || (status == StatusCode::UNAUTHORIZED && !response.headers.contains_key(WWW_AUTHENTICATE));
        let retry = match retry_after(&response.headers, std::time::SystemTime::now()) {
            Some(pause) if is_temporary => Retry::After(retry_delay(pause)),
            _ if is_temporary => Retry::Soon,
            _ => Retry::Later,
        };
        let advice = match status.as_u16() {
            401 if with_login => "; the configured credentials were not accepted: check them",
            401 => {
                "; no credentials are configured for this registry: set registryCredentials or pullSecrets for a source, the login for a target"
            }
            403 => "; check the permissions of these credentials, and whether the repository exists",
            404 => "; check that this repository and this tag or digest exist",
            429 => "; the registry limits requests: credentials may raise the limit",
            _ => "",
        };
        let errors = RegistryErrors::parse(&response.body);
        Self::Status { host: response.host.clone(), status, errors, advice, retry }
    }
}

/// An error response.
pub(super) struct ErrorResponse {
    /// `host[:port]`
    pub host: String,
    pub status: StatusCode,
    pub headers: HeaderMap,
    /// The beginning of the body.
    pub body: bytes::Bytes,
}

/// One error of a response.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct RegistryError {
    /// None for plain text.
    code: Option<OciErrorCode>,
    message: String,
}

/// The errors in a response's body: those of the distribution specification, or a plain text; none for a web page.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct RegistryErrors(Vec<RegistryError>);

impl RegistryErrors {
    pub(super) fn iter(&self) -> impl Iterator<Item = &RegistryError> {
        self.0.iter()
    }

    fn parse(body: &[u8]) -> Self {
        match serde_json::from_slice::<OciEnvelope>(body) {
            Ok(envelope) => {
                let errors = envelope.errors.into_iter();
                Self(errors.map(|error| RegistryError::new(Some(error.code), &error.message)).collect())
            }
            Err(_) => {
                let text = String::from_utf8_lossy(body);
                let text = Some(text.trim()).filter(|text| !text.is_empty() && !text.starts_with('<'));
                Self(text.into_iter().map(|text| RegistryError::new(None, text)).collect())
            }
        }
    }
}

impl RegistryError {
    fn new(code: Option<OciErrorCode>, message: &str) -> Self {
        Self { code, message: message.chars().take(MAX_QUOTED).collect() }
    }

    pub(super) fn code(&self) -> Option<&OciErrorCode> {
        self.code.as_ref()
    }

    pub(super) fn message(&self) -> &str {
        &self.message
    }
}

impl fmt::Display for RegistryError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(code) = &self.code {
            let code = serde_json::to_value(code).ok();
            write!(f, "{}: ", code.as_ref().and_then(|code| code.as_str()).unwrap_or_default())?;
        }
        f.write_str(&self.message)
    }
}

/// One line in parentheses after a space; nothing if there are none.
impl fmt::Display for RegistryErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = self.0.iter().map(RegistryError::to_string).collect::<Vec<_>>().join("; ");
        if text.is_empty() { Ok(()) } else { write!(f, " ({})", one_line(&text)) }
    }
}

/// An untrusted certificate prevents a connection; the other failures may come later.
fn tls_failure(error: &reqwest::Error) -> Option<TlsFailure> {
    TlsFailure::of(error).filter(|failure| *failure != TlsFailure::UntrustedCertificate || error.is_connect())
}

/// What is wrong, and what to do.
fn describe(error: &reqwest::Error) -> (String, Option<&'static str>) {
    let cause = root_cause(error);
    match tls_failure(error) {
        Some(TlsFailure::UntrustedCertificate) => (
            format!("the server's certificate was not accepted ({cause})"),
            Some("add its CA by caFile in `registries`, or by SSL_CERT_FILE"),
        ),
        Some(TlsFailure::NotTls) => {
            ("the server does not use TLS".to_owned(), Some("set plainHTTP in `registries` if plain HTTP is intended"))
        }
        Some(TlsFailure::ClientCertificateRequired) => (
            format!("the server requires a client certificate, or another one ({cause})"),
            Some("set clientCertFile and clientKeyFile in `registries`"),
        ),
        None => match (error.is_connect(), error.is_timeout()) {
            (true, true) => ("connecting timed out".to_owned(), Some("check the address and the network")),
            (true, false) => (format!("can't connect: {cause}"), None),
            _ => (format!("the connection broke: {cause}"), None),
        },
    }
}

fn joined((problem, remedy): (String, Option<&str>)) -> String {
    match remedy {
        Some(remedy) => format!("{problem}: {remedy}"),
        None => problem,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::Error;

    fn response(status: u16, headers: &[(&'static str, &str)], body: &'static str) -> ErrorResponse {
        ErrorResponse {
            host: "r.example".to_owned(),
            status: StatusCode::from_u16(status).unwrap(),
            headers: headers.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect(),
            body: body.into(),
        }
    }

    #[test]
    fn an_error_is_one_line_with_operation_cause_and_advice() {
        let body = r#"{"errors":[{"code":"MANIFEST_UNKNOWN","message":"no\nsuch \u001b[31m tag","detail":{}}]}"#;
        let fault = Fault::from_response(&response(404, &[], body), false);
        let error = Error::new("reading the manifest of r.example/a:1".to_owned(), fault);
        assert_eq!(
            error.to_string(),
            "reading the manifest of r.example/a:1: r.example responded with 404 Not Found (MANIFEST_UNKNOWN: no such \
             \\u{1b}[31m tag); check that this repository and this tag or digest exist"
        );
        assert_eq!(error.retry(), Retry::Later);
    }

    #[test]
    fn classifies_temporary_errors() {
        for (status, headers, retry) in [
            (429, &[("retry-after", "90")][..], Retry::After(Duration::from_secs(90))),
            (503, &[], Retry::Soon),
            (500, &[], Retry::Soon),
            (501, &[("retry-after", "90")], Retry::Later),
            (403, &[], Retry::Later),
            (401, &[], Retry::Soon),
            (401, &[("www-authenticate", "Basic")], Retry::Later),
        ] {
            assert_eq!(
                Fault::from_response(&response(status, headers, ""), false).retry(),
                retry,
                "{status} {headers:?}"
            );
        }
    }

    #[test]
    fn quotes_a_bounded_part_of_the_body_and_no_web_page() {
        let quoted = |body: &[u8]| RegistryErrors::parse(body).to_string();
        assert_eq!(quoted(b"<!DOCTYPE html><p>Sorry"), "");
        assert_eq!(quoted(b" \n"), "");
        assert_eq!(quoted(b"plain words\n"), " (plain words)");
        assert_eq!(quoted(&[b'a'; 70_000]).len(), MAX_QUOTED + " ()".len());
        let unknown = br#"{"errors":[{"code":"OWN_CODE","message":"m"},{"code":"DENIED"}]}"#;
        assert_eq!(quoted(unknown), " (OWN_CODE: m; DENIED: )");
    }

    #[test]
    fn advises_to_set_or_check_credentials() {
        let without = Fault::from_response(&response(401, &[], ""), false).to_string();
        let with = Fault::from_response(&response(401, &[], ""), true).to_string();
        assert!(without.contains("registryCredentials") && with.contains("not accepted"), "{without} {with}");
    }
}
