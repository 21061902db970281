//! Who writes to Amazon ECR, told at the start, so that a wrong role shows at once.

use std::io::Write;

use tracing::{info, warn};

use crate::{
    model::printable,
    registry::{Aws, AwsError, CallerIdentity},
};

/// Not the end, when this is not known: a private network may reach ECR and not this.
const UNKNOWN: &str = "AWS does not say who we are";

/// Asks AWS, and logs what it says.
pub async fn log(identities: Vec<(Aws, String)>) {
    for caller in callers(identities).await {
        match caller {
            Ok(caller) => info!(account = caller.account, arn = caller.arn, "AWS says who we are"),
            Err(error) => warn!(%error, "{UNKNOWN}"),
        }
    }
}

/// The same for people, on standard error.
pub async fn show(identities: Vec<(Aws, String)>) {
    for caller in callers(identities).await {
        let line = match caller {
            Ok(caller) => format!("in AWS this is {} of account {}", caller.arn, caller.account),
            Err(error) => format!("{UNKNOWN}: {error}"),
        };
        // Whoever closed it does not want to know.
        let _ = writeln!(std::io::stderr(), "{}", printable(&line));
    }
}

async fn callers(identities: Vec<(Aws, String)>) -> Vec<Result<CallerIdentity, AwsError>> {
    let asked = identities.iter().map(|(aws, region)| aws.caller_identity(region));
    futures::future::join_all(asked).await
}
