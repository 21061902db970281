//! Which pull secrets the image uses of a workload have.

use super::*;
use crate::model::{PullSecretRefs, PullSecretScope};

fn inventory(scope: PullSecretScope, objects: &[(ObjectKind, Value)]) -> Inventory {
    let mut inventory = Inventory::new(&ALL, 0);
    inventory.set_pull_secrets(scope);
    for object in objects {
        apply(&mut inventory, object);
    }
    inventory
}

fn names(secrets: &[&str]) -> Value {
    secrets.iter().map(|name| json!({ "name": name })).collect()
}

fn deployment(more: Value) -> (ObjectKind, Value) {
    let mut body = template(&[("app", "app:1")]);
    merge(&mut body["spec"]["template"]["spec"], more);
    object("Deployment", "web", "", body)
}

fn pod_with(name: &str, second: u32, secrets: &[&str]) -> (ObjectKind, Value) {
    let (kind, mut pod) = pod(name, "apps/v1 ReplicaSet web-1", second, &[("app", "app:1", "")]);
    pod["spec"]["imagePullSecrets"] = names(secrets);
    (kind, pod)
}

/// The pull secrets of the first image use, as `account|secret,secret`.
fn found(inventory: &mut Inventory) -> Vec<String> {
    let text = |refs: &PullSecretRefs| {
        assert_eq!(refs.namespace, "shop");
        format!("{}|{}", refs.service_account.as_deref().unwrap_or_default(), refs.secrets.join(","))
    };
    match inventory.changes().pop() {
        Some(Change::Set { uses, .. }) => uses[0].pull_secrets.iter().map(|refs| text(refs)).collect(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_template_has_its_own_secrets_or_those_of_its_service_account() {
    for (more, expected) in [
        (json!({ "imagePullSecrets": names(&["b", " a ", ""]), "serviceAccountName": "builder" }), "|b,a"),
        (json!({ "serviceAccountName": "builder" }), "builder|"),
        (json!({ "serviceAccount": "old" }), "old|"),
        (json!({ "imagePullSecrets": [], "serviceAccountName": "" }), "default|"),
        (json!({ "imagePullSecrets": null }), "default|"),
    ] {
        assert_eq!(found(&mut inventory(PullSecretScope::All, &[deployment(more.clone())])), [expected], "{more}");
    }
}

#[test]
fn those_of_pods_come_first_and_a_pod_without_any_has_none() {
    let objects = [
        deployment(json!({})),
        object("ReplicaSet", "web-1", "apps/v1 Deployment web", json!({})),
        pod_with("web-1-a", 1, &["old"]),
        pod_with("web-1-b", 2, &["new"]),
        pod_with("web-1-c", 3, &["new"]),
        pod_with("web-1-d", 4, &[]),
    ];
    assert_eq!(found(&mut inventory(PullSecretScope::All, &objects)), ["|new", "|old", "default|"]);
    let bare = pod("bare", "", 1, &[("app", "app:1", "")]);
    assert_eq!(found(&mut inventory(PullSecretScope::All, &[bare])), [""; 0]);
}

#[test]
fn a_change_of_the_secrets_is_reported_and_costs_nothing_where_they_are_not_used() {
    let mut inventory_all = inventory(PullSecretScope::All, &[deployment(json!({}))]);
    assert_eq!(found(&mut inventory_all), ["default|"]);
    apply(&mut inventory_all, &deployment(json!({ "imagePullSecrets": names(&["a"]) })));
    assert_eq!(found(&mut inventory_all), ["|a"]);
    let others = PullSecretScope::Namespaces(["other".to_owned()].into());
    for scope in [PullSecretScope::Off, others] {
        let mut inventory = inventory(scope, &[deployment(json!({}))]);
        assert_eq!(found(&mut inventory), [""; 0]);
        apply(&mut inventory, &deployment(json!({ "imagePullSecrets": names(&["a"]) })));
        assert!(inventory.changes().is_empty());
    }
}

#[test]
fn their_number_and_the_length_of_their_names_are_bounded() {
    let many: Vec<String> = (0..1000).map(|number| format!("s{number}")).chain(["x".repeat(5000)]).collect();
    let many: Vec<&str> = many.iter().rev().map(String::as_str).collect();
    let mut inventory = inventory(PullSecretScope::All, &[deployment(json!({ "imagePullSecrets": names(&many) }))]);
    let found = found(&mut inventory).remove(0);
    assert_eq!(found.split(',').count(), 32, "{found}");
    assert!(found.len() < 500, "{found}");
}

#[test]
fn names_that_no_object_can_have_are_never_asked_for() {
    for name in
        ["../../kube-system/secrets/admin", "..", ".", "a/b", "a?b", "a%2fb", "A", "-a", "a-", "a..b", "a b", "ä", ""]
    {
        let more = json!({ "imagePullSecrets": names(&[name, "regcred.v1"]) });
        assert_eq!(found(&mut inventory(PullSecretScope::All, &[deployment(more)])), ["|regcred.v1"], "{name}");
        let more = json!({ "imagePullSecrets": [], "serviceAccountName": name });
        assert_eq!(found(&mut inventory(PullSecretScope::All, &[deployment(more)])), ["default|"], "{name}");
    }
}
