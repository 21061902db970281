//! Only selected platforms of an image are copied, and the copy lists no others.

use demo::{Format, Image, Layer};
use serde_json::{Value, json};

use crate::{
    mirroring::count,
    support::{
        Access, Cluster, Finished, Program, Registry, Request, Running, deployment, eventually, pod, set_pod_status,
    },
};

const PLATFORMS: [&str; 3] = ["amd64", "arm64", "s390x"];

/// An index over three platforms that share a layer.
fn index(content: &str) -> Image {
    index_of(Format::Oci, content)
}

fn index_of(format: Format, content: &str) -> Image {
    let images = PLATFORMS.map(|architecture| {
        let own = Layer::files(&[("app", architecture), ("content", content)]).unwrap();
        Image::single(format, architecture, &[Layer::files(&[("base", "shared")]).unwrap(), own])
    });
    Image::index(format, &images)
}

fn digest_of<'a>(image: &'a Image, platform: &str) -> &'a str {
    let at = PLATFORMS.iter().position(|other| *other == platform).unwrap();
    &image.manifests().nth(at).unwrap().digest
}

async fn sync(target: &Registry, references: &[&str], config: &str) -> Finished {
    let workload = references.iter().fold(deployment("web"), |workload, reference| workload.image(reference));
    let program = Program::new(&["sync", "-f", "-"]).env("TARGET_KIND", "docker");
    let program = program.env("TARGET_REGISTRY", target.host()).stdin(&workload.manifest().to_string());
    program.config(&format!("digestPull: true\n{config}")).run().await
}

/// The platforms of an image that exist with all their blobs.
async fn present_platforms(target: &Registry, repository: &str, image: &Image) -> Vec<&'static str> {
    let mut present = Vec::new();
    for platform in PLATFORMS {
        let Some((_, bytes)) = target.manifest(repository, digest_of(image, platform)).await else { continue };
        let manifest: Value = serde_json::from_slice(&bytes).unwrap();
        for blob in manifest["layers"].as_array().unwrap().iter().chain([&manifest["config"]]) {
            assert!(target.blob(repository, blob["digest"].as_str().unwrap()).await.is_some(), "{platform}: {blob}");
        }
        present.push(platform);
    }
    present
}

/// The platforms in the index of a tag, if the index was generated from `image`.
async fn listed(target: &Registry, repository: &str, image: &Image) -> Option<Vec<String>> {
    let (media_type, bytes) = target.manifest(repository, "1").await?;
    let content: Value = serde_json::from_slice(&bytes).unwrap();
    if content["annotations"]["k8s-copycat.source.digest"] != image.digest() {
        return None;
    }
    assert_eq!(media_type, image.root().media_type);
    let entries = content["manifests"].as_array().unwrap().iter();
    let source: Value = serde_json::from_slice(&image.root().bytes).unwrap();
    let entries = entries.inspect(|entry| assert!(source["manifests"].as_array().unwrap().contains(entry), "{entry}"));
    Some(entries.map(|entry| entry["platform"]["architecture"].as_str().unwrap().to_owned()).collect())
}

fn writes(requests: &[Request]) -> Vec<&Request> {
    requests.iter().filter(|request| !matches!(request.method.as_str(), "GET" | "HEAD")).collect()
}

#[tokio::test]
async fn pushes_the_source_index_to_targets_that_accept_sparse_indexes() {
    let source = Registry::distribution(Access::Anonymous).await;
    let target = Registry::distribution_sparse().await;
    let image = index("sparse");
    let reference = source.push("team/app", "1", &image).await;
    let original = Some((image.root().media_type.to_owned(), image.root().bytes.clone()));
    for (platforms, outcome, expected) in [
        ("amd64", "1 copied", &["amd64"][..]),
        ("amd64", "1 already there", &["amd64"]),
        ("amd64, linux/arm64", "1 copied", &["amd64", "arm64"]),
        ("arm64", "1 already there", &["amd64", "arm64"]),
        ("all", "1 copied", &PLATFORMS),
        ("all", "1 already there", &PLATFORMS),
    ] {
        source.take_requests();
        target.take_requests();
        let finished = sync(&target, &[&reference], &format!("mirrorPlatforms: [{platforms}]\n")).await.assert_code(0);
        assert!(finished.stdout.contains(outcome), "{platforms}: {finished:?}");
        assert_eq!(target.manifest("team/app", "1").await, original, "{platforms}");
        assert_eq!(present_platforms(&target, "team/app", &image).await, expected, "{platforms}");
        assert_eq!(finished.stderr, "", "{platforms}: no warnings");
        if outcome == "1 already there" {
            let (read, written) = (source.take_requests(), target.take_requests());
            assert_eq!((read.len(), count(&read, "HEAD", "")), (1, 1), "{platforms}: {read:#?}");
            assert_eq!(writes(&written), [] as [&Request; 0], "{platforms}");
        }
    }
}

