//! Failures are reported with their cause, followed by a cooldown, and never reported as success.

use std::time::Duration;

use crate::{
    mirroring::{index, single},
    support::{Access, Cluster, Fault, Finished, Program, Registry, Request, deployment, eventually, list},
};

async fn sync(target: &Registry, image: &str, more: &str) -> Finished {
    Program::new(&["sync", "-f", "-"])
        .env("TARGET_KIND", "docker")
        .env("TARGET_REGISTRY", target.host())
        .config(more)
        .stdin(&deployment("app").image(image).manifest().to_string())
        .run()
        .await
}

#[tokio::test]
async fn reports_errors_of_the_source() {
    let target = Registry::crane().await;
    let image = index("app");
    for (status, word) in [(401, "401"), (403, "403"), (404, "not found"), (429, "429"), (500, "500")] {
        let source = Registry::distribution(Access::Anonymous).await;
        let reference = source.push("team/app", "1", &image).await;
        source.inject(1000, Request::is_manifest, Fault::Answer(status, vec![]));
        let finished = sync(&target, &reference, "").await.assert_code(1);
        assert!(finished.stdout.contains(word), "{status}: {}", finished.stdout);
        assert!(finished.stdout.contains(&reference), "{status}: {}", finished.stdout);
        assert_eq!(target.manifest("team/app", "1").await, None, "{status}");
    }
}

#[tokio::test]
async fn reports_errors_of_the_target() {
    let source = Registry::distribution(Access::Anonymous).await;
    let image = index("app");
    let reference = source.push("team/app", "1", &image).await;
    for (status, word) in [(401, "401"), (403, "403"), (429, "429"), (500, "500")] {
        let target = Registry::crane().await;
        target.inject(
            1000,
            |request| request.method == "PUT" || request.method == "POST",
            Fault::Answer(status, vec![]),
        );
        let finished = sync(&target, &reference, "").await.assert_code(1);
        assert!(finished.stdout.contains(word), "{status}: {}", finished.stdout);
        assert_eq!(target.manifest("team/app", "1").await, None, "{status}");
    }
}

#[tokio::test]
async fn reports_unreachable_and_silent_registries() {
    let target = Registry::crane().await;
    let finished = sync(&target, "127.0.0.1:9/team/app:1", "").await.assert_code(1);
    assert!(finished.stdout.contains("127.0.0.1:9"), "{}", finished.stdout);

    let source = Registry::distribution(Access::Anonymous).await;
    let reference = source.push("team/app", "1", &single("slow")).await;
    source.inject(1000, Request::is_manifest, Fault::Delay(Duration::from_secs(600)));
    let finished = sync(&target, &reference, "requestTimeout: 1").await.assert_code(1);
    assert!(finished.stdout.contains("1 s") || finished.stdout.contains("1s"), "{}", finished.stdout);
    assert_eq!(target.manifest("team/app", "1").await, None);
}

#[tokio::test]
async fn recovers_from_transient_faults() {
    let image = Image::large();
    for fault in [
        Fault::Cut,
        Fault::Flip,
        Fault::Stall,
        Fault::Answer(500, vec![]),
        Fault::Answer(429, vec![("retry-after", "1")]),
    ] {
        let source = Registry::distribution(Access::Anonymous).await;
        let target = Registry::distribution(Access::Anonymous).await;
        let reference = source.push("team/app", "1", &image.0).await;
        source.inject(2, Request::is_blob, fault.clone());
        let finished = sync(&target, &reference, "requestTimeout: 2").await;
        assert_eq!(finished.code, Some(0), "{fault:?}: {} {}", finished.stdout, finished.stderr);
        target.assert_has("team/app", "1", &image.0).await;
    }
}

/// An image with a large layer, so that connections break within it.
struct Image(demo::Image);

impl Image {
    fn large() -> Self {
        let layer = demo::Layer::random(7, 3 << 20).unwrap();
        Self(demo::Image::single(demo::Format::Oci, "amd64", &[layer]))
    }
}

#[tokio::test]
async fn a_push_that_was_not_stored_fails() {
    let source = Registry::distribution(Access::Anonymous).await;
    let target = Registry::crane().await;
    let reference = source.push("team/app", "1", &single("lost")).await;
    // It confirms the manifest without storing it.
    target.inject(1000, |request| request.method == "PUT" && request.is_manifest(), Fault::Answer(201, vec![]));
    let finished = sync(&target, &reference, "").await.assert_code(1);
    assert!(finished.stdout.contains("after the push"), "{}", finished.stdout);
}

