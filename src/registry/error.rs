//! Errors of operations at registries.

use std::{fmt, sync::Arc};

use http::StatusCode;
use oci_client::errors::OciErrorCode;

use super::{
    fault::{Fault, RegistryError},
    text::root_cause,
};
use crate::model::Retry;

/// A failed operation at a registry. `Display` is one complete line: the operation, the reference, the cause, and what to
/// do; so there is no `source`.
#[derive(Clone, Debug)]
pub struct Error {
    operation: String,
    fault: Arc<Fault>,
    /// What else there is to say; may be empty.
    note: String,
    /// Another retry than the fault's.
    retry: Option<Retry>,
}

impl Error {
    /// `operation` names what was tried and where: `reading the manifest of quay.io/a:1`.
    pub(super) fn new(operation: String, fault: impl Into<Arc<Fault>>) -> Self {
        Self { operation, fault: fault.into(), note: String::new(), retry: None }
    }

    /// Whether a retry can help.
    pub fn retry(&self) -> Retry {
        self.retry.unwrap_or_else(|| self.fault.retry())
    }

    /// The same error with a note at its end.
    #[must_use]
    pub fn with_note(self, note: &str) -> Self {
        Self { note: format!("{}; {note}", self.note), ..self }
    }

    /// The same error, which a retry may help.
    #[must_use]
    pub fn retried_soon(self) -> Self {
        Self { retry: Some(Retry::Soon), ..self }
    }

    /// Whether the registry, or its token service, did not accept the credentials or their absence (401).
    pub fn is_unauthorized(&self) -> bool {
        self.fault.is_refusal(&[StatusCode::UNAUTHORIZED])
    }

    /// Whether they were not accepted, or not sufficient (403).
    pub fn is_denied(&self) -> bool {
        self.fault.is_refusal(&[StatusCode::UNAUTHORIZED, StatusCode::FORBIDDEN])
    }

    /// Whether a token service did not accept the login, whatever the repository.
    pub fn is_login_rejected(&self) -> bool {
        self.fault.is_login_rejected()
    }

    /// Whether the registry, or its token service, refuses the request as it is (4xx), or limits the account (429).
    pub fn is_refused(&self) -> bool {
        self.fault.is_refused()
    }

    /// Whether the registry rejected the content, as it does a manifest whose blobs it lacks: 400 with
    /// `MANIFEST_BLOB_UNKNOWN` by the distribution specification, 404 at some registries.
    pub fn is_rejection(&self) -> bool {
        let rejected = self.has_status(&[StatusCode::BAD_REQUEST, StatusCode::NOT_FOUND]) && !self.is_immutable_tag();
        rejected || matches!(&*self.fault, Fault::RepositoryDeleted(_))
    }

    /// Whether the registry responded with 404.
    pub fn is_not_found(&self) -> bool {
        self.has_status(&[StatusCode::NOT_FOUND])
    }

    /// Whether content had another digest than expected.
    pub fn is_wrong_content(&self) -> bool {
        matches!(&*self.fault, Fault::DigestMismatch { .. })
    }

    /// Whether an existing tag can't be moved. The distribution specification has no code for this (Amazon ECR responds
    /// with 400 and `TAG_INVALID`, Harbor with 412 and `PRECONDITION`), so only the registry's message tells.
    pub fn is_immutable_tag(&self) -> bool {
        let statuses = [StatusCode::BAD_REQUEST, StatusCode::CONFLICT, StatusCode::PRECONDITION_FAILED];
        let says_immutable = |error: &RegistryError| error.message().to_ascii_lowercase().contains("immutable");
        matches!(&*self.fault, Fault::Status { status, errors, .. }
            if statuses.contains(status) && errors.iter().any(says_immutable))
    }

    /// Whether the registry responded with 429.
    pub fn is_throttling(&self) -> bool {
        self.has_status(&[StatusCode::TOO_MANY_REQUESTS])
    }

    /// Whether the registry failed (5xx) without saying for how long.
    pub fn is_server_error(&self) -> bool {
        matches!(&*self.fault, Fault::Status { status, retry: Retry::Soon, .. } if status.is_server_error())
    }

    /// Whether the repository does not exist.
    pub(super) fn is_name_unknown(&self) -> bool {
        matches!(&*self.fault, Fault::Status { status: StatusCode::NOT_FOUND, errors, .. }
            if errors.iter().any(|error| error.code() == Some(&OciErrorCode::NameUnknown)))
    }

    /// Whether the registry does not support the operation.
    pub(super) fn is_not_allowed(&self) -> bool {
        self.has_status(&[StatusCode::METHOD_NOT_ALLOWED])
    }

    /// The same operation with another fault.
    pub(super) fn with_fault(&self, fault: Fault) -> Self {
        Self { operation: self.operation.clone(), fault: Arc::new(fault), note: self.note.clone(), retry: self.retry }
    }

    fn has_status(&self, any: &[StatusCode]) -> bool {
        matches!(&*self.fault, Fault::Status { status, .. } if any.contains(status))
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}{}", self.operation, self.fault, self.note)
    }
}

impl std::error::Error for Error {}

/// A configured certificate can't be used. Contains no key.
#[derive(Debug, thiserror::Error)]
#[error("{files}: the certificate can't be used: {}", root_cause(.error))]
pub struct CertificateError {
    files: String,
    error: reqwest::Error,
}

impl CertificateError {
    pub(super) fn new(files: String, error: reqwest::Error) -> Self {
        Self { files, error }
    }
}

/// A failed upload, by the side that failed.
#[derive(Clone, Debug, thiserror::Error)]
pub enum UploadError {
    /// The blob could not be read.
    #[error(transparent)]
    Source(Error),
    /// The blob could not be written.
    #[error(transparent)]
    Target(Error),
}
