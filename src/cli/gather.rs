//! The image uses of the cluster as it is now, or of manifest files.

use std::{collections::BTreeSet, path::PathBuf};

use tokio::task::spawn_blocking;
use tracing::warn;

use crate::{config::Config, model::ImageUse, workload};

use super::{CommandError, assemble};

/// Of the files where there are any, else of the cluster.
pub async fn uses(config: &Config, files: &[PathBuf]) -> Result<Vec<ImageUse>, CommandError> {
    if files.is_empty() {
        let client = workload::client(config.process.kubeconfig.as_deref()).await?;
        return Ok(workload::list(&client, &assemble::watch_settings(config)).await?);
    }
    // Standard input may be waited for.
    let files = files.to_vec();
    let counted = config.watch.resources.clone();
    let read = spawn_blocking(move || workload::read_manifests(&files, &counted)).await;
    let manifests = read.map_err(|source| CommandError::Broken { what: "reading the manifests", source })??;
    for passed_over in &manifests.passed_over {
        warn!("{passed_over}");
    }
    if !config.policy.plugins.is_empty() {
        tell_missing_labels(&manifests.uses);
    }
    Ok(manifests.uses)
}

/// A plugin that looks at the labels of namespaces would decide otherwise than in the cluster. There each namespace has
/// one label at least, its name.
fn tell_missing_labels(uses: &[ImageUse]) {
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
            "the files have no labels of namespaces, so plugins see none; add the Namespace objects, as `kubectl get \
             namespaces -o yaml` writes them"
        );
    }
}
