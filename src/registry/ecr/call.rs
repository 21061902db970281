//! What comes of a call to AWS, in words that say what to do.

use aws_credential_types::provider::error::CredentialsError;
use aws_sdk_sts::operation::{
    assume_role::AssumeRoleError, assume_role_with_web_identity::AssumeRoleWithWebIdentityError,
};
use aws_smithy_runtime_api::client::{orchestrator::HttpResponse, result::SdkError};
use aws_smithy_types::error::{display::DisplayErrorContext, metadata::ProvideErrorMetadata};

use crate::{model::Retry, registry::error::one_line};

/// AWS did not do what it was asked for. Shown as one line: the operation, what happened, what to do.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{operation}: {problem}")]
pub struct AwsError {
    operation: String,
    problem: String,
    retry: Retry,
}

/// A call as people know it.
pub(super) struct Call<'a> {
    /// What was tried and where: `making the repository a/b in account 123456789012 (eu-central-1)`.
    pub operation: String,
    /// As policies name it: `ecr:CreateRepository`.
    pub action: &'static str,
    /// Where it was made.
    pub region: &'a str,
    /// The role that was to be assumed before, if one was.
    pub role: Option<&'a str>,
}

impl AwsError {
    pub(super) fn new(operation: String, problem: String, retry: Retry) -> Self {
        Self { operation, problem, retry }
    }

    /// Whether another try can help.
    pub fn retry(&self) -> Retry {
        self.retry
    }
}

impl Call<'_> {
    /// What a failure of this call means.
    pub fn failed<E>(self, error: SdkError<E, HttpResponse>) -> AwsError
    where
        E: ProvideErrorMetadata + std::error::Error + 'static,
    {
        let (problem, retry) = match &error {
            SdkError::ServiceError(answer) => {
                self.refused(answer.err().code(), answer.err().message(), answer.raw().status().as_u16())
            }
            SdkError::TimeoutError(_) => (self.unreached("nothing came in time"), Retry::Soon),
            other => match credentials_fault(other) {
                Some(fault) => self.without_credentials(fault),
                None => (self.unreached(&root_cause(other)), Retry::Soon),
            },
        };
        AwsError { operation: self.operation, problem, retry }
    }

    fn refused(&self, code: Option<&str>, message: Option<&str>, status: u16) -> (String, Retry) {
        let code = code.unwrap_or("an error without a name");
        let said = message.map(|message| format!(" ({})", one_line(message))).unwrap_or_default();
        let action = self.action;
        match code {
            "AccessDeniedException" | "AccessDenied" => {
                (format!("AWS denies {action}{said}: allow it in the policy of this identity"), Retry::Later)
            }
            "UnrecognizedClientException"
            | "InvalidClientTokenId"
            | "InvalidSignatureException"
            | "SignatureDoesNotMatch" => (
                format!(
                    "AWS does not accept these credentials in {}{said}: check them, and whether the region is enabled \
                     for the account",
                    self.region
                ),
                Retry::Later,
            ),
            "ExpiredTokenException" | "ExpiredToken" => {
                (format!("the AWS credentials have run out{said}: renew them"), Retry::Later)
            }
            _ if status == 429 || code.contains("Throttl") || code == "TooManyRequestsException" => {
                (format!("AWS limits how often {action} may be called{said}"), Retry::Soon)
            }
            _ if status >= 500 => (format!("AWS answered {status} {code}{said}"), Retry::Soon),
            _ => (format!("AWS answered {code}{said}"), Retry::Later),
        }
    }

    fn unreached(&self, cause: &str) -> String {
        format!(
            "AWS was not reached in the region {}: {}; check the region (AWS_REGION, in the file ecr.region), and the \
             way there",
            self.region,
            one_line(cause)
        )
    }

    fn without_credentials(&self, fault: &CredentialsError) -> (String, Retry) {
        let cause = one_line(&root_cause(fault));
        match (denial(fault), fault) {
            (true, _) => {
                let advice = match self.role {
                    Some(role) => format!(
                        "the role {role} can't be assumed ({cause}): let its trust policy name this identity, and \
                         allow this identity sts:AssumeRole on it"
                    ),
                    None => format!("AWS gives no credentials ({cause}): check the role that this Pod is to have"),
                };
                (advice, Retry::Later)
            }
            (false, CredentialsError::CredentialsNotLoaded(_)) => {
                let advice = "there are no AWS credentials: give the ServiceAccount a role by IRSA or EKS Pod \
                              Identity, or set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY";
                // Where they come from may not answer just now.
                (advice.to_owned(), Retry::Soon)
            }
            (false, CredentialsError::InvalidConfiguration(_)) => {
                (format!("the AWS credentials are not set up rightly ({cause})"), Retry::Later)
            }
            _ => (format!("the AWS credentials can't be had ({cause}): check how this Pod gets its role"), Retry::Soon),
        }
    }
}

/// Whether STS itself says no, rather than that it can't be asked or has a bad moment.
fn denial(fault: &CredentialsError) -> bool {
    let code = chain(fault).find_map(|cause| {
        let assumed = cause.downcast_ref::<AssumeRoleError>().and_then(ProvideErrorMetadata::code);
        assumed.or_else(|| cause.downcast_ref::<AssumeRoleWithWebIdentityError>().and_then(ProvideErrorMetadata::code))
    });
    code.is_some_and(|code| {
        ["AccessDenied", "InvalidIdentityToken", "IDPRejectedClaim", "ExpiredToken", "ValidationError"]
            .iter()
            .any(|denial| code.starts_with(denial))
    })
}

/// Whether there are simply no credentials, as outside of AWS.
pub(super) fn has_no_credentials<E, R>(error: &SdkError<E, R>) -> bool
where
    E: std::error::Error + 'static,
    R: std::fmt::Debug + 'static,
{
    matches!(credentials_fault(error), Some(CredentialsError::CredentialsNotLoaded(_)))
}

fn credentials_fault<'e>(error: &'e (dyn std::error::Error + 'static)) -> Option<&'e CredentialsError> {
    chain(error).find_map(|cause| cause.downcast_ref())
}

/// What lies behind an error; of an answer of AWS its own words.
fn root_cause(error: &(dyn std::error::Error + 'static)) -> String {
    let last = chain(error).last().map(ToString::to_string);
    last.filter(|text| !text.is_empty()).unwrap_or_else(|| DisplayErrorContext(error).to_string())
}

fn chain<'e>(
    error: &'e (dyn std::error::Error + 'static),
) -> impl Iterator<Item = &'e (dyn std::error::Error + 'static)> {
    std::iter::successors(Some(error), |error| error.source())
}
