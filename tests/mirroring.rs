//! Images of a cluster are copied to a registry once and stay there.

use demo::{Format, Image, Layer};
use serde_json::Value;

use crate::support::{
    Access, Cluster, Program, Registry, Request, Running, cron_job, daemon_set, deployment, eventually, job, list, pod,
    set_pod_status, stateful_set,
};

/// An index over two platforms that share a layer.
pub fn index(content: &str) -> Image {
    let images = ["amd64", "arm64"].map(|architecture| {
        let own = Layer::files(&[("app", architecture), ("content", content)]).unwrap();
        Image::single(Format::Oci, architecture, &[Layer::files(&[("base", "shared")]).unwrap(), own])
    });
    Image::index(Format::Oci, &images)
}

/// An image for one platform in Docker format.
pub fn single(content: &str) -> Image {
    Image::single(Format::Docker, "amd64", &[Layer::files(&[("content", content)]).unwrap()])
}

/// Starts the controller for one namespace and a registry.
async fn controller(cluster: &Cluster, namespace: &str, target: &Registry, more: &str) -> Running {
    let directory = tempfile::tempdir().unwrap();
    let kubeconfig = cluster.kubeconfig(directory.path(), cluster.admin_token());
    let config = format!(
        "targetKind: docker\ndocker: {{ registry: '{}' }}\nincludeNamespaces: [{namespace}]\n{more}",
        target.host()
    );
    let mut program = Program::controller(&kubeconfig).config(&config).start();
    program.ready().await;
    program
}

/// Waits until `reference` is at the target, and asserts that it is `image`.
pub async fn arrives(target: &Registry, repository: &str, reference: &str, image: &Image) {
    eventually(&format!("{repository}, {reference} is mirrored"), || async {
        target.manifest(repository, reference).await
    })
    .await;
    target.assert_has(repository, reference, image).await;
}

async fn forced_pass(program: &Running) -> Value {
    let (status, body) = program.post("/force-reconcile").await;
    assert_eq!(status, 200);
    serde_json::from_str(&body).unwrap()
}

pub fn count(requests: &[Request], method: &str, path_part: &str) -> usize {
    requests.iter().filter(|request| request.method == method && request.path.contains(path_part)).count()
}

#[tokio::test]
async fn mirrors_images_of_all_kinds_once_and_keeps_them() {
    let cluster = Cluster::shared().await;
    let (client, namespace) = (cluster.admin(), cluster.namespace().await);
    let source = Registry::distribution(Access::Anonymous).await;
    let target = Registry::crane().await;
    let (web, setup, pinned, shared) = (index("web"), single("setup"), index("pinned"), index("shared"));
    let (batch, nightly, alone) = (single("batch"), single("nightly"), single("alone"));
    let web_1 = source.push("shop/web", "1", &web).await;
    let setup_1 = source.push("shop/setup", "1", &setup).await;
    source.push("shop/pinned", "1", &pinned).await;
    let by_digest = format!("{}/shop/pinned@{}", source.host(), pinned.digest());
    let shared_1 = source.push("shop/shared", "1", &shared).await;
    let batch_1 = source.push("shop/batch", "1", &batch).await;
    let nightly_1 = source.push("shop/nightly", "1", &nightly).await;
    let alone_1 = source.push("shop/alone", "1", &alone).await;
    for workload in [
        deployment("web").init("setup", &setup_1).image(&web_1).image(&shared_1),
        stateful_set("db").image(&by_digest).image(&shared_1),
        daemon_set("agent").image(&shared_1),
        job("batch").image(&batch_1),
        cron_job("nightly").image(&nightly_1),
        pod("alone").image(&alone_1),
    ] {
        workload.apply(&client, &namespace).await;
    }
    set_pod_status(&client, &namespace, "alone", "Running", &[]).await;

    let program = controller(cluster, &namespace, &target, "").await;
    arrives(&target, "shop/web", "1", &web).await;
    arrives(&target, "shop/setup", "1", &setup).await;
    arrives(&target, "shop/shared", "1", &shared).await;
    arrives(&target, "shop/batch", "1", &batch).await;
    arrives(&target, "shop/nightly", "1", &nightly).await;
    arrives(&target, "shop/alone", "1", &alone).await;
    arrives(&target, "shop/pinned", pinned.digest(), &pinned).await;
    assert_eq!(target.manifest("shop/pinned", "latest").await, None, "a digest reference does not imply latest");

    let answer = forced_pass(&program).await;
    assert_eq!(answer["success"], true, "{answer}");
    let (read, written) = (source.take_requests(), target.take_requests());
    for repository in ["web", "setup", "pinned", "shared", "batch", "nightly", "alone"] {
        let tag_puts = written.iter().filter(|request| {
            request.method == "PUT"
                && request.path.contains(&format!("/shop/{repository}/manifests/"))
                && !request.path.contains("sha256:")
        });
        assert_eq!(tag_puts.count(), 1, "{repository} is pushed once: {written:#?}");
    }
    let blobs: std::collections::BTreeSet<_> =
        read.iter().filter(|request| request.is_blob()).map(|request| &request.path).collect();
    assert_eq!(read.iter().filter(|request| request.is_blob()).count(), blobs.len(), "no blob is read twice");

    let answer = forced_pass(&program).await;
    assert_eq!(answer["triggered"], true);
    assert_eq!(answer["workloadsProcessed"], 6);
    assert_eq!(answer["imagesMirrored"], 9);
    let (read, written) = (source.take_requests(), target.take_requests());
    assert!(!read.iter().chain(&written).any(Request::is_blob), "no blob requests: {read:#?} {written:#?}");
    assert_eq!(count(&read, "HEAD", ""), 6, "one HEAD for each tag: {read:#?}");
    assert_eq!(count(&read, "", "/shop/pinned/"), 0, "a digest needs no source: {read:#?}");
    assert_eq!((read.len(), written.len()), (6, 7), "no other requests: {read:#?} {written:#?}");

    source.delete("shop/web", web.digest()).await;
    let answer = forced_pass(&program).await;
    assert_eq!(answer["success"], false, "{answer}");
    target.assert_has("shop/web", "1", &web).await;

    let newer = index("newer");
    let web_2 = source.push("shop/web", "2", &newer).await;
    let updated = std::time::Instant::now();
    deployment("web").init("setup", &setup_1).image(&web_2).image(&shared_1).apply(&client, &namespace).await;
    arrives(&target, "shop/web", "2", &newer).await;
    eprintln!("a workload's new tag was mirrored {:?} after the update", updated.elapsed());
    target.assert_has("shop/web", "1", &web).await;

    let metrics = program.metrics().await;
    let pushed = format!("{}/shop/shared:1", target.host());
    assert_eq!(metrics.sum("k8s_copycat_registry_push_success_total", &[("image", &pushed)]), 1.0);
    assert_eq!(metrics.sum("k8s_copycat_registry_pull_success_total", &[("image", &shared_1)]), 1.0);
    assert_eq!(program.terminate().await.code, Some(0));
}

