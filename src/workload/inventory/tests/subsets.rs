//! For every subset of watched kinds, each image is reported exactly once.

use super::*;
use crate::workload::resource::{Namespaces, ResourceKind, WatchSettings};

/// Kind and name.
type Id = (&'static str, &'static str);

/// Objects with their owners; each except ReplicaSets has its own image.
fn objects() -> Vec<(&'static str, &'static str, Option<Id>)> {
    vec![
        ("Deployment", "web", None),
        ("ReplicaSet", "web-1", Some(("Deployment", "web"))),
        ("Pod", "web-1-a", Some(("ReplicaSet", "web-1"))),
        ("StatefulSet", "db", None),
        ("Pod", "db-0", Some(("StatefulSet", "db"))),
        ("DaemonSet", "log", None),
        ("Pod", "log-a", Some(("DaemonSet", "log"))),
        ("CronJob", "nightly", None),
        ("Job", "nightly-1", Some(("CronJob", "nightly"))),
        ("Pod", "nightly-1-a", Some(("Job", "nightly-1"))),
        ("Job", "once", None),
        ("Pod", "once-a", Some(("Job", "once"))),
        ("ReplicaSet", "alone", None),
        ("Pod", "alone-a", Some(("ReplicaSet", "alone"))),
        ("Pod", "bare", None),
    ]
}

fn api_version(kind: &str) -> &'static str {
    match kind {
        "Pod" => "v1",
        "Job" | "CronJob" => "batch/v1",
        _ => "apps/v1",
    }
}

/// The object at the API server or in a dump.
fn manifest(kind: &str, name: &str, owner: Option<(&str, &str)>) -> (ObjectKind, Value) {
    let image = format!("{name}:1");
    let containers = [("main", image.as_str())];
    let body = match kind {
        "Pod" => json!({ "spec": { "containers": list(&containers) } }),
        "CronJob" => json!({ "spec": { "jobTemplate": template(&containers) } }),
        _ => template(&containers),
    };
    let owner = owner.map(|(kind, name)| format!("{} {kind} {name}", api_version(kind))).unwrap_or_default();
    let (key, mut value) = object(kind, name, &owner, body);
    value["apiVersion"] = api_version(kind).into();
    value["kind"] = kind.into();
    (key, value)
}

/// Each image with the workload that it is reported for, as documented: the outermost owner of a watched kind, found through
/// ReplicaSets and Jobs.
fn expected(watched: &[WorkloadKind]) -> Vec<String> {
    let objects = objects();
    let is_watched = |kind: &str| watched.iter().any(|watched| watched.name() == kind);
    let mut lines = Vec::new();
    for (kind, name, owner) in &objects {
        if !is_watched(kind) {
            continue;
        }
        let (mut root, mut next) = ((*kind, *name), *owner);
        while let Some((kind, name)) = next {
            if is_watched(kind) {
                root = (kind, name);
            }
            next = objects.iter().find(|object| (object.0, object.1) == (kind, name)).unwrap().2;
        }
        lines.push(format!("{name}:1 by {} {}", root.0, root.1));
    }
    lines.sort();
    lines
}

fn lines(uses: impl Iterator<Item = ImageUse>) -> Vec<String> {
    let line = |one: ImageUse| format!("{} by {} {}", one.image, one.workload.id.kind, one.workload.id.name);
    let mut lines: Vec<String> = uses.map(line).collect();
    lines.sort();
    lines
}

/// The result for the events of these watched kinds.
fn from_cluster(watched: &[WorkloadKind]) -> Vec<String> {
    let settings = WatchSettings {
        namespaces: Namespaces::All,
        resources: watched.to_vec(),
        nodes: false,
        pull_secrets: PullSecretScope::Off,
    };
    let mut inventory = Inventory::new(watched, 2);
    for scope in settings.scopes() {
        let ResourceKind::Objects { kind, metadata_only } = scope.resource else { continue };
        for (_, mut value) in objects().iter().map(|one| manifest(one.0, one.1, one.2)).filter(|one| one.0 == kind) {
            if metadata_only {
                value.as_object_mut().unwrap().remove("spec");
            }
            apply(&mut inventory, &(kind, value));
        }
    }
    let uses = inventory.changes().into_iter().flat_map(|change| match change {
        Change::Set { uses, .. } => uses,
        Change::Removed(_) | Change::InventoryComplete => Vec::new(),
    });
    lines(uses)
}

/// The result for a dump of all objects, with these watched kinds.
fn from_files(watched: &[WorkloadKind]) -> Vec<String> {
    let items: Vec<Value> = objects().iter().map(|one| manifest(one.0, one.1, one.2).1).collect();
    let file = tempfile::NamedTempFile::with_suffix(".json").unwrap();
    std::fs::write(file.path(), json!({ "apiVersion": "v1", "kind": "List", "items": items }).to_string()).unwrap();
    lines(crate::workload::read_manifests(&[file.path().to_owned()], watched).unwrap().uses.into_iter())
}

#[test]
fn every_subset_of_kinds_reports_each_image_once() {
    for bits in 0..1 << ALL.len() {
        let chosen = |index: &usize| bits & (1 << index) != 0;
        let watched: Vec<WorkloadKind> = (0..ALL.len()).filter(chosen).map(|index| ALL[index]).collect();
        let expected = expected(&watched);
        assert_eq!(from_files(&watched), expected, "files, {watched:?}");
        assert_eq!(from_cluster(&watched), expected, "cluster, {watched:?}");
    }
}
