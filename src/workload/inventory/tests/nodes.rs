//! Image uses have the platforms that they need.

use super::*;

fn set_node(inventory: &mut Inventory, name: &str, architecture: &str) {
    let labels = [("kubernetes.io/os", "linux"), ("kubernetes.io/arch", architecture)];
    inventory.node(name, Some(&labels.map(|(key, value)| (key.to_owned(), value.to_owned())).into()));
}

fn on(node: &str, (kind, mut value): (ObjectKind, Value)) -> (ObjectKind, Value) {
    value["spec"]["nodeName"] = node.into();
    (kind, value)
}

/// One line for each change: `web: app=amd64,arm64 …`, `?` for unknown platforms.
fn needs(inventory: &mut Inventory) -> Vec<String> {
    let line = |change| match change {
        Change::Set { workload, uses } => {
            let uses = uses.iter().map(|one| {
                let platforms = one.platforms.iter().flatten().map(|p| p.to_string().replace("linux/", ""));
                let platforms = platforms.collect::<Vec<_>>().join(",");
                let platforms = if one.platforms.is_none() { "?" } else { &platforms };
                format!(" {}={platforms}", one.container.name)
            });
            format!("{}:{}", workload.name, uses.collect::<String>())
        }
        Change::Removed(workload) => format!("-{}", workload.name),
        Change::InventoryComplete => "ready".to_owned(),
    };
    inventory.changes().into_iter().map(line).collect()
}

#[test]
fn containers_need_the_platforms_of_their_pods_nodes() {
    let mut inventory = Inventory::new(&ALL, 0);
    inventory.track_nodes();
    let owner = "apps/v1 ReplicaSet web-1";
    for object in [
        object("Deployment", "web", "", template(&[("app", "nginx:1")])),
        object("ReplicaSet", "web-1", "apps/v1 Deployment web", json!({})),
        on("a", pod("web-1-a", owner, 1, &[("app", "nginx:1", "")])),
        on("b", pod("web-1-b", owner, 2, &[("app", "nginx:1", ""), ("proxy", "envoy:1", "")])),
        object("Deployment", "idle", "", template(&[("app", "nginx:1")])),
    ] {
        apply(&mut inventory, &object);
    }
    set_node(&mut inventory, "a", "amd64");
    set_node(&mut inventory, "b", "arm64");
    assert_eq!(needs(&mut inventory), ["idle: app=amd64,arm64", "web: app=amd64,arm64 proxy=arm64"]);

    set_node(&mut inventory, "c", "arm64");
    set_node(&mut inventory, "c", "arm64");
    assert_eq!(needs(&mut inventory), [""; 0], "another node of a known platform changes nothing");
    remove(&mut inventory, "Pod", "web-1-b");
    assert_eq!(needs(&mut inventory), ["web: app=amd64"]);
    apply(&mut inventory, &pod("web-1-c", owner, 3, &[("app", "nginx:1", "")]));
    assert_eq!(needs(&mut inventory), ["web: app=amd64,arm64"], "a Pod without a node may run anywhere");
    apply(&mut inventory, &on("new", pod("web-1-c", owner, 3, &[("app", "nginx:1", "")])));
    assert_eq!(needs(&mut inventory), ["web: app=?"]);
    set_node(&mut inventory, "new", "s390x");
    assert_eq!(needs(&mut inventory), ["idle: app=amd64,arm64,s390x", "web: app=amd64,s390x"]);
}

#[test]
fn pods_keep_the_platform_of_a_removed_node() {
    let mut inventory = Inventory::new(&ALL, 0);
    inventory.track_nodes();
    apply(&mut inventory, &on("a", pod("alone", "", 1, &[("app", "nginx:1", "")])));
    set_node(&mut inventory, "a", "amd64");
    set_node(&mut inventory, "b", "arm64");
    assert_eq!(needs(&mut inventory), ["alone: app=amd64"]);
    inventory.retain_nodes(&HashSet::from(["b".to_owned()]));
    assert_eq!(needs(&mut inventory), [""; 0]);
    set_node(&mut inventory, "a", "arm64");
    assert_eq!(needs(&mut inventory), ["alone: app=arm64"], "a new node has the same name");
}

#[test]
fn platforms_are_unknown_unless_nodes_are_tracked() {
    let mut inventory = Inventory::new(&ALL, 0);
    let alone = || pod("alone", "", 1, &[("app", "nginx:1", "")]);
    apply(&mut inventory, &alone());
    set_node(&mut inventory, "a", "amd64");
    assert_eq!(needs(&mut inventory), ["alone: app=?"]);
    apply(&mut inventory, &on("a", alone()));
    assert_eq!(needs(&mut inventory), [""; 0]);
}
