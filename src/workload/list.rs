//! The cluster's image uses at one moment.

use kube::Client;

use super::{
    inventory::{Change, Inventory},
    object::Object,
    resource::{ListError, Read, WatchSettings},
};
use crate::model::ImageUse;

/// Lists all that `settings` ask for once, and folds it as watching does. The uses are ordered by kind, namespace and
/// name of their workloads. Namespaces that may not be read have no labels, and nodes no platforms; anything else that may
/// not is an error.
pub async fn list(client: &Client, settings: &WatchSettings) -> Result<Vec<ImageUse>, ListError> {
    let mut inventory = Inventory::new(&settings.resources, 0);
    if settings.nodes {
        inventory.expect_nodes();
    }
    for part in settings.parts() {
        match (part.read, part.list(client, &mut |object| take(&mut inventory, part.read, &object)).await) {
            (_, Ok(())) => {}
            (Read::Namespaces, Err(error)) if error.is_forbidden() => {
                tracing::info!(%error, "policies will see no namespace labels");
            }
            (Read::Nodes, Err(error)) if error.is_forbidden() => {
                tracing::warn!(%error, "all platforms are copied");
            }
            (_, Err(error)) => return Err(error),
        }
    }
    let uses = inventory.changes().into_iter().flat_map(|change| match change {
        Change::Set { uses, .. } => uses,
        Change::Removed(_) | Change::Ready => Vec::new(),
    });
    Ok(uses.collect())
}

fn take(inventory: &mut Inventory, read: Read, object: &Object<()>) {
    match read {
        Read::Objects { kind, .. } => {
            if let Some(key) = inventory.key(kind, object) {
                inventory.apply(key, object);
            }
        }
        Read::Namespaces => {
            if let Some(name) = object.metadata.name.as_deref() {
                let labels = object.metadata.labels.clone().unwrap_or_default();
                inventory.namespace(name, Some(&labels));
            }
        }
        Read::Nodes => {
            if let Some(name) = object.metadata.name.as_deref() {
                inventory.node(name, Some(&object.metadata.labels.clone().unwrap_or_default()));
            }
        }
    }
}
