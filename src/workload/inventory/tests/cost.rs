//! The cost of an event does not grow with the cluster.

use super::*;

/// Namespaces with a Deployment, its ReplicaSet and a Pod each.
const NAMESPACES: usize = 500;

fn in_namespace(number: usize, (kind, mut value): (ObjectKind, Value)) -> (ObjectKind, Value) {
    value["metadata"]["namespace"] = format!("ns-{number}").into();
    value["spec"]["nodeName"] = format!("node-{}", number % 50).into();
    (kind, value)
}

fn labels(of: &[(&str, &str)]) -> BTreeMap<String, String> {
    of.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

fn large_cluster(grace_rounds: u8) -> Inventory {
    let mut inventory = Inventory::new(&ALL, grace_rounds);
    inventory.track_nodes();
    for number in 0..NAMESPACES {
        for object in [
            object("Deployment", "web", "", template(&[("app", "nginx:1")])),
            object("ReplicaSet", "web-1", "apps/v1 Deployment web", json!({})),
            pod("web-1-a", "apps/v1 ReplicaSet web-1", 1, &[("app", "nginx:1", &id("nginx", 'a'))]),
        ] {
            apply(&mut inventory, &in_namespace(number, object));
        }
    }
    for number in 0..50 {
        inventory.node(&format!("node-{number}"), Some(&amd64()));
    }
    inventory.changes();
    inventory
}

fn amd64() -> BTreeMap<String, String> {
    labels(&[("kubernetes.io/os", "linux"), ("kubernetes.io/arch", "amd64")])
}

/// Asserts that handling an event and reporting its changes reads at most `max` objects.
#[track_caller]
fn assert_reads(inventory: &mut Inventory, max: usize, what: &str, event: impl FnOnce(&mut Inventory)) {
    inventory.objects.reads.set(0);
    event(inventory);
    inventory.changes();
    let reads = inventory.objects.reads.get();
    assert!(reads <= max, "{what} read {reads} objects of {}", 3 * NAMESPACES);
}

#[test]
fn an_event_reads_only_affected_objects() {
    let mut inventory = large_cluster(2);
    assert_reads(&mut inventory, 60, "a namespace's labels", |inventory| {
        inventory.namespace("ns-1", Some(&labels(&[("team", "a")])));
    });
    assert_reads(&mut inventory, 10, "a namespace without objects", |inventory| {
        inventory.namespace("empty", Some(&BTreeMap::new()));
    });
    assert_reads(&mut inventory, 10, "a node's heartbeat", |inventory| inventory.node("node-1", Some(&amd64())));
    assert_reads(&mut inventory, 10, "a new node", |inventory| inventory.node("new", Some(&amd64())));
    assert_reads(&mut inventory, 10, "a removed node", |inventory| inventory.node("new", None));
    assert_reads(&mut inventory, 300, "a removed node with Pods", |inventory| inventory.node("node-2", None));
    let moved = |second, image: &str| {
        pod("web-1-a", "apps/v1 ReplicaSet web-1", second, &[("app", "nginx:1", &id("nginx", 'b')), ("x", image, "")])
    };
    assert_reads(&mut inventory, 60, "a Pod", |inventory| apply(inventory, &in_namespace(3, moved(2, "x:1"))));
    assert_reads(&mut inventory, 60, "a Deployment", |inventory| {
        apply(inventory, &in_namespace(3, object("Deployment", "web", "", template(&[("app", "nginx:2")]))));
    });
    assert_reads(&mut inventory, 10, "a round", Inventory::end_evaluation_round);
    assert_reads(&mut inventory, 60, "the list of a namespace", |inventory| {
        inventory.retain(ObjectKind::Workload(WorkloadKind::Pod), Some("ns-4"), &HashSet::new());
    });
}

#[test]
fn workloads_waiting_for_their_namespace_are_evaluated_once_a_round() {
    let mut inventory = large_cluster(2);
    inventory.require_namespaces();
    for number in 0..NAMESPACES {
        let changed = object("Deployment", "web", "", template(&[("app", "nginx:2")]));
        apply(&mut inventory, &in_namespace(number, changed));
    }
    assert_eq!(inventory.changes(), []);
    assert_reads(&mut inventory, 10, "another event", |inventory| {
        inventory.namespace("empty", Some(&BTreeMap::new()));
    });
    inventory.end_evaluation_round();
    inventory.end_evaluation_round();
    assert_eq!(inventory.changes().len(), NAMESPACES);
}

#[test]
fn a_large_rollout_is_evaluated_once_a_round() {
    const PODS: usize = 2_000;
    let mut inventory = Inventory::new(&ALL, 2);
    let owner = "apps/v1 DaemonSet log";
    let agent = |image: &str| object("DaemonSet", "log", "", template(&[("agent", image)]));
    let on = |number: usize, image: &str, letter| {
        pod(&format!("log-{number}"), owner, 1, &[("agent", image, &id("agent", letter))])
    };
    apply(&mut inventory, &agent("agent:1"));
    for number in 0..PODS {
        apply(&mut inventory, &on(number, "agent:1", 'a'));
    }
    assert_eq!(reported(&mut inventory), ["DaemonSet log: agent=agent:1[a]"]);

    apply(&mut inventory, &agent("agent:2"));
    assert_eq!(
        reported(&mut inventory),
        ["DaemonSet log: agent=agent:2[] agent=agent:1[a]"],
        "its own image is reported at once"
    );
    assert_reads(&mut inventory, 100 * PODS, "the rollout", |inventory| {
        for number in 0..PODS {
            apply(inventory, &on(number, "agent:2", 'b'));
            inventory.changes();
        }
    });
    inventory.end_evaluation_round();
    assert_eq!(reported(&mut inventory), ["DaemonSet log: agent=agent:2[b]"]);
    remove(&mut inventory, "DaemonSet", "log");
    assert_eq!(reported(&mut inventory), ["- DaemonSet log"], "a removal is reported at once");
}

#[test]
fn removed_objects_leave_no_state() {
    let mut inventory = Inventory::new(&ALL, 2);
    inventory.track_nodes();
    inventory.require_namespaces();
    for number in 0..50 {
        let objects = [
            object("Deployment", "web", "", template(&[("app", "nginx:1")])),
            pod("web-1-a", "apps/v1 ReplicaSet web-1", 1, &[("app", "nginx:1", "")]),
            pod("lost", "batch/v1 Job gone", 1, &[("app", "nginx:1", "")]),
        ];
        let namespace = format!("ns-{number}");
        for object in objects.clone() {
            apply(&mut inventory, &in_namespace(number, object));
        }
        inventory.changes();
        inventory.namespace(&namespace, Some(&BTreeMap::new()));
        for _ in 0..3 {
            inventory.end_evaluation_round();
            inventory.changes();
        }
        // Watches are not synchronised: the namespace may be deleted first, and its nodes were never listed.
        inventory.namespace(&namespace, None);
        inventory.changes();
        for (kind, value) in objects {
            let name = value["metadata"]["name"].as_str().unwrap();
            inventory.remove(&ObjectKey { kind, namespace: namespace.as_str().into(), name: name.into() });
        }
        inventory.changes();
    }
    inventory.end_evaluation_round();
    inventory.changes();
    assert!(inventory.objects.is_empty() && inventory.children.is_empty() && inventory.reported.is_empty());
    assert!(inventory.missing_owners.is_empty() && inventory.dirty.is_empty() && inventory.deferred.is_empty());
    assert!(inventory.missing_namespaces.is_empty(), "{:?}", inventory.missing_namespaces);
    assert!(inventory.nodes.as_ref().unwrap().is_empty());
}
