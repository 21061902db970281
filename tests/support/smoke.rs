//! Tests of the test servers.

use std::process::{Command, Output};

use demo::{Format, Image, Layer};
use k8s_openapi::api::{apps::v1::Deployment, core::v1::Pod};
use kube::Api;

use super::*;

fn image(content: &str) -> Image {
    let images = ["amd64", "arm64"].map(|architecture| {
        let own = Layer::files(&[("app", architecture), ("content", content)]).unwrap();
        Image::single(Format::Oci, architecture, &[Layer::files(&[("base", "shared")]).unwrap(), own])
    });
    Image::index(Format::Docker, &images)
}

/// Runs crane, as an independent client.
async fn crane(arguments: &[&str]) -> Output {
    let mut command = Command::new(program("crane"));
    command.args(arguments).env("HOME", "/nonexistent").env("NO_PROXY", "127.0.0.1");
    tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap()
}

#[tokio::test]
async fn the_cluster_accepts_workloads_and_status() {
    let cluster = Cluster::shared().await;
    let (client, namespace) = (cluster.admin(), cluster.namespace().await);
    for workload in [
        deployment("a").label("team", "x").image("a:1").init("i", "i:1"),
        stateful_set("b").image("b:1"),
        daemon_set("c").image("c:1"),
        job("d").image("d:1"),
        cron_job("e").image("e:1"),
    ] {
        workload.apply(&client, &namespace).await;
    }
    let owner = job("owner").image("a:1").apply(&client, &namespace).await;
    pod("f").image("a:1").image("b:1").owned_by(&owner).apply(&client, &namespace).await;
    let image_id = "docker.io/library/a@sha256:0";
    set_pod_status(&client, &namespace, "f", "Running", &[("main", image_id)]).await;
    add_ephemeral_container(&client, &namespace, "f", "debug", "busybox:1").await;

    let found: Pod = Api::namespaced(client.clone(), &namespace).get("f").await.unwrap();
    let status = found.status.unwrap();
    assert_eq!(status.phase.as_deref(), Some("Running"));
    assert_eq!(status.container_statuses.unwrap()[0].image_id, image_id);
    let spec = found.spec.unwrap();
    assert_eq!(spec.containers[1].name, "main-2");
    assert_eq!(spec.ephemeral_containers.unwrap()[0].image.as_deref(), Some("busybox:1"));
    assert_eq!(found.metadata.owner_references.unwrap()[0].kind, "Job");
    let found: Deployment = Api::namespaced(client, &namespace).get("a").await.unwrap();
    assert_eq!(found.metadata.labels.unwrap()["team"], "x");
}