#[tokio::test]
async fn pushes_a_reduced_index_to_other_targets() {
    let source = Registry::distribution(Access::Anonymous).await;
    let image = index("strict");
    let reference = source.push("team/app", "1", &image).await;
    let mut generated = Vec::new();
    for target in [Registry::distribution(Access::Anonymous).await, Registry::crane().await] {
        for (platforms, outcome, expected) in [
            ("amd64", "1 copied", &["amd64"][..]),
            ("amd64", "1 already there", &["amd64"]),
            ("arm64", "1 copied", &["amd64", "arm64"]),
            ("amd64", "1 already there", &["amd64", "arm64"]),
        ] {
            source.take_requests();
            target.take_requests();
            let finished =
                sync(&target, &[&reference], &format!("mirrorPlatforms: [{platforms}]\n")).await.assert_code(0);
            assert!(finished.stdout.contains(outcome), "{platforms}: {finished:?}");
            assert_eq!(listed(&target, "team/app", &image).await.unwrap(), expected, "{platforms}");
            assert_eq!(present_platforms(&target, "team/app", &image).await, expected, "{platforms}");
            if outcome == "1 already there" {
                let (read, written) = (source.take_requests(), target.take_requests());
                assert_eq!((count(&read, "HEAD", ""), count(&read, "GET", ""), read.len()), (1, 1, 2), "{read:#?}");
                assert_eq!(writes(&written), [] as [&Request; 0], "{platforms}");
            } else {
                assert!(finished.stderr.contains("takes no index before all of its images are there"), "{finished:?}");
            }
            generated.push(target.manifest("team/app", "1").await);
        }
        // With all platforms it is the source's index, byte for byte.
        let finished = sync(&target, &[&reference], "").await.assert_code(0);
        assert!(finished.stdout.contains("1 copied"), "{finished:?}");
        target.assert_has("team/app", "1", &image).await;
        let finished = sync(&target, &[&reference], "mirrorPlatforms: [amd64]").await.assert_code(0);
        assert!(finished.stdout.contains("1 already there"), "the complete index has every platform: {finished:?}");
        // A missing child manifest is detected and copied again.
        target.delete("team/app", digest_of(&image, "amd64")).await;
        let finished = sync(&target, &[&reference], "mirrorPlatforms: [amd64]").await.assert_code(0);
        assert!(finished.stdout.contains("1 copied"), "{finished:?}");
        target.assert_has("team/app", "1", &image).await;
    }
    assert_eq!(generated[..4], generated[4..], "the same source results in the same index at every target");
}

#[tokio::test]
async fn copies_attestations_with_their_images() {
    let source = Registry::distribution(Access::Anonymous).await;
    let image = index("attested");
    source.push("team/app", "images", &image).await;
    let mut content: Value = serde_json::from_slice(&image.root().bytes).unwrap();
    let mut attestations = Vec::new();
    for platform in PLATFORMS {
        let attestation = Image::single(Format::Oci, "unknown", &[Layer::files(&[("sbom", platform)]).unwrap()]);
        source.push("team/app", &format!("sbom-{platform}"), &attestation).await;
        content["manifests"].as_array_mut().unwrap().push(json!({
            "mediaType": attestation.root().media_type,
            "digest": attestation.digest(),
            "size": attestation.root().bytes.len(),
            "platform": { "architecture": "unknown", "os": "unknown" },
            "annotations": {
                "vnd.docker.reference.type": "attestation-manifest",
                "vnd.docker.reference.digest": digest_of(&image, platform),
            },
        }));
        attestations.push(attestation);
    }
    source.put_manifest("team/app", "1", image.root().media_type, content.to_string()).await;
    let reference = format!("{}/team/app:1", source.host());
    for target in [Registry::distribution_sparse().await, Registry::crane().await] {
        sync(&target, &[&reference], "mirrorPlatforms: [arm64]").await.assert_code(0);
        assert_eq!(present_platforms(&target, "team/app", &image).await, ["arm64"]);
        let [first, second, third] = attestations.as_slice() else { panic!("{attestations:?}") };
        target.assert_has("team/app", second.digest(), second).await;
        for other in [first, third] {
            assert_eq!(target.manifest("team/app", other.digest()).await, None);
        }
    }
}

