//! Whether the API server answers, and as whom it knows this program.

use std::time::Duration;

use k8s_openapi::api::authentication::v1::SelfSubjectReview;
use kube::{Api, Client, api::PostParams};
use tokio::time::timeout;

use super::{api::status, client::describe};

/// An API server that answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Server {
    /// Such as `v1.37.0`; none if this identity may not ask.
    pub version: Option<String>,
    /// Such as `system:serviceaccount:k8s-copycat:k8s-copycat-manager`; none if the API server does not tell.
    pub user: Option<String>,
}

/// The API server does not answer, or not to this identity.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// It rejects the credentials.
    #[error("the API server does not accept the credentials: {}", describe(.0))]
    Credentials(Box<kube::Error>),
    /// It can't be reached.
    #[error("the API server can't be reached: {}", describe(.0))]
    Unreachable(Box<kube::Error>),
    /// It accepts connections, and nothing more.
    #[error("the API server did not answer within {} s", .0.as_secs())]
    Deadline(Duration),
}

/// Asks the API server for its version and for the user of these credentials, within `deadline`.
///
/// # Errors
/// When it does not answer, or does not accept the credentials.
pub async fn server(client: &Client, deadline: Duration) -> Result<Server, ServerError> {
    let ask = async {
        let reviews: Api<SelfSubjectReview> = Api::all(client.clone());
        let user = match reviews.create(&PostParams::default(), &SelfSubjectReview::default()).await {
            Ok(review) => review.status.and_then(|status| status.user_info).and_then(|user| user.username),
            Err(error) if status(&error) == Some(401) => return Err(ServerError::Credentials(Box::new(error))),
            // It answers, but not this question: it is old, or denies it.
            Err(error) if status(&error).is_some() => None,
            Err(error) => return Err(ServerError::Unreachable(Box::new(error))),
        };
        let version = client.apiserver_version().await.ok().map(|version| version.git_version);
        Ok(Server { version, user })
    };
    timeout(deadline, ask).await.unwrap_or(Err(ServerError::Deadline(deadline)))
}
