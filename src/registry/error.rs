//! What can go wrong with a registry. Here because oci-client 0.18 tells either the status or the registry's own words,
//! swallows what a token service says, and shows URLs with the signatures in their queries.

use std::{fmt, sync::Arc, time::Duration};

use http::{StatusCode, header::WWW_AUTHENTICATE};
use oci_client::errors::OciEnvelope;

use super::{
    ecr::AwsError, http::addresses::OffLimits, http::retry::retry_after, http::transfer_rate::TooSlow,
    limits::pace::wait_told,
};
use crate::model::{self, Digest, Retry};

/// How much of what a registry says of an error is told, in characters.
const LONGEST_DETAIL: usize = 300;

/// A registry did not do what it was asked for. Shown as one line: the operation, where, what happened, what to do.
#[derive(Clone, Debug)]
pub struct Error {
    operation: String,
    fault: Arc<Fault>,
}

impl Error {
    /// `operation` says what was tried and where: `reading the manifest of quay.io/a:1`.
    pub(super) fn new(operation: String, fault: impl Into<Arc<Fault>>) -> Self {
        Self { operation, fault: fault.into() }
    }

    /// Whether another try can help.
    pub fn retry(&self) -> Retry {
        self.fault.retry()
    }

    /// Whether the registry says no to what was sent, as it does to a manifest that names what it does not have: 400
    /// with `MANIFEST_BLOB_UNKNOWN` by the distribution specification, 404 by some.
    pub fn is_rejection(&self) -> bool {
        let refused = self.has_status(&[StatusCode::BAD_REQUEST, StatusCode::NOT_FOUND]) && !self.is_immutable_tag();
        refused || matches!(&*self.fault, Fault::Gone(_))
    }

    /// Whether the registry does not have what it was asked for.
    pub fn is_not_found(&self) -> bool {
        self.has_status(&[StatusCode::NOT_FOUND])
    }

    /// Whether what came has another digest than it should have.
    pub fn is_wrong_content(&self) -> bool {
        matches!(&*self.fault, Fault::Digest { .. })
    }

    /// Whether a tag that is there must not be moved: Amazon ECR says so with 400, Harbor with 412.
    pub fn is_immutable_tag(&self) -> bool {
        let refused = [StatusCode::BAD_REQUEST, StatusCode::CONFLICT, StatusCode::PRECONDITION_FAILED];
        matches!(&*self.fault, Fault::Status { status, detail, .. }
            if refused.contains(status) && detail.to_ascii_lowercase().contains("immutable"))
    }

    /// Whether the registry says that we ask too often.
    pub fn is_throttling(&self) -> bool {
        self.has_status(&[StatusCode::TOO_MANY_REQUESTS])
    }

    /// Whether the registry broke down over what it was asked for, and has not said for how long.
    pub fn is_breakdown(&self) -> bool {
        matches!(&*self.fault, Fault::Status { status, retry: Retry::Soon, .. } if status.is_server_error())
    }

    /// Whether there is no such repository.
    pub(super) fn is_name_unknown(&self) -> bool {
        matches!(&*self.fault, Fault::Status { status: StatusCode::NOT_FOUND, detail, .. }
            if detail.contains("NAME_UNKNOWN"))
    }

    /// Whether this can't be done there at all.
    pub(super) fn is_not_allowed(&self) -> bool {
        self.has_status(&[StatusCode::METHOD_NOT_ALLOWED])
    }

    /// The same operation, and what its failure really means.
    pub(super) fn because(&self, fault: Fault) -> Self {
        Self { operation: self.operation.clone(), fault: Arc::new(fault) }
    }

    fn has_status(&self, any: &[StatusCode]) -> bool {
        matches!(&*self.fault, Fault::Status { status, .. } if any.contains(status))
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.operation, self.fault)
    }
}

/// The fault is told already, so its cause follows.
impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.fault.source()
    }
}