#[tokio::test]
async fn writes_a_reduced_index_to_a_layout() {
    let source = Registry::distribution(Access::Anonymous).await;
    let image = index("layout");
    let reference = source.push("team/app", "1", &image).await;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("layout");
    let blob = |digest: &str| path.join("blobs").join(digest.replace(':', "/"));
    for (platforms, outcome, arm64) in
        [("amd64", "1 copied", false), ("amd64", "1 already there", false), ("amd64,arm64", "1 copied", true)]
    {
        let program = Program::new(&["sync", "-f", "-"]).env("TARGET_KIND", "oci-layout").env("TARGET_PATH", &path);
        let program = program.env("MIRROR_PLATFORMS", platforms).env("DIGEST_PULL", "true");
        let program = program.stdin(&deployment("web").image(&reference).manifest().to_string());
        let finished = program.run().await.assert_code(0);
        assert!(finished.stdout.contains(outcome), "{platforms}: {finished:?}");
        assert!(blob(digest_of(&image, "amd64")).is_file());
        assert_eq!(blob(digest_of(&image, "arm64")).is_file(), arm64, "{platforms}");
        assert!(!blob(image.digest()).is_file(), "a layout has no index without its child manifests");
    }
}

#[tokio::test]
async fn keeps_the_digest_of_pinned_images() {
    let source = Registry::distribution(Access::Anonymous).await;
    let image = index("pinned");
    source.push("team/app", "1", &image).await;
    for (tag, place) in [(":1", "1"), ("", image.digest())] {
        let reference = format!("{}/team/app{tag}@{}", source.host(), image.digest());
        for (target, expected) in [
            (Registry::distribution_sparse().await, &["amd64"][..]),
            (Registry::distribution(Access::Anonymous).await, &PLATFORMS),
        ] {
            for outcome in ["1 copied", "1 already there"] {
                let finished = sync(&target, &[&reference], "mirrorPlatforms: [amd64]").await.assert_code(0);
                assert!(finished.stdout.contains(outcome), "{finished:?}");
            }
            let (_, bytes) = target.manifest("team/app", place).await.unwrap();
            assert_eq!(bytes, image.root().bytes);
            assert_eq!(present_platforms(&target, "team/app", &image).await, expected);
        }
        let target = Registry::distribution_sparse().await;
        sync(&target, &[&reference], "mirrorPlatforms: [amd64]").await.assert_code(0);
        let finished = sync(&target, &[&reference], "mirrorPlatforms: [amd64, s390x]").await.assert_code(0);
        assert!(finished.stdout.contains("1 copied"), "{finished:?}");
        assert_eq!(present_platforms(&target, "team/app", &image).await, ["amd64", "s390x"]);
    }
}

#[tokio::test]
async fn reports_missing_platforms_unless_ignored() {
    let source = Registry::distribution(Access::Anonymous).await;
    let image = index("missing");
    let reference = source.push("team/app", "1", &image).await;
    let warning = "does not exist for this platform";
    for (config, expected, warns) in [
        ("mirrorPlatforms: [amd64, ppc64le]", &["amd64"][..], true),
        (
            "mirrorPlatforms: [amd64, ppc64le]\nignoreMissingPlatforms: ['team/app:1\\|linux/ppc64le$']",
            &["amd64"],
            false,
        ),
        ("mirrorPlatforms: [ppc64le]\nignoreMissingPlatforms: ['amd64']", &PLATFORMS, true),
        ("checkNodePlatform: true", &PLATFORMS, false),
        ("mirrorPlatforms: [amd64]\ndigestPullIgnoredTags: ['1']", &PLATFORMS, false),
    ] {
        let target = Registry::crane().await;
        let finished = sync(&target, &[&reference], config).await.assert_code(0);
        assert_eq!(finished.stderr.contains(warning), warns, "{config}: {finished:?}");
        assert_eq!(present_platforms(&target, "team/app", &image).await, expected, "{config}");
    }
}

