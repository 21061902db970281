//! Reports the AWS identity that writes to Amazon ECR at the start, so that a wrong role is noticed at once.

use std::{error::Error, io::Write};

use tracing::{info, warn};

use crate::{
    model::{error_chain, printable},
    registry::{Aws, AwsError, CallerIdentity},
};

/// Not fatal: a private network may have access to ECR but not to STS.
const UNKNOWN: &str = "cannot determine the AWS identity";

pub async fn log(identities: Vec<(Aws, String)>) {
    for caller in callers(identities).await {
        match caller {
            Ok(caller) => info!(account = caller.account, arn = caller.arn, "AWS identity"),
            Err(error) => warn!(error = &error as &(dyn Error + 'static), "{UNKNOWN}"),
        }
    }
}

/// Prints each identity to standard error.
pub async fn print(identities: Vec<(Aws, String)>) {
    for caller in callers(identities).await {
        let line = match caller {
            Ok(caller) => format!("AWS identity: {} in account {}", caller.arn, caller.account),
            Err(error) => format!("{UNKNOWN}: {}", error_chain(&error)),
        };
        // A closed standard error is not a failure.
        let _ = writeln!(std::io::stderr(), "{}", printable(&line));
    }
}

async fn callers(identities: Vec<(Aws, String)>) -> Vec<Result<CallerIdentity, AwsError>> {
    let callers = identities.iter().map(|(aws, region)| aws.caller_identity(region));
    futures::future::join_all(callers).await
}