/// A certificate that is configured can't be used. No key is in it.
#[derive(Debug, thiserror::Error)]
#[error("{files}: the certificate can't be used: {}", root_cause(.source))]
pub struct SetupError {
    files: String,
    source: reqwest::Error,
}

impl SetupError {
    /// `files` had it.
    pub(super) fn file(files: String, source: reqwest::Error) -> Self {
        Self { files, source }
    }
}

/// Which side of an upload broke.
#[derive(Clone, Debug, thiserror::Error)]
pub enum UploadError {
    /// The blob could not be read.
    #[error(transparent)]
    Source(Error),
    /// The blob could not be written.
    #[error(transparent)]
    Target(Error),
}

/// What happened, without the operation and the place.
#[derive(Debug, thiserror::Error)]
pub(super) enum Fault {
    /// There is no connection, or it broke.
    #[error("{}", describe(.0))]
    Network(#[source] reqwest::Error),
    /// A silence that was too long.
    #[error("nothing came within {}s", .0.as_secs_f32())]
    Silence(Duration),
    /// Nothing was taken for too long.
    #[error("nothing could be sent for {}s", .0.as_secs_f32())]
    Stall(Duration),
    /// A body came too slowly.
    #[error("it sends too slowly: {0}")]
    SendsTooSlowly(TooSlow),
    /// A body was taken too slowly.
    #[error("it takes too slowly: {0}")]
    TakesTooSlowly(TooSlow),
    /// Somebody sent us to where he can't send us.
    #[error("{host} is at {why}")]
    OffLimits {
        /// Where to.
        host: String,
        /// Which address, and why not.
        why: OffLimits,
    },
    /// A registry that refuses, each time for another reason.
    #[error(
        "it answered {times} requests in a row with 401, each time with another challenge, the last one {last}: its \
         authentication is not set up as it should be"
    )]
    Challenges {
        /// How many.
        times: u32,
        /// What it asked for at last.
        last: String,
    },
    /// We have asked too often, and were told to come again later.
    #[error("{host} limits requests, and is left alone for {}s", .wait.as_secs())]
    Throttled {
        /// Which host.
        host: String,
        /// For how long.
        wait: Duration,
    },
    /// An answer that says no.
    #[error("{host} answered {status}{detail}{advice}")]
    Status {
        /// Who answered.
        host: String,
        /// What it answered.
        status: StatusCode,
        /// Its own words in parentheses, bounded; may be empty.
        detail: String,
        /// What to do about it; may be empty.
        advice: &'static str,
        /// Whether another try can help.
        retry: Retry,
    },
    /// An answer that says yes, and is not what it should be.
    #[error("{0}")]
    Malformed(String),
    /// Content with another digest than it should have.
    #[error("the content has the digest {found}, not {expected}")]
    Digest {
        /// The digest that was asked for or announced.
        expected: Digest,
        /// The digest of what came.
        found: Digest,
    },
    /// Something that is not done, whoever asks for it.
    #[error("{0}")]
    Refused(String),
    /// What was there has been taken away, and is made again when it is written to.
    #[error("{0}")]
    Gone(String),
    /// Amazon Web Services did not do what has to come before.
    #[error("{0}")]
    Aws(#[source] AwsError),
    /// The token service did not give a token.
    #[error("no token from the token service {service}: {fault}")]
    Token {
        /// Its URL without a query.
        service: String,
        /// What happened there.
        #[source]
        fault: Arc<Self>,
    },
}

impl Fault {
    /// Whether another try can help.
    pub(super) fn retry(&self) -> Retry {
        match self {
            Self::Network(error) if is_certificate_fault(error) || wants_client_certificate(error) => Retry::Later,
            Self::Network(_)
            | Self::Silence(_)
            | Self::Stall(_)
            | Self::SendsTooSlowly(_)
            | Self::TakesTooSlowly(_)
            | Self::Malformed(_)
            | Self::Digest { .. }
            | Self::Gone(_) => Retry::Soon,
            Self::Status { retry, .. } => *retry,
            Self::Throttled { wait, .. } => Retry::After(*wait),
            Self::Aws(error) => error.retry(),
            Self::Refused(_) | Self::OffLimits { .. } | Self::Challenges { .. } => Retry::Later,
            Self::Token { fault, .. } => fault.retry(),
        }
    }

