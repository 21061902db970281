//! The rights to read the pull secrets that are in use.

use std::time::Duration;

use tokio::time::timeout;

use super::{
    finding::{Finding, Group},
    images::UseWithPullSecrets,
    rights::rights,
};
use crate::{
    model::{ImageUse, PullLogin, PullSecrets, Reference},
    workload::{Client, Right, pull_secret_needs},
};

/// To read the ServiceAccounts of all namespaces.
const DEADLINE: Duration = Duration::from_secs(60);
/// How many lists of pull secrets are tried for one image.
const MAX_REFS: usize = 4;

/// One line for each right that is missing, and one for each kind of right that is there.
pub async fn pull_secrets(client: &Client, uses: &[UseWithPullSecrets]) -> Vec<Finding> {
    if uses.is_empty() {
        return vec![Group::PullSecrets.ok("rights", "none are needed: no image that is mirrored has a pull secret")];
    }
    let uses: Vec<ImageUse> = uses.iter().map(|used| used.image_use.clone()).collect();
    let Ok(needs) = timeout(DEADLINE, pull_secret_needs(client, &uses)).await else {
        let found = format!("not known within {} s", DEADLINE.as_secs());
        return vec![Group::PullSecrets.failed("rights", found, "check the API server's load")];
    };
    let needed: Vec<Right> = needs.iter().flat_map(|(namespace, needs)| needs.rights(namespace)).collect();
    rights(client, Group::PullSecrets, needed).await.findings
}

/// The logins for one image, in the order in which they are tried.
pub async fn logins(pull_secrets: &dyn PullSecrets, uses: &[UseWithPullSecrets], image: &Reference) -> Vec<PullLogin> {
    let mut logins = Vec::new();
    let of_image = uses.iter().filter(|used| used.source == *image);
    for refs in of_image.flat_map(|used| &used.image_use.pull_secrets).take(MAX_REFS) {
        logins.extend(pull_secrets.logins(refs, image).await.logins);
    }
    logins
}
