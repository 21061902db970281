//! What an event costs does not grow with the cluster.

use super::*;

/// Namespaces with a Deployment, its ReplicaSet and a Pod each.
const NAMESPACES: usize = 500;

fn in_namespace(number: usize, (kind, mut value): (Kind, Value)) -> (Kind, Value) {
    value["metadata"]["namespace"] = format!("ns-{number}").into();
    value["spec"]["nodeName"] = format!("node-{}", number % 50).into();
    (kind, value)
}

fn labels(of: &[(&str, &str)]) -> BTreeMap<String, String> {
    of.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

fn large_cluster(grace: u8) -> Inventory {
    let mut inventory = Inventory::new(&ALL, grace);
    inventory.expect_nodes();
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

/// Insists that an event and telling what came of it looks at no more than so many objects.
#[track_caller]
fn costs(inventory: &mut Inventory, most: usize, what: &str, event: impl FnOnce(&mut Inventory)) {
    inventory.objects.looks.set(0);
    event(inventory);
    inventory.changes();
    let looks = inventory.objects.looks.get();
    assert!(looks <= most, "{what} looked at {looks} objects of {}", 3 * NAMESPACES);
}

#[test]
fn an_event_costs_what_it_concerns() {
    let mut inventory = large_cluster(2);
    costs(&mut inventory, 60, "a namespace's labels", |inventory| {
        inventory.namespace("ns-1", Some(&labels(&[("team", "a")])));
    });
    costs(&mut inventory, 10, "a namespace without objects", |inventory| {
        inventory.namespace("empty", Some(&BTreeMap::new()));
    });
    costs(&mut inventory, 10, "a node's heartbeat", |inventory| inventory.node("node-1", Some(&amd64())));
    costs(&mut inventory, 10, "a new node", |inventory| inventory.node("new", Some(&amd64())));
    costs(&mut inventory, 10, "a node that goes", |inventory| inventory.node("new", None));
    costs(&mut inventory, 300, "a node that goes and had Pods", |inventory| inventory.node("node-2", None));
    let moved = |second, image: &str| {
        pod("web-1-a", "apps/v1 ReplicaSet web-1", second, &[("app", "nginx:1", &id("nginx", 'b')), ("x", image, "")])
    };
    costs(&mut inventory, 60, "a Pod", |inventory| apply(inventory, &in_namespace(3, moved(2, "x:1"))));
    costs(&mut inventory, 60, "a Deployment", |inventory| {
        apply(inventory, &in_namespace(3, object("Deployment", "web", "", template(&[("app", "nginx:2")]))));
    });
    costs(&mut inventory, 10, "a round", Inventory::age);
    costs(&mut inventory, 60, "the list of a namespace", |inventory| {
        inventory.retain(Kind::Workload(WorkloadKind::Pod), Some("ns-4"), &HashSet::new());
    });
}

#[test]
fn workloads_that_wait_for_their_namespace_are_looked_at_once_a_round() {
    let mut inventory = large_cluster(2);
    inventory.expect_namespaces();
    for number in 0..NAMESPACES {
        let changed = object("Deployment", "web", "", template(&[("app", "nginx:2")]));
        apply(&mut inventory, &in_namespace(number, changed));
    }
    assert_eq!(inventory.changes(), []);
    costs(&mut inventory, 10, "another event meanwhile", |inventory| {
        inventory.namespace("empty", Some(&BTreeMap::new()));
    });
    inventory.age();
    inventory.age();
    assert_eq!(inventory.changes().len(), NAMESPACES);
}

#[test]
fn a_rollout_of_thousands_of_pods_costs_one_look_a_round() {
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
    assert_eq!(told(&mut inventory), ["DaemonSet log: agent=agent:1[a]"]);

    apply(&mut inventory, &agent("agent:2"));
    assert_eq!(
        told(&mut inventory),
        ["DaemonSet log: agent=agent:2[] agent=agent:1[a]"],
        "its own image is told at once"
    );
    costs(&mut inventory, 100 * PODS, "the rollout", |inventory| {
        for number in 0..PODS {
            apply(inventory, &on(number, "agent:2", 'b'));
            inventory.changes();
        }
    });
    inventory.age();
    assert_eq!(told(&mut inventory), ["DaemonSet log: agent=agent:2[b]"]);
    remove(&mut inventory, "DaemonSet", "log");
    assert_eq!(told(&mut inventory), ["- DaemonSet log"], "that it is gone is told at once");
}

#[test]
fn nothing_is_left_of_what_came_and_went() {
    let mut inventory = Inventory::new(&ALL, 2);
    inventory.expect_nodes();
    inventory.expect_namespaces();
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
            inventory.age();
            inventory.changes();
        }
        // The watches do not keep step: the namespace may go first, and its nodes are known to nobody.
        inventory.namespace(&namespace, None);
        inventory.changes();
        for (kind, value) in objects {
            let name = value["metadata"]["name"].as_str().unwrap();
            inventory.remove(&Key { kind, namespace: namespace.as_str().into(), name: name.into() });
        }
        inventory.changes();
    }
    inventory.age();
    inventory.changes();
    assert!(inventory.objects.is_empty() && inventory.children.is_empty() && inventory.told.is_empty());
    assert!(inventory.absent.is_empty() && inventory.changed.is_empty() && inventory.later.is_empty());
    assert!(inventory.absent_namespaces.is_empty(), "{:?}", inventory.absent_namespaces);
    assert!(inventory.nodes.as_ref().unwrap().is_empty());
}
