//! Owners and namespaces that are missing, and objects that are gone.

use super::*;

#[test]
fn a_workload_waits_for_its_namespace_up_to_the_grace_period() {
    let mut inventory = Inventory::new(&ALL, 2);
    inventory.require_namespaces();
    apply(&mut inventory, &object("Deployment", "web", "", template(&[("app", "nginx:1")])));
    assert_eq!(reported(&mut inventory), [""; 0]);
    inventory.end_evaluation_round();
    assert_eq!(reported(&mut inventory), [""; 0]);
    inventory.end_evaluation_round();
    assert_eq!(reported(&mut inventory).len(), 1);
    inventory.namespace("shop", Some(&BTreeMap::new()));
    assert_eq!(reported(&mut inventory), [""; 0]);
}

#[test]
fn a_pod_waits_for_its_owner_up_to_the_grace_period() {
    let orphan = pod("web-1-a", "apps/v1 ReplicaSet web-1", 1, &[("app", "nginx:1", "")]);
    let mut inventory = Inventory::new(&ALL, 2);
    apply(&mut inventory, &orphan);
    assert_eq!(reported(&mut inventory), [""; 0]);
    inventory.end_evaluation_round();
    assert_eq!(reported(&mut inventory), [""; 0]);
    inventory.end_evaluation_round();
    assert_eq!(reported(&mut inventory), ["Pod web-1-a: app=nginx:1[]"]);
    apply(&mut inventory, &object("ReplicaSet", "web-1", "apps/v1 Deployment web", json!({})));
    assert_eq!(reported(&mut inventory), ["- Pod web-1-a"], "it waits for the Deployment now");
    apply(&mut inventory, &object("Deployment", "web", "", template(&[("app", "nginx:1")])));
    assert_eq!(reported(&mut inventory), ["Deployment web: app=nginx:1[]"]);
}

#[test]
fn pods_of_a_deleted_owner_are_reported_after_the_grace_period() {
    let mut inventory = Inventory::new(&ALL, 2);
    apply(&mut inventory, &object("StatefulSet", "db", "", template(&[("db", "pg:1")])));
    apply(&mut inventory, &pod("db-0", "apps/v1 StatefulSet db", 1, &[("db", "pg:1", "")]));
    reported(&mut inventory);
    remove(&mut inventory, "StatefulSet", "db");
    assert_eq!(reported(&mut inventory), ["- StatefulSet db"]);
    inventory.end_evaluation_round();
    inventory.end_evaluation_round();
    assert_eq!(reported(&mut inventory), ["Pod db-0: db=pg:1[]"]);
    remove(&mut inventory, "Pod", "db-0");
    assert_eq!(reported(&mut inventory), ["- Pod db-0"]);
    assert!(inventory.missing_owners.is_empty() && inventory.children.is_empty() && inventory.objects.is_empty());
}

#[test]
fn objects_missing_from_a_new_list_are_removed_in_its_scope() {
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
    reported(&mut inventory);
    let kind = ObjectKind::Workload(WorkloadKind::Deployment);
    let kept = ObjectKey { kind, namespace: "shop".into(), name: "kept".into() };
    inventory.retain(kind, Some("shop"), &HashSet::from([kept.clone()]));
    assert_eq!(reported(&mut inventory), ["- Deployment gone"]);
    inventory.retain(kind, None, &HashSet::from([kept]));
    assert_eq!(reported(&mut inventory), ["- Deployment away"]);
}

#[test]
fn ended_pods_are_removed() {
    for phase in ["Succeeded", "Failed", "Unknown"] {
        let mut inventory = inventory_of(&ALL, &[pod("bare", "", 1, &[("b", "b:1", "")])]);
        assert_eq!(reported(&mut inventory), ["Pod bare: b=b:1[]"]);
        let (kind, mut value) = pod("bare", "", 1, &[("b", "b:1", "")]);
        value["status"]["phase"] = phase.into();
        apply(&mut inventory, &(kind, value));
        assert_eq!(reported(&mut inventory), ["- Pod bare"], "{phase}");
        assert!(inventory.objects.is_empty());
    }
}
