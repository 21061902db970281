use serde_json::{Value, json};

use super::*;
use crate::model::ContainerKind;

mod cost;
mod missing;
mod nodes;
mod pull_secrets;
mod subsets;
mod volumes;

const ALL: [WorkloadKind; 6] = WorkloadKind::ALL;

fn digest(letter: char) -> String {
    format!("sha256:{}", letter.to_string().repeat(64))
}

/// An object in namespace `shop`; `owner` as `apps/v1 ReplicaSet web`.
fn object(kind: &str, name: &str, owner: &str, body: Value) -> (ObjectKind, Value) {
    let mut value = json!({ "metadata": { "namespace": "shop", "name": name, "uid": format!("uid-{name}") } });
    if let [api_version, kind, owner] = owner.split(' ').collect::<Vec<_>>()[..] {
        value["metadata"]["ownerReferences"] =
            json!([{ "apiVersion": api_version, "kind": kind, "name": owner, "controller": true }]);
    }
    merge(&mut value, body);
    let kind = if kind == "ReplicaSet" { ObjectKind::ReplicaSet } else { ObjectKind::Workload(kind.parse().unwrap()) };
    (kind, value)
}

fn merge(value: &mut Value, more: Value) {
    match (value, more) {
        (Value::Object(map), Value::Object(more)) => {
            for (key, more) in more {
                merge(map.entry(key).or_insert(Value::Null), more);
            }
        }
        (value, more) => *value = more,
    }
}

fn template(containers: &[(&str, &str)]) -> Value {
    json!({ "spec": { "template": { "spec": { "containers": list(containers) } } } })
}

fn list(containers: &[(&str, &str)]) -> Value {
    containers.iter().map(|(name, image)| json!({ "name": name, "image": image })).collect()
}

/// A running Pod with containers of a name, an image and an imageID.
fn pod(name: &str, owner: &str, second: u32, containers: &[(&str, &str, &str)]) -> (ObjectKind, Value) {
    let specs: Vec<_> = containers.iter().map(|(name, image, _)| (*name, *image)).collect();
    let statuses: Value = containers.iter().map(|(name, _, id)| json!({ "name": name, "imageID": id })).collect();
    object(
        "Pod",
        name,
        owner,
        json!({
            "metadata": { "creationTimestamp": format!("2026-01-01T00:00:{second:02}Z") },
            "spec": { "containers": list(&specs) },
            "status": { "phase": "Running", "containerStatuses": statuses },
        }),
    )
}

fn apply(inventory: &mut Inventory, (kind, value): &(ObjectKind, Value)) {
    let object: Object = serde_json::from_value(value.clone()).unwrap();
    let key = inventory.key(*kind, &object).unwrap();
    inventory.apply(key, &object);
}

fn remove(inventory: &mut Inventory, kind: &str, name: &str) {
    let (kind, value) = object(kind, name, "", json!({}));
    let value: Object = serde_json::from_value(value).unwrap();
    let key = inventory.key(kind, &value).unwrap();
    inventory.remove(&key);
}

fn inventory_of(watched: &[WorkloadKind], objects: &[(ObjectKind, Value)]) -> Inventory {
    let mut inventory = Inventory::new(watched, 0);
    for object in objects {
        apply(&mut inventory, object);
    }
    inventory
}

/// Removes the creation times, which depend on the order of events: a newer Pod with the same image is not a change.
fn without_times(mut changes: Vec<Change>) -> Vec<Change> {
    for change in &mut changes {
        if let Change::Set { uses, .. } = change {
            uses.iter_mut().flat_map(|one| &mut one.running).for_each(|running| running.since = 0);
        }
    }
    changes
}

/// One line for each change: `Deployment web: app=nginx:1 [aa] …`, `- Pod x`.
fn reported(inventory: &mut Inventory) -> Vec<String> {
    let line = |change| match change {
        Change::Set { workload, uses } => {
            let uses = uses.iter().map(|one| {
                let running: String =
                    one.running.iter().map(|r| r.image.digest().unwrap().hex().chars().next().unwrap()).collect();
                let mark = match one.container.kind {
                    ContainerKind::Init => "i:",
                    ContainerKind::Regular => "",
                    ContainerKind::Ephemeral => "e:",
                    ContainerKind::Volume => "v:",
                };
                format!(" {mark}{}={}[{running}]", one.container.name, one.image)
            });
            format!("{} {}:{}", workload.kind, workload.name, uses.collect::<String>())
        }
        Change::Removed(workload) => format!("- {} {}", workload.kind, workload.name),
        Change::InventoryComplete => "ready".to_owned(),
    };
    inventory.changes().into_iter().map(line).collect()
}