#[tokio::test]
async fn keeps_the_platforms_of_a_tag_that_may_not_move() {
    let source = Registry::distribution(Access::Anonymous).await;
    let target = Registry::distribution(Access::Anonymous).await;
    let image = index_of(Format::Docker, "fixed");
    let reference = source.push("team/app", "1", &image).await;
    let fixed = |platforms: &str| format!("allowDifferentDigestRepush: false\nmirrorPlatforms: [{platforms}]");
    sync(&target, &[&reference], &fixed("amd64, arm64")).await.assert_code(0);
    sync(&target, &[&reference], &fixed("arm64")).await.assert_code(0);
    let finished = sync(&target, &[&reference], &fixed("s390x")).await.assert_code(1);
    assert!(finished.stdout.contains("allowDifferentDigestRepush is false"), "{finished:?}");
    assert_eq!(listed(&target, "team/app", &image).await.unwrap(), ["amd64", "arm64"]);
}

/// Starts the controller for one namespace and a registry.
async fn controller(cluster: &Cluster, namespace: &str, target: &Registry, more: &str) -> Running {
    let directory = tempfile::tempdir().unwrap();
    let kubeconfig = cluster.kubeconfig(directory.path(), cluster.admin_token());
    let config = format!(
        "targetKind: docker\ndocker: {{ registry: '{}' }}\nincludeNamespaces: [{namespace}]\ndigestPull: true\n{more}",
        target.host()
    );
    let mut program = Program::controller(&kubeconfig).config(&config).start();
    program.ready().await;
    program
}

