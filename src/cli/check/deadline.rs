//! A silent host costs no more than one deadline.

use std::time::Duration;

use crate::registry::ProbeError;

/// For each question over the network.
pub const DEADLINE: Duration = Duration::from_secs(10);

/// The answer to one question, within the deadline.
pub async fn within_deadline<T>(answer: impl Future<Output = Result<T, ProbeError>>) -> Result<T, ProbeError> {
    let late = || ProbeError {
        problem: format!("no answer within {} s", DEADLINE.as_secs()),
        remedy: "check the address and the network: a firewall may drop packets".to_owned(),
    };
    tokio::time::timeout(DEADLINE, answer).await.unwrap_or_else(|_| Err(late()))
}