    /// Whether somebody answered, and said no.
    pub(super) fn is_refusal(&self) -> bool {
        match self {
            Self::Status { .. } => true,
            Self::Token { fault, .. } => fault.is_refusal(),
            _ => false,
        }
    }

    /// A refusing answer of which its asker knows better whether another try can help.
    pub(super) fn with_retry(self, retry: Retry) -> Self {
        match self {
            Self::Status { host, status, detail, advice, .. } => Self::Status { host, status, detail, advice, retry },
            other => other,
        }
    }

    /// What a refusing answer means. `with_login` says whether credentials are configured for the host.
    pub(super) fn status(answer: &Answer, with_login: bool) -> Self {
        let status = answer.status;
        let again = matches!(status.as_u16(), 408 | 429 | 500 | 502 | 503 | 504)
            || (status == StatusCode::UNAUTHORIZED && !answer.headers.contains_key(WWW_AUTHENTICATE));
        let retry = match retry_after(&answer.headers, std::time::SystemTime::now()) {
            Some(wait) if again => Retry::After(wait_told(wait)),
            _ if again => Retry::Soon,
            _ => Retry::Later,
        };
        let advice = match status.as_u16() {
            401 if with_login => "; the configured credentials were not accepted: check them",
            401 => {
                "; no credentials are configured for it: set registryCredentials for a source, the login for a target"
            }
            403 => "; check what these credentials may do there, and whether the repository exists",
            404 => "; check that this name and this tag or digest exist there",
            429 => "; it limits requests: with credentials it may allow more",
            _ => "",
        };
        let detail = detail(&answer.body).map(|text| format!(" ({text})")).unwrap_or_default();
        Self::Status { host: answer.host.clone(), status, detail, advice, retry }
    }
}

/// A refusing answer, read as far as it matters.
pub(super) struct Answer {
    /// Who answered: host and port.
    pub host: String,
    /// What it answered.
    pub status: StatusCode,
    /// With these headers.
    pub headers: http::HeaderMap,
    /// The beginning of the body.
    pub body: bytes::Bytes,
}

/// What a body says of an error: codes and messages, or a line of plain text; nothing of an HTML page.
fn detail(body: &[u8]) -> Option<String> {
    let text = match serde_json::from_slice::<OciEnvelope>(body) {
        Ok(envelope) => {
            let errors = envelope.errors.iter().map(|error| {
                let code = serde_json::to_value(&error.code).ok();
                format!("{}: {}", code.as_ref().and_then(|code| code.as_str()).unwrap_or_default(), error.message)
            });
            errors.collect::<Vec<_>>().join("; ")
        }
        Err(_) => String::from_utf8_lossy(body).trim().to_owned(),
    };
    if text.is_empty() || text.starts_with('<') {
        return None;
    }
    Some(one_line(&text))
}

/// Bounded, and without characters that could forge a log line or steer a terminal.
pub(super) fn one_line(text: &str) -> String {
    let start: String = text.chars().take(LONGEST_DETAIL).collect();
    model::one_line(&start).into_owned()
}

/// What lies behind an error: what is before it says little more than that a request failed.
pub(super) fn root_cause(error: &reqwest::Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    one_line(&cause.to_string())
}

