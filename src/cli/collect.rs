//! Collects image uses from the cluster or from manifest files.

use std::{collections::BTreeSet, path::PathBuf};

use tokio::task::spawn_blocking;
use tracing::warn;

use super::{CommandError, build};
use crate::{
    config::Config,
    model::ImageUse,
    workload::{self, Client},
};

/// The image uses in `files`, or without files in the cluster.
pub async fn image_uses(config: &Config, files: &[PathBuf]) -> Result<Vec<ImageUse>, CommandError> {
    Ok(image_uses_and_client(config, files).await?.0)
}

/// The same, with the client of the cluster if they are its.
pub async fn image_uses_and_client(
    config: &Config,
    files: &[PathBuf],
) -> Result<(Vec<ImageUse>, Option<Client>), CommandError> {
    if files.is_empty() {
        let client = workload::client(config.process.kubeconfig.as_deref()).await?;
        let uses = workload::list(&client, &build::watch_settings(config)).await?;
        return Ok((uses, Some(client)));
    }
    // Reading standard input may block.
    let files = files.to_vec();
    let watched = config.watch.resources.clone();
    let read = spawn_blocking(move || workload::read_manifests(&files, &watched)).await;
    let manifests = read.map_err(|source| CommandError::Panicked { task: "reading the manifests", source })?;
    let manifests = manifests.map_err(CommandError::Manifests)?;
    for ignored in &manifests.ignored {
        warn!("{ignored}");
    }
    if !config.policy.plugins.is_empty() {
        warn_of_missing_labels(&manifests.uses);
    }
    Ok((manifests.uses, None))
}

/// A plugin that reads namespace labels would decide differently in the cluster, where each namespace has at least the label
/// with its name.
fn warn_of_missing_labels(uses: &[ImageUse]) {
    let namespaces: BTreeSet<&str> = uses
        .iter()
        .filter(|image_use| image_use.workload.namespace_labels.is_empty())
        .map(|image_use| image_use.workload.id.namespace.as_str())
        .collect();
    if let Some(first) = namespaces.first() {
        let count = namespaces.len();
        warn!(
            namespace = first,
            count,
            "the files have no labels of namespaces, so plugins see none; add the Namespace objects (`kubectl get \
             namespaces -o yaml`)"
        );
    }
}