fn id(repository: &str, letter: char) -> String {
    format!("docker.io/library/{repository}@{}", digest(letter))
}

/// A cluster that covers most rules.
fn cluster() -> Vec<(ObjectKind, Value)> {
    let nginx = id("nginx", 'a');
    vec![
        object("Deployment", "web", "", template(&[("app", "nginx:2")])),
        object("ReplicaSet", "web-1", "apps/v1 Deployment web", json!({})),
        object("ReplicaSet", "web-2", "apps/v1 Deployment web", json!({})),
        pod("web-1-a", "apps/v1 ReplicaSet web-1", 1, &[("app", "nginx:1", &id("nginx", 'b'))]),
        pod("web-2-a", "apps/v1 ReplicaSet web-2", 2, &[("app", "nginx:2", &nginx), ("proxy", "envoy:1", "")]),
        pod("web-2-b", "apps/v1 ReplicaSet web-2", 3, &[("app", "nginx:2", &nginx), ("proxy", "envoy:1", "")]),
        object("StatefulSet", "db", "", template(&[("db", "postgres:17")])),
        pod("db-0", "apps/v1 StatefulSet db", 1, &[("db", "postgres:17", &id("postgres", 'c'))]),
        pod("db-1", "apps/v1 StatefulSet db", 2, &[("db", "postgres:17", &id("postgres", 'd'))]),
        object("CronJob", "backup", "", json!({ "spec": { "jobTemplate": template(&[("dump", "dump:2")]) } })),
        object("Job", "backup-1", "batch/v1 CronJob backup", template(&[("dump", "dump:1")])),
        pod("backup-1-x", "batch/v1 Job backup-1", 1, &[("dump", "dump:1", "")]),
        object("Job", "once", "", template(&[("once", "once:1")])),
        pod("once-x", "batch/v1 Job once", 1, &[("once", "once:1", "")]),
        object("ReplicaSet", "alone", "", json!({})),
        pod("alone-a", "apps/v1 ReplicaSet alone", 1, &[("a", "a:1", "")]),
        pod("static", "v1 Node node-1", 1, &[("etcd", "etcd:3", "")]),
        pod("bare", "", 1, &[("b", "b:1", "")]),
    ]
}

#[test]
fn pods_and_jobs_are_counted_under_their_owners() {
    let mut inventory = inventory_of(&ALL, &cluster());
    assert_eq!(
        reported(&mut inventory),
        [
            "Deployment web: app=nginx:2[a] app=nginx:1[b] proxy=envoy:1[]",
            "StatefulSet db: db=postgres:17[dc]",
            "Job once: once=once:1[]",
            "CronJob backup: dump=dump:2[] dump=dump:1[]",
            "Pod alone-a: a=a:1[]",
            "Pod bare: b=b:1[]",
            "Pod static: etcd=etcd:3[]",
        ]
    );
    assert_eq!(reported(&mut inventory), [""; 0]);
}

#[test]
fn the_order_of_events_does_not_change_the_result() {
    let expected = inventory_of(&ALL, &cluster()).changes();
    for seed in 0..200 {
        let mut random = fastrand::Rng::with_seed(seed);
        let mut objects = cluster();
        random.shuffle(&mut objects);
        assert_eq!(inventory_of(&ALL, &objects).changes(), expected, "seed {seed}");
    }
}

#[test]
fn incremental_changes_end_in_the_same_state_as_one_batch() {
    let expected = inventory_of(&ALL, &cluster()).changes();
    for seed in 0..200 {
        let mut random = fastrand::Rng::with_seed(seed);
        let mut inventory = Inventory::new(&ALL, random.u8(0..3));
        let mut state = BTreeMap::new();
        let mut follow = |inventory: &mut Inventory| {
            for change in inventory.changes() {
                match change {
                    Change::Set { workload, uses } => state.insert(workload, uses),
                    Change::Removed(workload) => state.remove(&workload),
                    Change::InventoryComplete => None,
                };
            }
        };
        // Everything is added, some of it is removed, everything is added again.
        let mut objects = cluster();
        for _ in 0..2 {
            random.shuffle(&mut objects);
            for (kind, value) in &objects {
                apply(&mut inventory, &(*kind, value.clone()));
                if random.bool() {
                    follow(&mut inventory);
                }
                if random.u8(..) < 40 {
                    inventory.end_evaluation_round();
                }
                if random.bool() {
                    let gone = random.choice(&objects).unwrap();
                    let name = gone.1["metadata"]["name"].as_str().unwrap();
                    let key = ObjectKey { kind: gone.0, namespace: "shop".into(), name: name.into() };
                    inventory.remove(&key);
                }
            }
        }
        random.shuffle(&mut objects);
        for object in &objects {
            apply(&mut inventory, object);
        }
        follow(&mut inventory);
        let end: Vec<Change> = state.into_iter().map(|(workload, uses)| Change::Set { workload, uses }).collect();
        assert_eq!(without_times(end), without_times(expected.clone()), "seed {seed}");
    }
}

