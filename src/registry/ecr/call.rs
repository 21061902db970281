//! Errors of calls to AWS, with advice.

use aws_credential_types::provider::error::CredentialsError;
use aws_sdk_sts::operation::{
    assume_role::AssumeRoleError, assume_role_with_web_identity::AssumeRoleWithWebIdentityError,
};
use aws_smithy_runtime_api::client::{orchestrator::HttpResponse, result::SdkError};
use aws_smithy_types::error::{display::DisplayErrorContext, metadata::ProvideErrorMetadata};

use crate::{model::Retry, registry::text::one_line};

/// A failed call to AWS. `Display` is one line: the operation, the problem, and what to do.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{operation}: {problem}")]
pub struct AwsError {
    operation: String,
    problem: String,
    retry: Retry,
}

/// A call, for error messages.
pub(super) struct Call<'a> {
    /// What was tried and where: `creating the repository a/b in account 123456789012 (eu-central-1)`.
    pub operation: String,
    /// As in IAM policies: `ecr:CreateRepository`.
    pub action: &'static str,
    pub region: &'a str,
    /// The role that is assumed for it, if any.
    pub role: Option<&'a str>,
}

impl AwsError {
    pub(super) fn new(operation: String, problem: String, retry: Retry) -> Self {
        Self { operation, problem, retry }
    }

    /// Whether a retry can help.
    pub fn retry(&self) -> Retry {
        self.retry
    }
}

impl Call<'_> {
    /// The error of a failed call.
    pub fn into_error<E>(self, error: SdkError<E, HttpResponse>) -> AwsError
    where
        E: ProvideErrorMetadata + std::error::Error + 'static,
    {
        let (problem, retry) = match &error {
            SdkError::ServiceError(response) => {
                self.service_error(response.err().code(), response.err().message(), response.raw().status().as_u16())
            }
            SdkError::TimeoutError(_) => (self.unreachable("the call timed out"), Retry::Soon),
            other => match credentials_error(other) {
                Some(error) => self.credentials_error(error),
                None => (self.unreachable(&root_cause(other)), Retry::Soon),
            },
        };
        AwsError { operation: self.operation, problem, retry }
    }

    fn service_error(&self, code: Option<&str>, message: Option<&str>, status: u16) -> (String, Retry) {
        let code = code.unwrap_or("an error without a code");
        let quoted = message.map(|message| format!(" ({})", one_line(message))).unwrap_or_default();
        let action = self.action;
        match code {
            "AccessDeniedException" | "AccessDenied" => {
                (format!("AWS denies {action}{quoted}: allow it in the IAM policy of this identity"), Retry::Later)
            }
            "UnrecognizedClientException"
            | "InvalidClientTokenId"
            | "InvalidSignatureException"
            | "SignatureDoesNotMatch" => (
                format!(
                    "AWS rejects the credentials in {}{quoted}: check them, and whether the region is enabled for the \
                     account",
                    self.region
                ),
                Retry::Later,
            ),
            "ExpiredTokenException" | "ExpiredToken" => {
                (format!("the AWS credentials have expired{quoted}: renew them"), Retry::Later)
            }
            _ if status == 429 || code.contains("Throttl") || code == "TooManyRequestsException" => {
                (format!("AWS limits the rate of {action}{quoted}"), Retry::Soon)
            }
            _ if status >= 500 => (format!("AWS responded with {status} {code}{quoted}"), Retry::Soon),
            _ => (format!("AWS responded with {code}{quoted}"), Retry::Later),
        }
    }

    fn unreachable(&self, cause: &str) -> String {
        format!(
            "can't reach AWS in the region {}: {}; check the region (AWS_REGION, in the file ecr.region) and the network",
            self.region,
            one_line(cause)
        )
    }

    fn credentials_error(&self, error: &CredentialsError) -> (String, Retry) {
        let cause = one_line(&root_cause(error));
        match (is_denied(error), error) {
            (true, _) => {
                let advice = match self.role {
                    Some(role) => format!(
                        "the role {role} can't be assumed ({cause}): add this identity to its trust policy, and allow \
                         this identity sts:AssumeRole on it"
                    ),
                    None => format!("AWS issues no credentials ({cause}): check the role of this Pod"),
                };
                (advice, Retry::Later)
            }
            (false, CredentialsError::CredentialsNotLoaded(_)) => {
                let advice = "no AWS credentials found: give the ServiceAccount a role by IRSA or EKS Pod Identity, or \
                              set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY";
                // Their source may be unavailable for the moment.
                (advice.to_owned(), Retry::Soon)
            }
            (false, CredentialsError::InvalidConfiguration(_)) => {
                (format!("the configuration of the AWS credentials is invalid ({cause})"), Retry::Later)
            }
            _ => (format!("can't load the AWS credentials ({cause}): check how this Pod gets its role"), Retry::Soon),
        }
    }
}

/// Whether STS denied the role, rather than being unreachable or failing.
fn is_denied(error: &CredentialsError) -> bool {
    let code = chain(error).find_map(|cause| {
        let assumed = cause.downcast_ref::<AssumeRoleError>().and_then(ProvideErrorMetadata::code);
        assumed.or_else(|| cause.downcast_ref::<AssumeRoleWithWebIdentityError>().and_then(ProvideErrorMetadata::code))
    });
    code.is_some_and(|code| {
        ["AccessDenied", "InvalidIdentityToken", "IDPRejectedClaim", "ExpiredToken", "ValidationError"]
            .iter()
            .any(|denied| code.starts_with(denied))
    })
}

/// Whether no credentials were found, as outside of AWS.
pub(super) fn has_no_credentials<E, R>(error: &SdkError<E, R>) -> bool
where
    E: std::error::Error + 'static,
    R: std::fmt::Debug + 'static,
{
    matches!(credentials_error(error), Some(CredentialsError::CredentialsNotLoaded(_)))
}

fn credentials_error<'e>(error: &'e (dyn std::error::Error + 'static)) -> Option<&'e CredentialsError> {
    chain(error).find_map(|cause| cause.downcast_ref())
}

/// The message of the innermost source; for a response of AWS its code and message.
fn root_cause(error: &(dyn std::error::Error + 'static)) -> String {
    let last = chain(error).last().map(ToString::to_string);
    last.filter(|text| !text.is_empty()).unwrap_or_else(|| DisplayErrorContext(error).to_string())
}

fn chain<'e>(
    error: &'e (dyn std::error::Error + 'static),
) -> impl Iterator<Item = &'e (dyn std::error::Error + 'static)> {
    std::iter::successors(Some(error), |error| error.source())
}
