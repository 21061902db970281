use serde_json::{Value, json};

use super::*;
use crate::model::ContainerKind;

mod cost;
mod nodes;
mod subsets;

const ALL: [WorkloadKind; 6] = WorkloadKind::ALL;

fn digest(letter: char) -> String {
    format!("sha256:{}", letter.to_string().repeat(64))
}

/// An object in namespace `shop`; `owner` as `apps/v1 ReplicaSet web`.
fn object(kind: &str, name: &str, owner: &str, body: Value) -> (Kind, Value) {
    let mut value = json!({ "metadata": { "namespace": "shop", "name": name, "uid": format!("uid-{name}") } });
    if let [api_version, kind, owner] = owner.split(' ').collect::<Vec<_>>()[..] {
        value["metadata"]["ownerReferences"] =
            json!([{ "apiVersion": api_version, "kind": kind, "name": owner, "controller": true }]);
    }
    merge(&mut value, body);
    let kind = if kind == "ReplicaSet" { Kind::ReplicaSet } else { Kind::Workload(kind.parse().unwrap()) };
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

/// A running Pod; the third of each container is its imageID.
fn pod(name: &str, owner: &str, second: u32, containers: &[(&str, &str, &str)]) -> (Kind, Value) {
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

fn apply(inventory: &mut Inventory, (kind, value): &(Kind, Value)) {
    let object: Object<()> = serde_json::from_value(value.clone()).unwrap();
    let key = inventory.key(*kind, &object).unwrap();
    inventory.apply(key, &object);
}

fn remove(inventory: &mut Inventory, kind: &str, name: &str) {
    let (kind, value) = object(kind, name, "", json!({}));
    let value: Object<()> = serde_json::from_value(value).unwrap();
    let key = inventory.key(kind, &value).unwrap();
    inventory.remove(&key);
}

fn inventory_of(counted: &[WorkloadKind], objects: &[(Kind, Value)]) -> Inventory {
    let mut inventory = Inventory::new(counted, 0);
    for object in objects {
        apply(&mut inventory, object);
    }
    inventory
}

/// A newer Pod with an image that runs already is no change, so since when it runs depends on what came when.
fn without_times(mut changes: Vec<Change>) -> Vec<Change> {
    for change in &mut changes {
        if let Change::Set { uses, .. } = change {
            uses.iter_mut().flat_map(|one| &mut one.running).for_each(|running| running.since = 0);
        }
    }
    changes
}

/// One line for each change: `Deployment web: app=nginx:1 [aa] …`, `- Pod x`.
fn told(inventory: &mut Inventory) -> Vec<String> {
    let tell = |change| match change {
        Change::Set { workload, uses } => {
            let uses = uses.iter().map(|one| {
                let running: String =
                    one.running.iter().map(|r| r.image.digest().unwrap().hex().chars().next().unwrap()).collect();
                let mark = match one.container.kind {
                    ContainerKind::Init => "i:",
                    ContainerKind::Regular => "",
                    ContainerKind::Ephemeral => "e:",
                };
                format!(" {mark}{}={}[{running}]", one.container.name, one.image)
            });
            format!("{} {}:{}", workload.kind, workload.name, uses.collect::<String>())
        }
        Change::Removed(workload) => format!("- {} {}", workload.kind, workload.name),
        Change::Ready => "ready".to_owned(),
    };
    inventory.changes().into_iter().map(tell).collect()
}

fn id(repository: &str, letter: char) -> String {
    format!("docker.io/library/{repository}@{}", digest(letter))
}

/// A cluster in which most rules meet.
fn cluster() -> Vec<(Kind, Value)> {
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
fn pods_and_jobs_count_under_what_made_them() {
    let mut inventory = inventory_of(&ALL, &cluster());
    assert_eq!(
        told(&mut inventory),
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
    assert_eq!(told(&mut inventory), [""; 0]);
}

#[test]
fn no_order_of_arrival_changes_the_result() {
    let expected = inventory_of(&ALL, &cluster()).changes();
    for seed in 0..200 {
        let mut random = fastrand::Rng::with_seed(seed);
        let mut objects = cluster();
        random.shuffle(&mut objects);
        assert_eq!(inventory_of(&ALL, &objects).changes(), expected, "seed {seed}");
    }
}

#[test]
fn changes_one_at_a_time_end_where_all_at_once_do() {
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
                    Change::Ready => None,
                };
            }
        };
        // Everything comes, some of it goes, all of it comes again.
        let mut objects = cluster();
        for _ in 0..2 {
            random.shuffle(&mut objects);
            for (kind, value) in &objects {
                apply(&mut inventory, &(*kind, value.clone()));
                if random.bool() {
                    follow(&mut inventory);
                }
                if random.u8(..) < 40 {
                    inventory.age();
                }
                if random.bool() {
                    let gone = random.choice(&objects).unwrap();
                    let name = gone.1["metadata"]["name"].as_str().unwrap();
                    let key = Key { kind: gone.0, namespace: "shop".into(), name: name.into() };
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
fn what_is_not_counted_does_not_take_pods_in_but_is_named_as_their_owner() {
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
fn a_job_counts_itself_where_cronjobs_do_not_count() {
    let mut inventory = inventory_of(&[WorkloadKind::Job, WorkloadKind::Pod], &cluster());
    let told = told(&mut inventory);
    assert!(told.contains(&"Job backup-1: dump=dump:1[]".to_owned()), "{told:?}");
    assert!(!told.iter().any(|line| line.contains("backup-1-x")), "{told:?}");
}

#[test]
fn pods_fold_through_jobs_that_do_not_count() {
    let objects = cluster();
    let mut inventory = inventory_of(&[WorkloadKind::CronJob, WorkloadKind::Pod], &objects);
    let told = told(&mut inventory);
    assert!(told.iter().any(|line| line.starts_with("CronJob backup: dump=dump:2[] dump=dump:1[]")), "{told:?}");
    assert!(told.contains(&"Pod once-x: once=once:1[]".to_owned()), "{told:?}");
}

#[test]
fn containers_come_init_first_and_trimmed_and_without_empty_images() {
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
    assert_eq!(told(&mut inventory), ["DaemonSet log: i:a=a:1[] b=b:1[] e:c=c:1[]"]);
}

#[test]
fn a_pod_that_has_ended_is_gone() {
    for phase in ["Succeeded", "Failed", "Unknown"] {
        let mut inventory = inventory_of(&ALL, &[pod("bare", "", 1, &[("b", "b:1", "")])]);
        assert_eq!(told(&mut inventory), ["Pod bare: b=b:1[]"]);
        let (kind, mut value) = pod("bare", "", 1, &[("b", "b:1", "")]);
        value["status"]["phase"] = phase.into();
        apply(&mut inventory, &(kind, value));
        assert_eq!(told(&mut inventory), ["- Pod bare"], "{phase}");
        assert!(inventory.objects.is_empty());
    }
}

#[test]
fn a_status_is_told_only_when_it_shows_a_new_digest() {
    let mut inventory = inventory_of(&ALL, &[object("StatefulSet", "db", "", template(&[("db", "pg:1")]))]);
    let owner = "apps/v1 StatefulSet db";
    told(&mut inventory);
    apply(&mut inventory, &pod("db-0", owner, 1, &[("db", "pg:1", "")]));
    assert_eq!(told(&mut inventory), [""; 0], "it runs nothing yet");
    apply(&mut inventory, &pod("db-0", owner, 1, &[("db", "pg:1", &id("pg", 'a'))]));
    assert_eq!(told(&mut inventory), ["StatefulSet db: db=pg:1[a]"]);
    apply(&mut inventory, &pod("db-0", owner, 1, &[("db", "pg:1", "")]));
    assert_eq!(told(&mut inventory), [""; 0], "it is being restarted");
    apply(&mut inventory, &pod("db-1", owner, 2, &[("db", "pg:1", &id("pg", 'a'))]));
    assert_eq!(told(&mut inventory), [""; 0], "the second runs the same");
    apply(&mut inventory, &pod("db-1", owner, 2, &[("db", "pg:1", &id("pg", 'b'))]));
    assert_eq!(told(&mut inventory), ["StatefulSet db: db=pg:1[ba]"], "the newest comes first");
    apply(&mut inventory, &pod("db-0", owner, 1, &[("db", "pg:2", &id("pg", 'c'))]));
    assert_eq!(told(&mut inventory), ["StatefulSet db: db=pg:1[b] db=pg:2[c]"], "a digest belongs to its image");
}

#[test]
fn what_policies_read_is_told_when_it_changes() {
    let deployment = object("Deployment", "web", "", template(&[("app", "nginx:1")]));
    let mut inventory = inventory_of(&ALL, std::slice::from_ref(&deployment));
    assert_eq!(told(&mut inventory).len(), 1);
    for more in [
        json!({ "metadata": { "labels": { "team": "a" } } }),
        json!({ "metadata": { "annotations": { "note": "b" } } }),
        json!({ "metadata": { "ownerReferences": [{ "apiVersion": "example.org/v1", "kind": "App", "name": "x",
                                                    "uid": "", "controller": true }] } }),
    ] {
        let (kind, mut value) = deployment.clone();
        merge(&mut value, more.clone());
        apply(&mut inventory, &(kind, value));
        assert_eq!(told(&mut inventory).len(), 1, "{more}");
    }
    for ignored in [
        json!({ "metadata": { "resourceVersion": "7", "generation": 3, "managedFields": [{ "manager": "x" }] } }),
        json!({ "metadata": { "annotations": { "kubectl.kubernetes.io/last-applied-configuration": "{}" } } }),
        json!({ "spec": { "replicas": 3 }, "status": { "readyReplicas": 3 } }),
    ] {
        apply(&mut inventory, &deployment);
        told(&mut inventory);
        let (kind, mut value) = deployment.clone();
        merge(&mut value, ignored.clone());
        apply(&mut inventory, &(kind, value));
        assert_eq!(told(&mut inventory), [""; 0], "{ignored}");
    }
}

#[test]
fn annotations_are_bounded_together_by_whole_entries() {
    let (kind, value) = object(
        "Deployment",
        "web",
        "",
        json!({ "metadata": { "annotations": { "a": "x".repeat(40_000), "b": "x".repeat(40_000), "c": "x" } } }),
    );
    let object: Object<()> = serde_json::from_value(value).unwrap();
    assert_eq!(object.bounded_annotations().map(|(key, _)| key).collect::<Vec<_>>(), ["a", "c"]);
    assert_eq!(kind, Kind::Workload(WorkloadKind::Deployment));
}

#[test]
fn labels_of_a_namespace_reach_its_workloads_and_no_others() {
    let mut inventory = inventory_of(&ALL, &[object("Deployment", "web", "", template(&[("app", "nginx:1")]))]);
    told(&mut inventory);
    let labels = BTreeMap::from([("team".to_owned(), "a".to_owned())]);
    inventory.namespace("other", Some(&labels));
    assert_eq!(told(&mut inventory), [""; 0]);
    inventory.namespace("shop", Some(&labels));
    match &inventory.changes()[..] {
        [Change::Set { uses, .. }] => assert_eq!(*uses[0].workload.namespace_labels, labels),
        other => panic!("{other:?}"),
    }
    inventory.namespace("shop", Some(&labels));
    assert_eq!(told(&mut inventory), [""; 0]);
}

#[test]
fn a_workload_waits_for_its_namespace_but_not_for_ever() {
    let mut inventory = Inventory::new(&ALL, 2);
    inventory.expect_namespaces();
    apply(&mut inventory, &object("Deployment", "web", "", template(&[("app", "nginx:1")])));
    assert_eq!(told(&mut inventory), [""; 0]);
    inventory.age();
    assert_eq!(told(&mut inventory), [""; 0]);
    inventory.age();
    assert_eq!(told(&mut inventory).len(), 1);
    inventory.namespace("shop", Some(&BTreeMap::new()));
    assert_eq!(told(&mut inventory), [""; 0]);
}

#[test]
fn a_pod_waits_for_its_owner_but_not_for_ever() {
    let orphan = pod("web-1-a", "apps/v1 ReplicaSet web-1", 1, &[("app", "nginx:1", "")]);
    let mut inventory = Inventory::new(&ALL, 2);
    apply(&mut inventory, &orphan);
    assert_eq!(told(&mut inventory), [""; 0]);
    inventory.age();
    assert_eq!(told(&mut inventory), [""; 0]);
    inventory.age();
    assert_eq!(told(&mut inventory), ["Pod web-1-a: app=nginx:1[]"]);
    apply(&mut inventory, &object("ReplicaSet", "web-1", "apps/v1 Deployment web", json!({})));
    assert_eq!(told(&mut inventory), ["- Pod web-1-a"], "now the Deployment is waited for");
    apply(&mut inventory, &object("Deployment", "web", "", template(&[("app", "nginx:1")])));
    assert_eq!(told(&mut inventory), ["Deployment web: app=nginx:1[]"]);
}

#[test]
fn pods_that_outlive_their_owner_do_not_count_until_they_stay() {
    let mut inventory = Inventory::new(&ALL, 2);
    apply(&mut inventory, &object("StatefulSet", "db", "", template(&[("db", "pg:1")])));
    apply(&mut inventory, &pod("db-0", "apps/v1 StatefulSet db", 1, &[("db", "pg:1", "")]));
    told(&mut inventory);
    remove(&mut inventory, "StatefulSet", "db");
    assert_eq!(told(&mut inventory), ["- StatefulSet db"]);
    inventory.age();
    inventory.age();
    assert_eq!(told(&mut inventory), ["Pod db-0: db=pg:1[]"]);
    remove(&mut inventory, "Pod", "db-0");
    assert_eq!(told(&mut inventory), ["- Pod db-0"]);
    assert!(inventory.absent.is_empty() && inventory.children.is_empty() && inventory.objects.is_empty());
}

#[test]
fn what_a_new_list_lacks_is_gone_where_it_was_listed() {
    let mut inventory = inventory_of(
        &ALL,
        &[
            object("Deployment", "kept", "", template(&[("a", "a:1")])),
            object("Deployment", "gone", "", template(&[("a", "a:1")])),
            object("Deployment", "away", "", {
                let mut body = template(&[("a", "a:1")]);
                merge(&mut body, json!({ "metadata": { "namespace": "other" } }));
                body
            }),
            object("StatefulSet", "set", "", template(&[("a", "a:1")])),
        ],
    );
    told(&mut inventory);
    let kind = Kind::Workload(WorkloadKind::Deployment);
    let kept = Key { kind, namespace: "shop".into(), name: "kept".into() };
    inventory.retain(kind, Some("shop"), &HashSet::from([kept.clone()]));
    assert_eq!(told(&mut inventory), ["- Deployment gone"]);
    inventory.retain(kind, None, &HashSet::from([kept]));
    assert_eq!(told(&mut inventory), ["- Deployment away"]);
}

#[test]
fn what_is_far_too_long_is_kept_in_short() {
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
