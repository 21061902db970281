//! Whatever kinds count: no image is lost, none counts twice, and what does not count takes nothing in.

use super::*;
use crate::workload::resource::{Namespaces, Read, WatchSettings};

/// Kind and name.
type Id = (&'static str, &'static str);

/// Objects with who made them, and an image of its own for each but the ReplicaSet.
fn families() -> Vec<(&'static str, &'static str, Option<Id>)> {
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

/// As the API server, or a dump of it, has it.
fn manifest(kind: &str, name: &str, owner: Option<(&str, &str)>) -> (Kind, Value) {
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

/// Image and the workload under which it counts, by the words of the documents alone: the outermost of its owners whose
/// kind counts, where the way there leads over ReplicaSets, and over Jobs, for the sake of Pods only.
fn expected(counted: &[WorkloadKind]) -> Vec<String> {
    let families = families();
    let counts = |kind: &str| counted.iter().any(|counted| counted.name() == kind);
    let mut lines = Vec::new();
    for (kind, name, owner) in &families {
        if !counts(kind) {
            continue;
        }
        let (mut root, mut at) = ((*kind, *name), *owner);
        while let Some((kind, name)) = at {
            if counts(kind) {
                root = (kind, name);
            }
            at = families.iter().find(|object| (object.0, object.1) == (kind, name)).unwrap().2;
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

/// What the API server would send to who watches these kinds, in that order.
fn watched(counted: &[WorkloadKind]) -> Vec<String> {
    let settings = WatchSettings { namespaces: Namespaces::All, resources: counted.to_vec(), nodes: false };
    let mut inventory = Inventory::new(counted, 2);
    for part in settings.parts() {
        let Read::Objects { kind, metadata_only } = part.read else { continue };
        for (_, mut value) in families().iter().map(|one| manifest(one.0, one.1, one.2)).filter(|one| one.0 == kind) {
            if metadata_only {
                value.as_object_mut().unwrap().remove("spec");
            }
            apply(&mut inventory, &(kind, value));
        }
    }
    let uses = inventory.changes().into_iter().flat_map(|change| match change {
        Change::Set { uses, .. } => uses,
        Change::Removed(_) | Change::Ready => Vec::new(),
    });
    lines(uses)
}

/// What a dump of all of it says to who counts these kinds.
fn read(counted: &[WorkloadKind]) -> Vec<String> {
    let items: Vec<Value> = families().iter().map(|one| manifest(one.0, one.1, one.2).1).collect();
    let file = tempfile::NamedTempFile::with_suffix(".json").unwrap();
    std::fs::write(file.path(), json!({ "apiVersion": "v1", "kind": "List", "items": items }).to_string()).unwrap();
    lines(crate::workload::read_manifests(&[file.path().to_owned()], counted).unwrap().uses.into_iter())
}

#[test]
fn every_subset_of_kinds_has_each_image_once_in_files_as_in_a_cluster() {
    for bits in 0..1 << ALL.len() {
        let chosen = |index: &usize| bits & (1 << index) != 0;
        let counted: Vec<WorkloadKind> = (0..ALL.len()).filter(chosen).map(|index| ALL[index]).collect();
        let expected = expected(&counted);
        assert_eq!(read(&counted), expected, "files, {counted:?}");
        assert_eq!(watched(&counted), expected, "cluster, {counted:?}");
    }
}
