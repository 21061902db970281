//! Changes in the cluster are noticed, even after interruptions of the watches.

use std::time::Duration;

use k8s_openapi::api::core::v1::{Namespace, Pod};
use kube::{
    Api,
    api::{Patch, PatchParams},
};
use serde_json::json;

use crate::{
    guests,
    mirroring::{arrives, count, index, single},
    support::{
        Access, Cluster, Fault, Program, Registry, Request, Running, add_ephemeral_container, deployment, eventually,
        pod, set_pod_status,
    },
};

/// Starts the controller with this configuration file and a registry.
async fn controller(cluster: &Cluster, target: &Registry, file: &str) -> Running {
    let directory = tempfile::tempdir().unwrap();
    let kubeconfig = cluster.kubeconfig(directory.path(), cluster.admin_token());
    let mut program = Program::controller(&kubeconfig)
        .env("TARGET_KIND", "docker")
        .env("TARGET_REGISTRY", target.host())
        .config(file)
        .start();
    program.ready().await;
    program
}

#[tokio::test]
async fn watches_resume_after_an_api_server_restart() {
    let mut cluster = Cluster::start().await;
    let namespace = cluster.namespace().await;
    let source = Registry::distribution(Access::Anonymous).await;
    let target = Registry::crane().await;
    let (before, after) = (single("before"), single("after"));
    let reference = source.push("team/before", "1", &before).await;
    deployment("app").image(&reference).apply(&cluster.admin(), &namespace).await;
    let program = controller(&cluster, &target, "").await;
    arrives(&target, "team/before", "1", &before).await;

    cluster.stop_apiserver();
    eventually("the broken watches are noticed", || async {
        let restarts = program.metrics().await.sum("k8s_copycat_watch_restarts_total", &[("resource", "deployments")]);
        (restarts > 0.0).then_some(())
    })
    .await;
    assert_eq!(program.health("/readyz").await.0, 200, "known workloads can still be mirrored");
    cluster.start_apiserver().await;
    let reference = source.push("team/after", "1", &after).await;
    deployment("app").image(&reference).apply(&cluster.admin(), &namespace).await;
    deployment("other").image(&source.push("team/other", "1", &after).await).apply(&cluster.admin(), &namespace).await;
    arrives(&target, "team/after", "1", &after).await;
    arrives(&target, "team/other", "1", &after).await;
    let body = program.post("/force-reconcile").await.1;
    assert!(body.contains(r#""success":true,"workloadsProcessed":2,"imagesMirrored":2,"#), "{body}");
    program.terminate().await.assert_code(0);
}

#[tokio::test]
async fn new_matching_namespaces_are_mirrored() {
    let cluster = Cluster::shared().await;
    let client = cluster.admin();
    let source = Registry::distribution(Access::Anonymous).await;
    let target = Registry::crane().await;
    let image = single("later");
    let reference = source.push("team/later", "1", &image).await;
    let skipped = source.push("team/skipped", "1", &image).await;
    // The cluster is shared, so only this test uses these names.
    let program = controller(cluster, &target, "includeNamespaces: ['glob-*']\nskipNamespaces: [glob-skipped]\n").await;
    let body = program.post("/force-reconcile").await.1;
    assert!(
        body.contains(r#""success":true,"workloadsProcessed":0,"#),
        "a glob without a match selects no namespace: {body}"
    );
    for namespace in ["glob-later", "glob-skipped", "no-glob"] {
        cluster.apply(&format!("apiVersion: v1\nkind: Namespace\nmetadata: {{ name: {namespace} }}\n")).await;
    }
    deployment("app").image(&skipped).apply(&client, "glob-skipped").await;
    deployment("app").image(&skipped).apply(&client, "no-glob").await;
    deployment("app").image(&reference).apply(&client, "glob-later").await;
    arrives(&target, "team/later", "1", &image).await;
    let body = program.post("/force-reconcile").await.1;
    assert!(body.contains(r#""success":true,"workloadsProcessed":1,"imagesMirrored":1,"#), "{body}");
    assert_eq!(target.manifest("team/skipped", "1").await, None);
    program.terminate().await.assert_code(0);
}

/// The status that a kubelet reports for a Pod whose container `main` has mounted an image volume.
async fn set_mounted_image(cluster: &Cluster, namespace: &str, pod: &str, volume: &str, image_ref: &str) {
    let mount =
        json!({ "name": volume, "mountPath": "/model", "volumeStatus": { "image": { "imageRef": image_ref } } });
    let container = json!({
        "name": "main", "image": "", "imageID": "", "ready": true, "restartCount": 0, "volumeMounts": [mount],
    });
    let status = json!({ "status": { "phase": "Running", "containerStatuses": [container] } });
    let pods: Api<Pod> = Api::namespaced(cluster.admin(), namespace);
    let kept = pods.patch_status(pod, &PatchParams::default(), &Patch::Merge(status)).await.unwrap();
    let mounts = kept.status.unwrap().container_statuses.unwrap().remove(0).volume_mounts.unwrap();
    assert_eq!(mounts[0].volume_status.as_ref().unwrap().image.as_ref().unwrap().image_ref, image_ref);
}

#[tokio::test]
async fn image_volumes_of_templates_and_pods_are_mirrored() {
    let cluster = Cluster::shared().await;
    let namespace = cluster.namespace().await;
    let source = Registry::distribution(Access::Anonymous).await;
    let target = Registry::crane().await;
    let (app, model, data, moved) = (single("app"), index("model"), single("data"), single("moved"));
    let app_1 = source.push("team/app", "1", &app).await;
    let model_1 = source.push("team/model", "1", &model).await;
    let data_1 = source.push("team/data", "1", &data).await;
    let web = deployment("web").image(&app_1).image_volume("model", &model_1);
    web.apply(&cluster.admin(), &namespace).await;
    let trained = pod("trained").image(&app_1).image_volume("data", &data_1).apply(&cluster.admin(), &namespace).await;
    let program = controller(cluster, &target, &format!("includeNamespaces: [{namespace}]\n")).await;
    arrives(&target, "team/model", "1", &model).await;
    arrives(&target, "team/data", "1", &data).await;

    // A Pod that runs another digest than the one at the target.
    source.push("team/data", "1", &moved).await;
    let image_ref = format!("{}/team/data@{}", source.host(), moved.digest());
    set_mounted_image(cluster, &namespace, &trained.metadata.name.unwrap(), "data", &image_ref).await;
    arrives(&target, "team/data", moved.digest(), &moved).await;
    target.assert_has("team/data", "1", &moved).await;
    program.terminate().await.assert_code(0);
}

#[tokio::test]
async fn a_named_namespace_may_be_created_later() {
    let cluster = Cluster::shared().await;
    let source = Registry::distribution(Access::Anonymous).await;
    let target = Registry::crane().await;
    let image = single("named");
    let reference = source.push("team/named", "1", &image).await;
    let program = controller(cluster, &target, "includeNamespaces: [named-later]\n").await;
    program.logged("its absence is logged", |log| log.contains("named-later") && log.contains("does not exist")).await;
    cluster.apply("apiVersion: v1\nkind: Namespace\nmetadata: { name: named-later }\n").await;
    deployment("app").image(&reference).apply(&cluster.admin(), "named-later").await;
    arrives(&target, "team/named", "1", &image).await;
}

#[tokio::test]
async fn changed_labels_cause_a_new_decision() {
    let cluster = Cluster::shared().await;
    let (client, namespace) = (cluster.admin(), cluster.namespace().await);
    let source = Registry::distribution(Access::Anonymous).await;
    let target = Registry::crane().await;
    let image = index("labelled");
    let app = deployment("app").image(&source.push("shop/app", "1", &image).await);
    app.apply(&client, &namespace).await;
    let program = controller(
        cluster,
        &target,
        &format!(
            "includeNamespaces: [{namespace}]\nplugins: [{{ name: teams, module: '{}', config: {{ namespace: none, target: none }} }}]\n",
            guests::rust_path().display()
        ),
    )
    .await;
    arrives(&target, "shop/app", "1", &image).await;
    app.label("team", "blue").apply(&client, &namespace).await;
    arrives(&target, "blue/shop/app", "1", &image).await;
    let body = program.post("/force-reconcile").await.1;
    assert!(body.contains(r#""success":true,"workloadsProcessed":1,"imagesMirrored":1,"#), "{body}");
    // Plugins also get the labels of the namespace.
    let calls = || async { program.metrics().await.sum("k8s_copycat_plugin_calls_total", &[("plugin", "teams")]) };
    let before = calls().await;
    let namespaces: Api<Namespace> = Api::all(client.clone());
    let label = json!({ "metadata": { "labels": { "tier": "gold" } } });
    namespaces.patch(&namespace, &PatchParams::default(), &Patch::Merge(label)).await.unwrap();
    eventually("the plugin is called again", || async { (calls().await > before).then_some(()) }).await;
}

#[tokio::test]
async fn all_containers_of_a_pod_are_mirrored() {
    let cluster = Cluster::shared().await;
    let (client, namespace) = (cluster.admin(), cluster.namespace().await);
    let source = Registry::distribution(Access::Anonymous).await;
    let target = Registry::crane().await;
    let image = |name: &'static str| (name, single(name));
    let images = ["main", "proxy", "setup", "debug", "late"].map(image);
    let mut references = Vec::new();
    for (name, image) in &images {
        references.push(source.push(&format!("team/{name}"), "1", image).await);
    }
    let [main, proxy, setup, debug, late] = references.try_into().unwrap();
    pod("alone").init("setup", &setup).sidecar("proxy", &proxy).image(&main).apply(&client, &namespace).await;
    set_pod_status(&client, &namespace, "alone", "Running", &[]).await;
    let program = controller(cluster, &target, &format!("includeNamespaces: [{namespace}]\n")).await;
    for (name, image) in images.iter().filter(|(name, _)| !["debug", "late"].contains(name)) {
        arrives(&target, &format!("team/{name}"), "1", image).await;
    }
    add_ephemeral_container(&client, &namespace, "alone", "debugger", &debug).await;
    arrives(&target, "team/debug", "1", &images[3].1).await;

    // A completed Pod no longer counts, and one that has not started does.
    set_pod_status(&client, &namespace, "alone", "Succeeded", &[]).await;
    pod("late").image(&late).apply(&client, &namespace).await;
    arrives(&target, "team/late", "1", &images[4].1).await;
    eventually("only the new Pod is left", || async {
        let body = program.post("/force-reconcile").await.1;
        body.contains(r#""success":true,"workloadsProcessed":1,"imagesMirrored":1,"#).then_some(())
    })
    .await;
    program.terminate().await.assert_code(0);
}

#[tokio::test]
async fn an_active_copy_finishes_during_shutdown() {
    let cluster = Cluster::shared().await;
    let (client, namespace) = (cluster.admin(), cluster.namespace().await);
    let source = Registry::distribution(Access::Anonymous).await;
    let target = Registry::crane().await;
    let image = single("slow");
    deployment("app").image(&source.push("team/slow", "1", &image).await).apply(&client, &namespace).await;
    source.inject(1, Request::is_blob, Fault::Delay(Duration::from_secs(2)));
    let program = controller(cluster, &target, &format!("includeNamespaces: [{namespace}]\n")).await;
    wait_for_blob_request(&source).await;
    let finished = program.terminate().await.assert_code(0);
    target.assert_has("team/slow", "1", &image).await;
    assert!(finished.stdout.contains("active copies continue"), "{}", finished.stdout);
}

#[tokio::test]
async fn a_hanging_copy_is_aborted_at_shutdown_and_repeated_after_restart() {
    let cluster = Cluster::shared().await;
    let (client, namespace) = (cluster.admin(), cluster.namespace().await);
    let source = Registry::distribution(Access::Anonymous).await;
    let target = Registry::crane().await;
    let image = single("stuck");
    deployment("app").image(&source.push("team/stuck", "1", &image).await).apply(&client, &namespace).await;
    source.inject(usize::MAX, Request::is_blob, Fault::Stall);
    let file = format!("includeNamespaces: [{namespace}]\nrequestTimeout: 0\n");
    let program = controller(cluster, &target, &file).await;
    wait_for_blob_request(&source).await;
    let finished = program.terminate().await.assert_code(0);
    assert!(finished.stdout.contains("they restart at the next start"), "{}", finished.stdout);
    assert_eq!(target.manifest("team/stuck", "1").await, None);
    source.clear_faults();
    let _program = controller(cluster, &target, &file).await;
    arrives(&target, "team/stuck", "1", &image).await;
}

/// Waits until a blob is requested.
pub async fn wait_for_blob_request(source: &Registry) {
    eventually("a blob is requested", || async {
        (count(&source.take_requests(), "GET", "/blobs/") > 0).then_some(())
    })
    .await;
}