async fn pass(program: &Running) {
    let (_, body) = program.post("/force-reconcile").await;
    assert!(body.contains(r#""success":true"#), "{body}");
}

#[tokio::test]
async fn a_pass_without_changes_costs_one_request_per_side() {
    let cluster = Cluster::shared().await;
    let source = Registry::distribution(Access::Anonymous).await;
    let images = ["one", "two"].map(|name| (name, index(name)));
    for target in [
        Registry::distribution_sparse().await,
        Registry::distribution(Access::Anonymous).await,
        Registry::crane().await,
    ] {
        let namespace = cluster.namespace().await;
        for (name, image) in &images {
            let reference = source.push(&format!("team/{name}"), "1", image).await;
            deployment(name).image(&reference).apply(&cluster.admin(), &namespace).await;
        }
        let one_by_one = "mirrorPlatforms: [amd64]\nwatchResources: [deployments]\nmaxConcurrentReconciles: 1\n";
        let program = controller(cluster, &namespace, &target, one_by_one).await;
        pass(&program).await;
        let puts = |requests: &[Request], name: &str| count(requests, "PUT", &format!("/team/{name}/manifests/1"));
        let written = target.take_requests();
        assert!(
            puts(&written, "one") + puts(&written, "two") <= 3,
            "what a target rejects is tried once: {written:#?}"
        );
        for _ in 0..2 {
            source.take_requests();
            target.take_requests();
            pass(&program).await;
            let (read, written) = (source.take_requests(), target.take_requests());
            for requests in [read, written] {
                assert_eq!((count(&requests, "HEAD", "/manifests/1"), requests.len()), (2, 2), "{requests:#?}");
            }
        }
        program.terminate().await.assert_code(0);
    }
}

fn node(name: &str, architecture: &str) -> Value {
    let labels = json!({ "kubernetes.io/os": "linux", "kubernetes.io/arch": architecture });
    json!({ "apiVersion": "v1", "kind": "Node", "metadata": { "name": name, "labels": labels } })
}

/// A Pod that is scheduled on a node.
fn pod_on(node: &str, name: &str, image: &str, namespace: &str) -> Value {
    let mut manifest = pod(name).image(image).manifest_in(namespace);
    manifest["spec"]["nodeName"] = node.into();
    manifest
}

#[tokio::test]
async fn copies_the_platforms_of_the_nodes() {
    // A separate cluster, because nodes have no namespace.
    let cluster = Cluster::start().await;
    let (client, namespace) = (cluster.admin(), cluster.namespace().await);
    let source = Registry::distribution(Access::Anonymous).await;
    let target = Registry::crane().await;
    let (app, other) = (index("app"), index("other"));
    let app_1 = source.push("team/app", "1", &app).await;
    let other_1 = source.push("team/other", "1", &other).await;
    for node in [node("node-a", "amd64"), node("node-b", "arm64")] {
        cluster.apply(&node.to_string()).await;
    }
    cluster.apply(&pod_on("node-a", "first", &app_1, &namespace).to_string()).await;
    deployment("scaled-to-zero").image(&other_1).apply(&client, &namespace).await;
    let program = controller(&cluster, &namespace, &target, "checkNodePlatform: true\n").await;
    let arrive = async |repository: &str, image: &Image, platforms: &[&str]| {
        eventually(&format!("{platforms:?} of {repository}"), || async {
            let listed = listed(&target, repository, image).await?;
            (listed == platforms).then_some(())
        })
        .await;
        assert_eq!(present_platforms(&target, repository, image).await, platforms);
    };
    arrive("team/app", &app, &["amd64"]).await;
    arrive("team/other", &other, &["amd64", "arm64"]).await;
    cluster.apply(&pod_on("node-b", "second", &app_1, &namespace).to_string()).await;
    arrive("team/app", &app, &["amd64", "arm64"]).await;

    // Pods that pulled the generated index run the image that it was generated from.
    let (_, generated) = target.manifest("team/app", "1").await.unwrap();
    let image_id = format!("{}/team/app@{}", source.host(), k8s_copycat::model::Digest::sha256(&generated));
    for name in ["first", "second"] {
        set_pod_status(&client, &namespace, name, "Running", &[("main", &image_id)]).await;
    }
    eventually("the running digest is known", || async {
        source.take_requests();
        pass(&program).await;
        source.take_requests().iter().all(|request| request.path.contains("/team/other/")).then_some(())
    })
    .await;
    program.terminate().await.assert_code(0);
    source.delete("team/app", app.digest()).await;
    let program = controller(&cluster, &namespace, &target, "checkNodePlatform: true\n").await;
    pass(&program).await;
    assert_eq!(
        count(&source.take_requests(), "", "/team/app/"),
        0,
        "the running digest exists at the target; the source was deleted"
    );
    source.push("team/app", "1", &app).await;
    cluster.apply(&node("node-c", "s390x").to_string()).await;
    arrive_whole(&target, "team/other", &other).await;
    cluster.apply(&pod_on("node-c", "third", &app_1, &namespace).to_string()).await;
    set_pod_status(&client, &namespace, "third", "Running", &[("main", &image_id)]).await;
    arrive_whole(&target, "team/app", &app).await;
    pass(&program).await;
    program.terminate().await.assert_code(0);

    // `sync` selects the same platforms.
    let target = Registry::crane().await;
    cluster.apply(&pod_on("node-a", "lone", &source.push("team/lone", "1", &app).await, &namespace).to_string()).await;
    let directory = tempfile::tempdir().unwrap();
    let finished = Program::new(&["sync"])
        .env("KUBECONFIG", cluster.kubeconfig(directory.path(), cluster.admin_token()))
        .env("TARGET_KIND", "docker")
        .env("TARGET_REGISTRY", target.host())
        .config(&format!("digestPull: true\ncheckNodePlatform: true\nincludeNamespaces: [{namespace}]\n"))
        .run()
        .await;
    assert_eq!(listed(&target, "team/lone", &app).await.unwrap(), ["amd64"], "{finished:?}");
}

async fn arrive_whole(target: &Registry, repository: &str, image: &Image) {
    eventually(&format!("all of {repository}"), || async {
        let (_, bytes) = target.manifest(repository, "1").await?;
        (bytes == image.root().bytes).then_some(())
    })
    .await;
    target.assert_has(repository, "1", image).await;
}
