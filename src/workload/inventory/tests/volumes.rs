//! Image volumes.

use super::*;

/// A Deployment's template with one container, and these volumes.
fn with_volumes(volumes: &Value) -> Value {
    let spec = json!({ "containers": [{ "name": "app", "image": "app:1" }], "volumes": volumes });
    json!({ "spec": { "template": { "spec": spec } } })
}

/// A Pod of ReplicaSet `web-1` that has mounted volume `model` from `model:1`; the kubelet reports `image_ref`.
fn mounted(image_ref: Option<&str>) -> (ObjectKind, Value) {
    let volume_status = image_ref.map(|image_ref| json!({ "image": { "imageRef": image_ref } }));
    let mounts = json!([
        { "name": "kube-api-access", "mountPath": "/var/run/secrets", "readOnly": true },
        { "name": "model", "mountPath": "/model", "volumeStatus": volume_status },
    ]);
    let body = json!({
        "spec": {
            "containers": list(&[("app", "app:1"), ("model", "model:1")]),
            "volumes": [{ "name": "model", "image": { "reference": "model:1" } }],
        },
        "status": {
            "phase": "Running",
            "containerStatuses": [
                { "name": "app", "imageID": id("app", 'a'), "volumeMounts": mounts },
                { "name": "model", "imageID": id("model", 'b') },
            ],
        },
    });
    object("Pod", "web-1-a", "apps/v1 ReplicaSet web-1", body)
}

#[test]
fn volumes_with_an_image_are_image_uses_and_no_others() {
    let volumes = json!([
        { "name": "settings", "configMap": { "name": "settings" } },
        { "name": " model ", "image": { "reference": " model:1\n", "pullPolicy": "Always" } },
        { "name": "filled-in-later", "image": {} },
        { "name": "blank", "image": { "reference": " " } },
        { "name": "null", "image": null },
    ]);
    let mut inventory = inventory_of(&ALL, &[object("Deployment", "web", "", with_volumes(&volumes))]);
    inventory.keep_missing_images();
    assert_eq!(reported(&mut inventory), ["Deployment web: app=app:1[] v:model=model:1[]"]);
    apply(&mut inventory, &object("Deployment", "web", "", with_volumes(&Value::Null)));
    assert_eq!(reported(&mut inventory), ["Deployment web: app=app:1[]"], "the volume is removed");
}

#[test]
fn the_digest_of_a_volume_is_the_one_that_the_kubelet_reports_for_its_mounts() {
    let volumes = json!([{ "name": "model", "image": { "reference": "model:1" } }]);
    let mut inventory = inventory_of(
        &ALL,
        &[
            object("Deployment", "web", "", with_volumes(&volumes)),
            object("ReplicaSet", "web-1", "apps/v1 Deployment web", json!({})),
            mounted(None),
        ],
    );
    let container_and_volume =
        |digest: &str| [format!("Deployment web: app=app:1[a] v:model=model:1[{digest}] model=model:1[b]")];
    assert_eq!(reported(&mut inventory), container_and_volume(""), "a container of the same name is another use");
    apply(&mut inventory, &mounted(Some(&format!("sha256:{}", "c".repeat(64)))));
    assert_eq!(reported(&mut inventory), [""; 0], "the runtime's own image ID is unknown to registries");
    apply(&mut inventory, &mounted(Some(&id("model", 'c'))));
    assert_eq!(reported(&mut inventory), container_and_volume("c"));
    apply(&mut inventory, &mounted(None));
    assert_eq!(reported(&mut inventory), [""; 0], "the container is restarting");
}

#[test]
fn names_and_images_of_volumes_are_bounded() {
    let volume = json!({ "name": "n".repeat(5_000), "image": { "reference": "i".repeat(100_000) } });
    let mut inventory = inventory_of(&ALL, &[object("Deployment", "web", "", with_volumes(&json!([volume])))]);
    let reported = reported(&mut inventory).remove(0);
    assert!(reported.contains(" v:nnn") && reported.len() < 5_000, "{} bytes", reported.len());
}