#[tokio::test]
async fn keeps_a_failed_image_in_cooldown_until_a_reset() {
    let cluster = Cluster::shared().await;
    let (client, namespace) = (cluster.admin(), cluster.namespace().await);
    let source = Registry::distribution(Access::Anonymous).await;
    let target = Registry::crane().await;
    let missing = format!("{}/team/missing:1", source.host());
    deployment("app").image(&missing).apply(&client, &namespace).await;
    let directory = tempfile::tempdir().unwrap();
    let kubeconfig = cluster.kubeconfig(directory.path(), cluster.admin_token());
    let config =
        format!("targetKind: docker\ndocker: {{ registry: '{}' }}\nincludeNamespaces: [{namespace}]\n", target.host());
    let mut program = Program::controller(&kubeconfig).config(&config).start();
    program.ready().await;
    eventually("the failure is counted", || async {
        let failed = program.metrics().await.sum("k8s_copycat_registry_pull_error_total", &[("image", &missing)]);
        (failed == 1.0).then_some(())
    })
    .await;
    source.take_requests();
    let (_, body) = program.get("/force-reconcile").await;
    assert!(body.contains(r#""triggered":true,"success":false"#), "{body}");
    assert!(body.contains("force reconcile failed: deployment ") && body.contains("cooldown"), "{body}");
    assert_eq!(source.take_requests(), [], "no request in a cooldown");

    source.push("team/missing", "1", &single("found")).await;
    let (_, body) = program.get("/reset-cooldown").await;
    assert_eq!(body, "{\"reset\":true,\"clearedTargets\":1,\"message\":\"failure cooldown reset\"}\n");
    eventually("it is mirrored", || target.manifest("team/missing", "1")).await;
    let (_, body) = program.get("/reset-cooldown").await;
    assert_eq!(body, "{\"reset\":false,\"clearedTargets\":0,\"message\":\"no cooldown entries to reset\"}\n");
}

#[tokio::test]
async fn mirrors_other_images_while_a_layer_trickles() {
    let layer = |seed, size| demo::Layer::random(seed, size).unwrap();
    let image = |layers: &[demo::Layer]| demo::Image::single(demo::Format::Oci, "amd64", layers);
    let shared = layer(1, 200_000);
    let (bad, good) =
        (Registry::distribution(Access::Anonymous).await, Registry::distribution(Access::Anonymous).await);
    let target = Registry::distribution(Access::Anonymous).await;
    let trickling = bad.push("team/trickling", "1", &image(&[shared.clone(), layer(2, 1_000)])).await;
    bad.inject(1000, |request| request.method == "GET" && request.is_blob(), Fault::Trickle);
    let mut manifests = vec![deployment("a-trickling").image(&trickling).manifest()];
    let mut images = Vec::new();
    // Some of them have the layer that trickles, from another source.
    for number in 0..8_u64 {
        let own = layer(10 + number, 1_000);
        let image = if number < 4 { image(&[shared.clone(), own]) } else { image(&[own]) };
        let reference = good.push(&format!("team/app{number}"), "1", &image).await;
        manifests.push(deployment(&format!("b-{number}")).image(&reference).manifest());
        images.push(image);
    }
    // Two concurrent copies.
    let config = "requestTimeout: 2\nregistryRetryAttempts: 3\nwatchResources: [deployments]\n\
                  maxConcurrentReconciles: 2\n";
    let program = Program::new(&["sync", "-f", "-"])
        .env("TARGET_KIND", "docker")
        .env("TARGET_REGISTRY", target.host())
        .config(config)
        .stdin(&list(&manifests));
    let finished = program.run_until(tokio::time::sleep(Duration::from_secs(120))).await;
    let finished = finished.expect("it still waits for the trickling layer").assert_code(1);
    assert!(finished.stdout.contains("too slowly"), "{}", finished.stdout);
    for (number, image) in images.iter().enumerate() {
        target.assert_has(&format!("team/app{number}"), "1", image).await;
    }
    assert_eq!(target.manifest("team/trickling", "1").await, None);
}

#[tokio::test]
async fn repairs_an_incomplete_image_at_the_target() {
    let source = Registry::distribution(Access::Anonymous).await;
    let image = index("half");
    let reference = source.push("team/app", "1", &image).await;
    for more in ["", "digestPull: true\nmirrorPlatforms: [amd64, arm64]\n"] {
        let target = Registry::distribution(Access::Anonymous).await;
        sync(&target, &reference, more).await.assert_code(0);
        target.empty_links("team/app");
        let finished = sync(&target, &reference, "allowDifferentDigestRepush: false").await.assert_code(1);
        assert!(
            finished.stdout.contains("500"),
            "the existing content is unknown, and the tag may not be moved: {}",
            finished.stdout
        );
        sync(&target, &reference, more).await.assert_code(0);
        target.assert_has("team/app", "1", &image).await;
    }
}

#[tokio::test]
async fn does_not_pull_while_the_target_is_down() {
    let source = Registry::distribution(Access::Anonymous).await;
    let reference = source.push("team/app", "1", &single("down")).await;
    let target = Registry::crane().await;
    target.inject(1000, |_| true, Fault::Answer(500, vec![]));
    source.take_requests();
    let finished = sync(&target, &reference, "registryRetryAttempts: 2").await.assert_code(1);
    assert!(finished.stdout.contains("500"), "{}", finished.stdout);
    let requests = source.take_requests();
    assert!(
        requests.iter().all(|request| request.method == "HEAD"),
        "only pulled manifests count as pulls: {requests:?}"
    );
}
