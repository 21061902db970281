//! What `run` does about damage that its verifications find.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};
use std::time::Duration;

use demo::{Format, Image, Layer};
use sha2::{Digest as _, Sha256};

use crate::{
    mirroring::{arrives, index},
    support::{Access, Cluster, Fault, Registry, Request, deployment, eventually},
    verifying_continually::{OFTEN, controller, docker, image, is_verified, own_layer},
};

fn with_layers(names: &[&str]) -> Image {
    let layers: Vec<Layer> = names.iter().map(|name| Layer::files(&[("layer", *name)]).unwrap()).collect();
    Image::single(Format::Oci, "amd64", &layers)
}

fn layer(image: &Image, number: usize) -> String {
    let content: serde_json::Value = serde_json::from_slice(&image.root().bytes).unwrap();
    content["layers"][number]["digest"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_repair_tries_every_part_and_says_how_many_it_mended() {
    let cluster = Cluster::shared().await;
    let namespace = cluster.namespace().await;
    let source = Registry::distribution(Access::Anonymous).await;
    let target = Registry::distribution(Access::Anonymous).await;
    let app = with_layers(&["kept by the registry", "can be mended", "intact"]);
    let reference = source.push("team/parts", "1", &app).await;
    deployment("app").image(&reference).apply(&cluster.admin(), &namespace).await;
    let off = controller(cluster, &namespace, &docker(&target), "verifyHours: 0\n").await;
    arrives(&target, "team/parts", "1", &app).await;
    drop(off);

    let (kept, mendable) = (layer(&app, 0), layer(&app, 1));
    target.damage_blob(&kept, |bytes| bytes.truncate(bytes.len() / 2));
    target.remove_blob(&mendable);
    // The one that fails is the first to end.
    let slow = mendable.clone();
    source.inject(
        usize::MAX,
        move |request| request.method == "GET" && request.path.contains(&slow),
        Fault::Delay(Duration::from_secs(2)),
    );
    let program = controller(cluster, &namespace, &docker(&target), OFTEN).await;
    eventually("the other part is mended", || target.blob("team/parts", &mendable)).await;
    let failed = eventually("the failure tells both", || async {
        let image = image(&program, "text=team/parts").await;
        image["reason"].as_str().is_some_and(|reason| reason.contains("did not replace")).then_some(image)
    })
    .await;
    assert_eq!(failed["state"], "stale", "{failed}");
    let reason = failed["reason"].as_str().unwrap();
    assert!(reason.contains(&kept) && reason.contains("1 damaged part could not be copied again"), "{reason}");
}

/// Reads of this manifest get other bytes until it is pushed again, as from a registry that replaces what it has.
fn is_corrupt_until_replaced(registry: &Registry, repository: &str, digest: &str) -> Arc<AtomicBool> {
    let is_replaced = Arc::new(AtomicBool::new(false));
    let (prefix, digest) = (format!("/v2/{repository}/manifests/"), digest.to_owned());
    let replaced = Arc::clone(&is_replaced);
    let is_read_corrupt = move |request: &Request| {
        let Some(reference) = request.path.strip_prefix(&prefix) else { return false };
        if request.method == "PUT" && (reference == "1" || reference == digest) {
            replaced.store(true, Ordering::SeqCst);
        }
        request.method == "GET" && (reference == "1" || reference == digest) && !replaced.load(Ordering::SeqCst)
    };
    registry.inject(usize::MAX, is_read_corrupt, Fault::Flip);
    is_replaced
}

#[tokio::test]
async fn a_corrupt_index_is_mended_although_only_some_platforms_are_mirrored() {
    let cluster = Cluster::shared().await;
    for target in [Registry::distribution_sparse().await, Registry::distribution(Access::Anonymous).await] {
        let namespace = cluster.namespace().await;
        let source = Registry::distribution(Access::Anonymous).await;
        let app = index("one platform of a corrupt index");
        let reference = source.push("team/platform", "1", &app).await;
        deployment("app").image(&reference).apply(&cluster.admin(), &namespace).await;
        let platforms = "digestPull: true\nmirrorPlatforms: [amd64]\n";
        let off = format!("{platforms}verifyHours: 0\n");
        let program = controller(cluster, &namespace, &docker(&target), &off).await;
        let (_, root) = eventually("the index arrives", || target.manifest("team/platform", "1")).await;
        drop(program);

        let digest = format!("sha256:{}", hex::encode(Sha256::digest(&root)));
        let is_replaced = is_corrupt_until_replaced(&target, "team/platform", &digest);
        let program = controller(cluster, &namespace, &docker(&target), &format!("{platforms}{OFTEN}")).await;
        is_verified(&program, "text=team/platform", "whole").await;
        assert!(is_replaced.load(Ordering::SeqCst));
        assert_eq!(image(&program, "text=team/platform").await["state"], "mirrored");
        assert_eq!(target.manifest("team/platform", "1").await.unwrap().1, root);
    }
}

#[tokio::test]
async fn a_corrupt_manifest_that_the_registry_keeps_is_told() {
    let cluster = Cluster::shared().await;
    let namespace = cluster.namespace().await;
    let source = Registry::distribution(Access::Anonymous).await;
    let target = Registry::distribution(Access::Anonymous).await;
    let app = index("a corrupt manifest that is kept");
    let reference = source.push("team/manifest", "1", &app).await;
    deployment("app").image(&reference).apply(&cluster.admin(), &namespace).await;
    let program = controller(cluster, &namespace, &docker(&target), OFTEN).await;
    is_verified(&program, "text=team/manifest", "whole").await;
    target.damage_blob(app.digest(), |bytes| flip_a_digest(bytes));
    let failed = eventually("the registry is said not to replace it", || async {
        let image = image(&program, "text=team/manifest").await;
        image["reason"].as_str().is_some_and(|reason| reason.contains("did not replace")).then_some(image)
    })
    .await;
    assert_eq!((&failed["state"], &failed["verification"]["result"]), (&"stale".into(), &"corrupt".into()), "{failed}");
    assert!(failed["reason"].as_str().unwrap().contains(app.digest()), "{failed}");
    target.remove_blob(app.digest());
    assert_eq!(program.post("/reset-cooldown").await.0, 200);
    eventually("it is mended once the manifest is deleted", || async {
        let image = image(&program, "text=team/manifest").await;
        (image["verification"]["result"] == "whole" && image["state"] == "mirrored").then_some(())
    })
    .await;
    target.assert_has("team/manifest", "1", &app).await;
}

#[tokio::test]
async fn damage_behind_a_moved_or_deleted_tag_is_mended_by_digest() {
    let cluster = Cluster::shared().await;
    let namespace = cluster.namespace().await;
    let source = Registry::distribution(Access::Anonymous).await;
    let target = Registry::distribution(Access::Anonymous).await;
    let names = ["moved", "deleted", "gone"];
    let images: Vec<Image> = names.iter().map(|name| index(&format!("damage behind a tag: {name}"))).collect();
    for (name, image) in names.iter().zip(&images) {
        let reference = source.push(&format!("team/behind-{name}"), "1", image).await;
        deployment(name).image(&reference).apply(&cluster.admin(), &namespace).await;
    }
    let keep = "allowDifferentDigestRepush: false\n";
    let program = controller(cluster, &namespace, &docker(&target), &format!("{keep}verifyHours: 0\n")).await;
    for (name, image) in names.iter().zip(&images) {
        arrives(&target, &format!("team/behind-{name}"), "1", image).await;
    }
    drop(program);
    source.push("team/behind-moved", "1", &index("the tag has moved on")).await;
    source.delete("team/behind-deleted", "1").await;
    // The manifest too, but not what it names.
    source.delete("team/behind-gone", images[2].digest()).await;
    for image in &images {
        target.remove_blob(&own_layer(image));
    }
    let program = controller(cluster, &namespace, &docker(&target), &format!("{keep}{OFTEN}")).await;
    for (name, image) in names.iter().zip(&images) {
        let repository = format!("team/behind-{name}");
        let lost = own_layer(image);
        eventually(&format!("{name} is mended"), || target.blob(&repository, &lost)).await;
        is_verified(&program, &format!("text={repository}"), "whole").await;
        target.assert_has(&repository, "1", image).await;
    }
}

#[tokio::test]
async fn known_damage_stays_known_while_its_target_does_not_answer() {
    let cluster = Cluster::shared().await;
    let namespace = cluster.namespace().await;
    let source = Registry::distribution(Access::Anonymous).await;
    let target = Registry::distribution(Access::Anonymous).await;
    let app = index("damage that can not be looked at again");
    let reference = source.push("team/silent", "1", &app).await;
    deployment("app").image(&reference).apply(&cluster.admin(), &namespace).await;
    let once = format!("{OFTEN}registryRetryAttempts: 1\n");
    let program = controller(cluster, &namespace, &docker(&target), &once).await;
    is_verified(&program, "text=team/silent", "whole").await;
    let lost = own_layer(&app);
    source.remove_blob(&lost);
    target.remove_blob(&lost);
    let known = is_verified(&program, "text=team/silent", "incomplete").await;
    target.inject(usize::MAX, |request| request.method == "HEAD" && request.is_blob(), Fault::Answer(500, Vec::new()));
    let unanswered = eventually("the silence is told", || async {
        let image = image(&program, "text=team/silent").await;
        image["verification"]["unanswered"]["reason"].is_string().then_some(image)
    })
    .await;
    assert_eq!(unanswered["verification"]["result"], "incomplete", "{unanswered}");
    assert!(unanswered["verification"]["reason"].as_str().unwrap().contains(&lost), "{unanswered}");
    assert_eq!(unanswered["state"], "stale", "{unanswered}");
    assert!(unanswered["verification"]["at"].as_str() >= known["verification"]["at"].as_str());
    assert!(unanswered["verification"]["at"].as_str() <= unanswered["verification"]["unanswered"]["at"].as_str());
    assert_eq!(program.metrics().await.sum("k8s_copycat_verified_images", &[("result", "incomplete")]), 1.0);
}

#[tokio::test]
async fn known_damage_survives_a_recreated_workload_and_the_end_of_verifications() {
    let cluster = Cluster::shared().await;
    let namespace = cluster.namespace().await;
    let source = Registry::distribution(Access::Anonymous).await;
    let target = Registry::distribution(Access::Anonymous).await;
    let (app, other) = (index("damage that is known for long"), index("whole beside the damage"));
    let workload = deployment("app").image(&source.push("team/known", "1", &app).await);
    workload.apply(&cluster.admin(), &namespace).await;
    let reference = source.push("team/beside", "1", &other).await;
    deployment("other").image(&reference).apply(&cluster.admin(), &namespace).await;
    let program = controller(cluster, &namespace, &docker(&target), OFTEN).await;
    is_verified(&program, "text=team/known", "whole").await;
    is_verified(&program, "text=team/beside", "whole").await;
    let lost = own_layer(&app);
    source.remove_blob(&lost);
    target.remove_blob(&lost);
    is_verified(&program, "text=team/known", "incomplete").await;

    // From now on no round finds anything within days.
    let reload = |more: &str| {
        let config = format!("{}\nincludeNamespaces: [{namespace}]\n{more}", docker(&target));
        program.rewrite_config(&config);
    };
    reload("verifyHours: 1000\n");
    program.logged("the reload", |log| log.contains("configuration reloaded")).await;
    let counted = async |result: &str, expected: f64| {
        eventually(&format!("{expected} {result}"), || async {
            let counted = program.metrics().await.sum("k8s_copycat_verified_images", &[("result", result)]);
            (counted == expected).then_some(())
        })
        .await;
    };
    counted("incomplete", 1.0).await;
    workload.delete(&cluster.admin(), &namespace).await;
    counted("incomplete", 0.0).await;
    workload.apply(&cluster.admin(), &namespace).await;
    counted("incomplete", 1.0).await;

    assert!(program.metrics().await.sum("k8s_copycat_oldest_verification_timestamp_seconds", &[]) > 0.0);
    reload("verifyHours: 0\n");
    counted("none", 1.0).await;
    counted("incomplete", 1.0).await;
    let metrics = program.metrics().await;
    assert_eq!(metrics.sum("k8s_copycat_oldest_verification_timestamp_seconds", &[]), 0.0);
    assert_eq!(metrics.sum("k8s_copycat_verified_images", &[("result", "whole")]), 0.0);
    // The copy that mends it is the last that looks at its parts.
    source.push("team/known", "1", &app).await;
    assert_eq!(program.post("/reset-cooldown").await.0, 200);
    eventually("it is mended", || target.blob("team/known", &lost)).await;
    counted("incomplete", 0.0).await;
    target.assert_has("team/known", "1", &app).await;
}

#[tokio::test]
async fn a_silent_target_does_not_delay_the_verifications_at_another() {
    let cluster = Cluster::shared().await;
    let namespace = cluster.namespace().await;
    let source = Registry::distribution(Access::Anonymous).await;
    let (silent, other) =
        (Registry::distribution(Access::Anonymous).await, Registry::distribution(Access::Anonymous).await);
    let app = index("two targets, one of them silent");
    let reference = source.push("team/both", "1", &app).await;
    deployment("app").image(&reference).apply(&cluster.admin(), &namespace).await;
    let target = |name: &str, registry: &Registry| {
        format!("- {{ name: {name}, kind: docker, registry: '{}' }}\n", registry.host())
    };
    let targets = format!("targets:\n{}{}", target("silent", &silent), target("other", &other));
    let program = controller(cluster, &namespace, &targets, OFTEN).await;
    is_verified(&program, "target=silent", "whole").await;
    is_verified(&program, "target=other", "whole").await;

    silent.inject(usize::MAX, |request| request.method == "GET", Fault::Delay(Duration::from_secs(3600)));
    silent.take_requests();
    eventually("a verification waits for the silent target", || async {
        silent.take_requests().iter().any(|request| request.method == "GET").then_some(())
    })
    .await;
    let lost = own_layer(&app);
    other.remove_blob(&lost);
    eventually("the other target is mended", || other.blob("team/both", &lost)).await;
    is_verified(&program, "target=other", "whole").await;
    other.assert_has("team/both", "1", &app).await;
}

#[tokio::test]
async fn damage_that_a_copy_finds_is_verified_at_once_and_not_repaired_by_each_pass() {
    let cluster = Cluster::shared().await;
    let namespace = cluster.namespace().await;
    let source = Registry::distribution(Access::Anonymous).await;
    let target = Registry::distribution_sparse().await;
    let app = index("damage that a copy finds");
    let reference = source.push("team/found", "1", &app).await;
    deployment("app").image(&reference).apply(&cluster.admin(), &namespace).await;
    let platforms = "digestPull: true\nmirrorPlatforms: [amd64]\n";
    let off = format!("{platforms}verifyHours: 0\n");
    let program = controller(cluster, &namespace, &docker(&target), &off).await;
    eventually("the index arrives", || target.manifest("team/found", "1")).await;
    drop(program);

    target.damage_blob(app.digest(), |bytes| flip_a_digest(bytes));
    let rarely = format!("{platforms}verifyHours: 1000\n");
    let program = controller(cluster, &namespace, &docker(&target), &rarely).await;
    let found = is_verified(&program, "text=team/found", "corrupt").await;
    assert_eq!(found["state"], "stale", "{found}");
    eventually("the registry is said not to replace it", || async {
        let image = image(&program, "text=team/found").await;
        image["reason"].as_str().is_some_and(|reason| reason.contains("did not replace")).then_some(())
    })
    .await;
    target.take_requests();
    for _ in 0..2 {
        assert_eq!(program.post("/force-reconcile").await.0, 200);
    }
    let requests = target.take_requests();
    assert!(requests.iter().any(|request| request.method == "HEAD"), "the tag is looked up: {requests:#?}");
    let writes: Vec<_> = requests.iter().filter(|request| !matches!(&*request.method, "GET" | "HEAD")).collect();
    assert_eq!(writes, [] as [&Request; 0], "the next repair is in a quarter of an hour");
}

/// Changes the digest of a child in an index: it is still JSON, so that the registry serves it.
fn flip_a_digest(bytes: &mut [u8]) {
    let start = bytes.windows(7).position(|part| part == b"sha256:").unwrap() + 7;
    bytes[start] = if bytes[start] == b'0' { b'1' } else { b'0' };
}
