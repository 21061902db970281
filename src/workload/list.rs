//! The cluster's image uses at one moment.

use kube::Client;

use super::{
    api::{self, ListError},
    inventory::{Change, Inventory},
    object::Object,
    resource::{ResourceKind, WatchSettings},
};
use crate::model::ImageUse;

/// Lists everything in `settings` once, and counts it under its owners as watching does. The image uses are ordered by
/// kind, namespace and name of their workloads. If namespaces or nodes are forbidden, their labels or platforms are
/// missing; anything else that is forbidden is an error.
pub async fn list(client: &Client, settings: &WatchSettings) -> Result<Vec<ImageUse>, ListError> {
    let mut inventory = Inventory::new(&settings.resources, 0);
    if settings.nodes {
        inventory.track_nodes();
    }
    inventory.set_pull_secrets(settings.pull_secrets.clone());
    for scope in settings.scopes() {
        let resource = scope.resource;
        let listed = api::list(&scope, client, &mut |object| apply(&mut inventory, resource, &object)).await;
        match (resource, listed) {
            (_, Ok(())) => {}
            (ResourceKind::Namespaces, Err(error)) if error.is_forbidden() => {
                tracing::info!(%error, "plugins will see no namespace labels");
            }
            (ResourceKind::Nodes, Err(error)) if error.is_forbidden() => {
                tracing::warn!(%error, "copying all platforms, because nodes cannot be listed");
            }
            (_, Err(error)) => return Err(error),
        }
    }
    let uses = inventory.changes().into_iter().flat_map(|change| match change {
        Change::Set { uses, .. } => uses,
        Change::Removed(_) | Change::InventoryComplete => Vec::new(),
    });
    Ok(uses.collect())
}

fn apply(inventory: &mut Inventory, resource: ResourceKind, object: &Object) {
    match resource {
        ResourceKind::Objects { kind, .. } => {
            if let Some(key) = inventory.key(kind, object) {
                inventory.apply(key, object);
            }
        }
        ResourceKind::Namespaces => {
            if let Some(name) = object.metadata.name.as_deref() {
                let labels = object.metadata.labels.clone().unwrap_or_default();
                inventory.namespace(name, Some(&labels));
            }
        }
        ResourceKind::Nodes => {
            if let Some(name) = object.metadata.name.as_deref() {
                inventory.node(name, Some(&object.metadata.labels.clone().unwrap_or_default()));
            }
        }
    }
}
