//! Why a running program can't be asked.

use crate::{
    report::status::QueryError,
    workload::{ClientError, RemoteStatusError},
};

/// Why there is no status to show.
#[derive(Debug, thiserror::Error)]
pub enum StatusError {
    /// The command line selects something that does not exist.
    #[error(transparent)]
    Query(#[from] QueryError),
    /// There is no usable cluster configuration.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// The program, or the API server before it, did not answer.
    #[error(transparent)]
    Remote(#[from] RemoteStatusError),
    /// Something else answered.
    #[error(
        "the answer is not the status of k8s-copycat; name its metrics address with --url, or its Service with --service"
    )]
    Answer(#[source] serde_json::Error),
}