fn describe(error: &reqwest::Error) -> String {
    let cause = root_cause(error);
    if is_certificate_fault(error) {
        return format!(
            "its certificate was not accepted ({cause}): add its CA by caFile in `registries`, or by \
             SSL_CERT_FILE"
        );
    }
    if cause.contains("InvalidContentType") {
        let advice = "if it is meant to be reached over plain HTTP, say so by plainHTTP in `registries`";
        return format!("it does not speak TLS: {advice}");
    }
    if wants_client_certificate(error) {
        return format!(
            "it wants another client certificate, or one at all ({cause}): set clientCertFile and clientKeyFile in \
             `registries`"
        );
    }
    match (error.is_connect(), error.is_timeout()) {
        (true, true) => "no connection came about in time: check its address and the way there".to_owned(),
        (true, false) => format!("no connection came about: {cause}"),
        _ => format!("the connection broke: {cause}"),
    }
}

/// rustls is no dependency of this package, so its words have to do.
pub(super) fn is_certificate_fault(error: &reqwest::Error) -> bool {
    error.is_connect() && root_cause(error).contains("invalid peer certificate")
}

/// The alerts of RFC 8446, section 6.2, that a server has for the certificate of a client. With TLS 1.3 they come when
/// the client takes the connection for made.
fn wants_client_certificate(error: &reqwest::Error) -> bool {
    let cause = root_cause(error);
    let alerts = ["CertificateRequired", "BadCertificate", "UnsupportedCertificate", "UnknownCA", "CertificateUnknown"];
    cause.contains("received fatal alert") && alerts.iter().any(|alert| cause.contains(alert))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(status: u16, headers: &[(&'static str, &str)], body: &'static str) -> Answer {
        Answer {
            host: "r.example".to_owned(),
            status: StatusCode::from_u16(status).unwrap(),
            headers: headers.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect(),
            body: body.into(),
        }
    }

    #[test]
    fn an_error_is_one_line_that_says_what_where_and_what_to_do() {
        let body = r#"{"errors":[{"code":"MANIFEST_UNKNOWN","message":"no\nsuch \u001b[31m tag","detail":{}}]}"#;
        let fault = Fault::status(&answer(404, &[], body), false);
        let error = Error::new("reading the manifest of r.example/a:1".to_owned(), fault);
        assert_eq!(
            error.to_string(),
            "reading the manifest of r.example/a:1: r.example answered 404 Not Found (MANIFEST_UNKNOWN: no such \
             \\u{1b}[31m tag); check that this name and this tag or digest exist there"
        );
        assert_eq!(error.retry(), Retry::Later);
    }

    #[test]
    fn what_passes_by_itself_is_told_apart() {
        for (status, headers, retry) in [
            (429, &[("retry-after", "90")][..], Retry::After(Duration::from_secs(90))),
            (503, &[], Retry::Soon),
            (500, &[], Retry::Soon),
            (501, &[("retry-after", "90")], Retry::Later),
            (403, &[], Retry::Later),
            (401, &[], Retry::Soon),
            (401, &[("www-authenticate", "Basic")], Retry::Later),
        ] {
            assert_eq!(Fault::status(&answer(status, headers, ""), false).retry(), retry, "{status} {headers:?}");
        }
    }

    #[test]
    fn bodies_are_bounded_and_pages_left_out() {
        assert_eq!(detail(b"<!DOCTYPE html><p>Sorry"), None);
        assert_eq!(detail(b" \n"), None);
        assert_eq!(detail(b"plain words\n").as_deref(), Some("plain words"));
        assert_eq!(detail(&[b'a'; 70_000]).map(|text| text.len()), Some(LONGEST_DETAIL));
        let unknown = br#"{"errors":[{"code":"OWN_CODE","message":"m"},{"code":"DENIED"}]}"#;
        assert_eq!(detail(unknown).as_deref(), Some("OWN_CODE: m; DENIED: "));
    }

    #[test]
    fn credentials_are_asked_for_where_there_are_none() {
        let without = Fault::status(&answer(401, &[], ""), false).to_string();
        let with = Fault::status(&answer(401, &[], ""), true).to_string();
        assert!(without.contains("registryCredentials") && with.contains("not accepted"), "{without} {with}");
    }
}