#[tokio::test]
async fn the_cluster_enforces_rbac() {
    let cluster = Cluster::shared().await;
    let namespace = cluster.namespace().await;
    cluster
        .apply(&format!(
            "
apiVersion: v1
kind: ServiceAccount
metadata: {{ name: reader, namespace: {namespace} }}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {{ name: reader, namespace: {namespace} }}
rules: [{{ apiGroups: [''], resources: [pods], verbs: [list] }}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {{ name: reader, namespace: {namespace} }}
roleRef: {{ apiGroup: rbac.authorization.k8s.io, kind: Role, name: reader }}
subjects: [{{ kind: ServiceAccount, name: reader, namespace: {namespace} }}]
"
        ))
        .await;
    let client = cluster.client(&cluster.service_account_token(&namespace, "reader").await);
    let pods: Api<Pod> = Api::namespaced(client.clone(), &namespace);
    // The authorizer sees a new role a moment after its creation.
    eventually("the role is effective", || async { pods.list(&Default::default()).await.ok() }).await;
    let deployments: Api<Deployment> = Api::namespaced(client, &namespace);
    let error = deployments.list(&Default::default()).await.unwrap_err();
    assert!(matches!(&error, kube::Error::Api(status) if status.code == 403), "{error}");
}

#[tokio::test]
async fn the_api_server_keeps_its_data_over_a_restart() {
    let mut cluster = Cluster::start().await;
    let namespace = cluster.namespace().await;
    cluster.stop_apiserver();
    assert!(cluster.admin().apiserver_version().await.is_err());
    cluster.start_apiserver().await;
    deployment("a").image("a:1").apply(&cluster.admin(), &namespace).await;
}

#[tokio::test]
async fn registries_store_images_byte_for_byte() {
    let image = image("kept");
    for registry in [
        Registry::distribution(Access::Anonymous).await,
        Registry::distribution(Access::Basic).await,
        Registry::distribution(Access::Token).await,
        Registry::distribution_tls().await,
        Registry::crane().await,
    ] {
        registry.push("team/app", "1", &image).await;
        registry.assert_has("team/app", "1", &image).await;
        assert_eq!(registry.manifest("team/app", "2").await, None);
        registry.delete("team/app", image.digest()).await;
        assert_eq!(registry.manifest("team/app", image.digest()).await, None);
    }
}

#[tokio::test]
async fn records_requests_of_another_client() {
    let image = image("copied");
    let from = Registry::distribution(Access::Anonymous).await;
    let to = Registry::crane().await;
    let source = from.push("team/app", "1", &image).await;
    assert_eq!(from.take_requests(), [], "pushes of the test bypass the proxy");
    let output = crane(&["copy", &source, &format!("{}/copy/app:1", to.host())]).await;
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    to.assert_has("copy/app", "1", &image).await;
    let requests = from.take_requests();
    let read = requests.iter().filter(|request| request.method == "GET" && request.is_blob()).count();
    assert_eq!(read, image.blobs().len(), "{requests:?}");
    assert!(requests.iter().any(Request::is_manifest), "{requests:?}");
}

#[tokio::test]
async fn registries_require_credentials() {
    for access in [Access::Basic, Access::Token] {
        let registry = Registry::distribution(access).await;
        let reference = registry.push("team/app", "1", &image("guarded")).await;
        let output = crane(&["digest", &reference]).await;
        assert!(!output.status.success());

        let home = tempfile::tempdir().unwrap();
        let mut login = Command::new(program("crane"));
        login.args(["auth", "login", &registry.host(), "-u", USER, "-p", PASSWORD]).env("HOME", home.path());
        let mut digest = Command::new(program("crane"));
        digest.args(["digest", &reference]).env("HOME", home.path());
        for mut command in [login, digest] {
            let output = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
            assert!(output.status.success(), "{access:?}: {}", String::from_utf8_lossy(&output.stderr));
        }
        if access == Access::Token {
            let queries = registry.take_token_queries();
            assert!(queries.iter().any(|query| query.contains("team%2Fapp%3Apull")), "{queries:?}");
        }
    }
}

#[tokio::test]
async fn injects_faults_into_matching_requests() {
    let registry = Registry::distribution(Access::Anonymous).await;
    let image = image("broken");
    let reference = registry.push("team/app", "1", &image).await;
    let url = format!("http://{}/v2/team/app/manifests/1", registry.host());
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let accept = image.root().media_type;
    let get = || client.get(&url).header("accept", accept).send();

    registry.inject(1, Request::is_manifest, Fault::Answer(429, vec![("retry-after", "7")]));
    let answer = get().await.unwrap();
    assert_eq!(answer.status(), 429);
    assert_eq!(answer.headers()["retry-after"], "7");

    registry.inject(1, Request::is_manifest, Fault::Cut);
    assert!(get().await.unwrap().bytes().await.is_err());

    registry.inject(1, Request::is_manifest, Fault::Flip);
    let flipped = get().await.unwrap().bytes().await.unwrap();
    assert_eq!(flipped.len(), image.root().bytes.len());
    assert_ne!(flipped, image.root().bytes);

    registry.inject(9, Request::is_blob, Fault::Answer(500, vec![]));
    assert_eq!(get().await.unwrap().bytes().await.unwrap(), image.root().bytes, "{reference}");
}