#[tokio::test]
async fn counts_pods_with_their_workload_and_uses_their_digests() {
    let cluster = Cluster::shared().await;
    let (client, namespace) = (cluster.admin(), cluster.namespace().await);
    let source = Registry::distribution(Access::Anonymous).await;
    let target = Registry::distribution(Access::Anonymous).await;
    let (app, sidecar) = (index("app"), single("sidecar"));
    let app_1 = source.push("team/app", "1", &app).await;
    let sidecar_1 = source.push("team/sidecar", "1", &sidecar).await;
    target.push("team/app", "1", &app).await;
    let owner = job("migrate").image(&app_1).apply(&client, &namespace).await;
    for name in ["migrate-a", "migrate-b"] {
        pod(name).image(&app_1).container("injected", &sidecar_1).owned_by(&owner).apply(&client, &namespace).await;
        let image_id = format!("{}/team/app@{}", source.host(), app.digest());
        set_pod_status(&client, &namespace, name, "Running", &[("main", &image_id)]).await;
    }
    let program = controller(cluster, &namespace, &target, "").await;
    arrives(&target, "team/sidecar", "1", &sidecar).await;
    let answer = forced_pass(&program).await;
    assert_eq!((&answer["workloadsProcessed"], &answer["imagesMirrored"]), (&1.into(), &2.into()), "{answer}");
    let read = source.take_requests();
    assert_eq!(count(&read, "", "/team/app/"), 0, "the running digest exists already: {read:#?}");
}

#[tokio::test]
async fn supports_basic_and_token_authentication() {
    for (reads, writes) in [(Access::Token, Access::Basic), (Access::Basic, Access::Token)] {
        let source = Registry::distribution(reads).await;
        let target = Registry::distribution(writes).await;
        let image = index("guarded");
        let reference = source.push("team/guarded", "1", &image).await;
        let finished = Program::new(&["sync", "-f", "-"])
            .env("TARGET_KIND", "docker")
            .env("TARGET_REGISTRY", target.host())
            .env("TARGET_USERNAME", crate::support::USER)
            .env("TARGET_PASSWORD", crate::support::PASSWORD)
            .env("SOURCE_PASSWORD", crate::support::PASSWORD)
            .config(&format!(
                "logLevel: debug\nregistryCredentials:\n- {{ registry: '{}', username: {}, passwordEnv: SOURCE_PASSWORD }}\n",
                source.host(),
                crate::support::USER
            ))
            .stdin(&deployment("app").image(&reference).manifest().to_string())
            .run()
            .await
            .assert_code(0);
        target.assert_has("team/guarded", "1", &image).await;
        for output in [&finished.stdout, &finished.stderr] {
            assert!(!output.contains(crate::support::PASSWORD), "the password is printed: {output}");
        }
        if reads == Access::Token {
            assert_eq!(source.take_token_queries().len(), 1, "one token serves all requests");
        }
    }
}

#[tokio::test]
async fn keeps_a_digest_whose_tag_moved() {
    let source = Registry::distribution(Access::Anonymous).await;
    let target = Registry::distribution(Access::Anonymous).await;
    let (old, new) = (index("old"), index("new"));
    source.push("team/app", "1", &old).await;
    source.push("team/app", "1", &new).await;
    // As the original leaves it: without a keep-alive tag, and deleted at the source.
    target.push("team/app", "1", &old).await;
    source.delete("team/app", old.digest()).await;
    let pinned = |name: &str, image: &Image, created: &str| {
        let image = format!("{}/team/app:1@{}", source.host(), image.digest());
        let mut manifest = deployment(name).image(&image).manifest();
        manifest["metadata"]["creationTimestamp"] = created.into();
        manifest
    };
    let manifests =
        list(&[pinned("elder", &old, "2025-01-01T00:00:00Z"), pinned("younger", &new, "2026-01-01T00:00:00Z")]);
    for outcome in ["1 copied, 1 already there", "2 already there"] {
        let finished = Program::new(&["sync", "-f", "-"])
            .env("TARGET_KIND", "docker")
            .env("TARGET_REGISTRY", target.host())
            .stdin(&manifests)
            .run()
            .await
            .assert_code(0);
        assert!(finished.stdout.contains(outcome), "{}", finished.stdout);
        target.assert_has("team/app", "1", &new).await;
        let kept = format!("copycat-{}", old.digest().replace(':', "-"));
        target.assert_has("team/app", &kept, &old).await;
    }
}