#[test]
fn unwatched_kinds_own_pods_but_are_not_reported() {
    let mut inventory = inventory_of(
        &[WorkloadKind::Pod],
        &[
            object("ReplicaSet", "web-1", "apps/v1 Deployment web", json!({})),
            pod("web-1-a", "apps/v1 ReplicaSet web-1", 1, &[("app", "nginx:1", "")]),
            object("Job", "backup-1", "batch/v1 CronJob backup", json!({})),
            pod("backup-1-x", "batch/v1 Job backup-1", 1, &[("dump", "dump:1", "")]),
            pod("op-0", "example.org/v1 Database op", 1, &[("db", "db:1", "")]),
        ],
    );
    let owners: Vec<_> = inventory
        .changes()
        .into_iter()
        .map(|change| match change {
            Change::Set { workload, uses } => {
                let owners = uses[0].workload.owners.iter().map(|o| format!(" {}/{} {}", o.group, o.kind, o.name));
                format!("{}:{}", workload.name, owners.collect::<String>())
            }
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(
        owners,
        [
            "backup-1-x: batch/Job backup-1 batch/CronJob backup",
            "op-0: example.org/Database op",
            "web-1-a: apps/ReplicaSet web-1 apps/Deployment web",
        ]
    );
}

#[test]
fn jobs_are_reported_when_cronjobs_are_not_watched() {
    let mut inventory = inventory_of(&[WorkloadKind::Job, WorkloadKind::Pod], &cluster());
    let reported = reported(&mut inventory);
    assert!(reported.contains(&"Job backup-1: dump=dump:1[]".to_owned()), "{reported:?}");
    assert!(!reported.iter().any(|line| line.contains("backup-1-x")), "{reported:?}");
}

#[test]
fn pods_are_counted_under_cronjobs_when_jobs_are_not_watched() {
    let objects = cluster();
    let mut inventory = inventory_of(&[WorkloadKind::CronJob, WorkloadKind::Pod], &objects);
    let reported = reported(&mut inventory);
    assert!(
        reported.iter().any(|line| line.starts_with("CronJob backup: dump=dump:2[] dump=dump:1[]")),
        "{reported:?}"
    );
    assert!(reported.contains(&"Pod once-x: once=once:1[]".to_owned()), "{reported:?}");
}

#[test]
fn init_containers_come_first_and_blank_images_are_dropped() {
    let mut inventory = inventory_of(
        &ALL,
        &[object(
            "DaemonSet",
            "log",
            "",
            json!({ "spec": { "template": { "spec": {
                "containers": [{ "name": " b ", "image": " b:1\n" }, { "name": "none", "image": " " }],
                "initContainers": [{ "name": "a", "image": "a:1" }],
                "ephemeralContainers": [{ "name": "c", "image": "c:1" }],
            } } } }),
        )],
    );
    assert_eq!(reported(&mut inventory), ["DaemonSet log: i:a=a:1[] b=b:1[] e:c=c:1[]"]);
}

#[test]
fn a_status_is_reported_only_for_a_new_digest() {
    let mut inventory = inventory_of(&ALL, &[object("StatefulSet", "db", "", template(&[("db", "pg:1")]))]);
    let owner = "apps/v1 StatefulSet db";
    reported(&mut inventory);
    apply(&mut inventory, &pod("db-0", owner, 1, &[("db", "pg:1", "")]));
    assert_eq!(reported(&mut inventory), [""; 0], "no image is running yet");
    apply(&mut inventory, &pod("db-0", owner, 1, &[("db", "pg:1", &id("pg", 'a'))]));
    assert_eq!(reported(&mut inventory), ["StatefulSet db: db=pg:1[a]"]);
    apply(&mut inventory, &pod("db-0", owner, 1, &[("db", "pg:1", "")]));
    assert_eq!(reported(&mut inventory), [""; 0], "the container is restarting");
    apply(&mut inventory, &pod("db-1", owner, 2, &[("db", "pg:1", &id("pg", 'a'))]));
    assert_eq!(reported(&mut inventory), [""; 0], "both Pods run the same image");
    apply(&mut inventory, &pod("db-1", owner, 2, &[("db", "pg:1", &id("pg", 'b'))]));
    assert_eq!(reported(&mut inventory), ["StatefulSet db: db=pg:1[ba]"], "the newest Pod comes first");
    apply(&mut inventory, &pod("db-0", owner, 1, &[("db", "pg:2", &id("pg", 'c'))]));
    assert_eq!(reported(&mut inventory), ["StatefulSet db: db=pg:1[b] db=pg:2[c]"], "a digest belongs to its image");
}

#[test]
fn changes_of_policy_inputs_are_reported() {
    let deployment = object("Deployment", "web", "", template(&[("app", "nginx:1")]));
    let mut inventory = inventory_of(&ALL, std::slice::from_ref(&deployment));
    assert_eq!(reported(&mut inventory).len(), 1);
    for more in [
        json!({ "metadata": { "labels": { "team": "a" } } }),
        json!({ "metadata": { "annotations": { "note": "b" } } }),
        json!({ "metadata": { "ownerReferences": [{ "apiVersion": "example.org/v1", "kind": "App", "name": "x",
                                                    "uid": "", "controller": true }] } }),
    ] {
        let (kind, mut value) = deployment.clone();
        merge(&mut value, more.clone());
        apply(&mut inventory, &(kind, value));
        assert_eq!(reported(&mut inventory).len(), 1, "{more}");
    }
    for ignored in [
        json!({ "metadata": { "resourceVersion": "7", "generation": 3, "managedFields": [{ "manager": "x" }] } }),
        json!({ "metadata": { "annotations": { "kubectl.kubernetes.io/last-applied-configuration": "{}" } } }),
        json!({ "spec": { "replicas": 3 }, "status": { "readyReplicas": 3 } }),
    ] {
        apply(&mut inventory, &deployment);
        reported(&mut inventory);
        let (kind, mut value) = deployment.clone();
        merge(&mut value, ignored.clone());
        apply(&mut inventory, &(kind, value));
        assert_eq!(reported(&mut inventory), [""; 0], "{ignored}");
    }
}

#[test]
fn annotations_beyond_the_size_limit_are_dropped_whole() {
    let (kind, value) = object(
        "Deployment",
        "web",
        "",
        json!({ "metadata": { "annotations": { "a": "x".repeat(40_000), "b": "x".repeat(40_000), "c": "x" } } }),
    );
    let object: Object = serde_json::from_value(value).unwrap();
    assert_eq!(object.bounded_annotations().map(|(key, _)| key).collect::<Vec<_>>(), ["a", "c"]);
    assert_eq!(kind, ObjectKind::Workload(WorkloadKind::Deployment));
}

#[test]
fn namespace_labels_reach_only_their_own_workloads() {
    let mut inventory = inventory_of(&ALL, &[object("Deployment", "web", "", template(&[("app", "nginx:1")]))]);
    reported(&mut inventory);
    let labels = BTreeMap::from([("team".to_owned(), "a".to_owned())]);
    inventory.namespace("other", Some(&labels));
    assert_eq!(reported(&mut inventory), [""; 0]);
    inventory.namespace("shop", Some(&labels));
    match &inventory.changes()[..] {
        [Change::Set { uses, .. }] => assert_eq!(*uses[0].workload.namespace_labels, labels),
        other => panic!("{other:?}"),
    }
    inventory.namespace("shop", Some(&labels));
    assert_eq!(reported(&mut inventory), [""; 0]);
}

#[test]
fn oversized_texts_are_truncated() {
    let huge = "a".repeat(1 << 20);
    let short = format!("{}… (1048576 bytes)", "a".repeat(100));
    let (kind, mut value) = pod("bare", "", 1, &[("b", &huge, &format!("{huge}@{}", digest('a')))]);
    value["metadata"]["labels"] = json!({ "a": "x".repeat(40_000), "b": "x".repeat(40_000), "c": "x" });
    value["spec"]["initContainers"] = json!([{ "name": huge, "image": "i:1" }]);
    value["metadata"]["ownerReferences"] =
        json!([{ "apiVersion": "apps/v1", "kind": "ReplicaSet", "name": huge, "controller": true }]);
    let mut inventory = inventory_of(&ALL, &[(kind, value)]);
    let [Change::Set { uses, .. }] = &inventory.changes()[..] else { panic!() };
    assert_eq!((uses[0].container.name.as_str(), uses[0].image.as_str()), (short.as_str(), "i:1"));
    assert_eq!((uses[1].container.name.as_str(), uses[1].image.as_str()), ("b", short.as_str()));
    assert_eq!((uses[1].running.len(), uses[1].workload.owners.len()), (0, 0));
    assert_eq!(uses[1].workload.labels.keys().collect::<Vec<_>>(), ["a", "c"]);
    let error = uses[1].image.parse::<crate::model::Reference>().unwrap_err().to_string();
    assert!(error.contains("(1048576 bytes)") && error.contains("longer than") && error.len() < 300, "{error}");
}
