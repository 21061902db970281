//! `sources:`: what a registry can't give any more comes from elsewhere, by digest.

use std::path::Path;

use demo::Image;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::{
    mirroring::{arrives, index, single},
    referrers::{REPOSITORY, Signed, registry},
    support::{
        Access, Cluster, Fault, Finished, Program, Registry, Running, deployment, eventually, list, pod, set_pod_status,
    },
};

async fn distribution() -> Registry {
    Registry::distribution(Access::Anonymous).await
}

/// The same image by its digest.
fn pinned(reference: &str, image: &Image) -> String {
    format!("{}@{}", reference.rsplit_once(':').unwrap().0, image.digest())
}

/// A layout that `sync` wrote.
async fn layout(image: &str) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let manifests = list(&[deployment("web").image(image).manifest()]);
    let sync = Program::new(&["sync", "-f", "-"]).stdin(&manifests);
    sync.env("TARGET_KIND", "oci-layout").env("TARGET_PATH", folder.path()).run().await.assert_code(0);
    folder
}

fn tar(folder: &Path, file: &Path) {
    let status = std::process::Command::new("tar").arg("-cf").arg(file).arg("-C").arg(folder).arg(".").status();
    assert!(status.unwrap().success());
}

/// The outcomes by image, and the run.
async fn sync(target: &Registry, images: &[&String], sources: &str) -> (Vec<Value>, Finished) {
    let workload = images.iter().fold(deployment("web"), |workload, image| workload.image(image));
    let config = format!("targetKind: docker\ndocker: {{ registry: '{}' }}\nsources:\n{sources}", target.host());
    let program = Program::new(&["sync", "-o", "json", "-f", "-"]).stdin(&list(&[workload.manifest()]));
    let finished = program.config(&config).run().await;
    let lines: Vec<Value> = finished.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let outcomes = images.iter().map(|image| lines.iter().find(|line| line["image"] == ***image).unwrap().clone());
    (outcomes.collect(), finished)
}

#[tokio::test]
async fn images_arrive_from_other_places_when_their_registry_is_gone() {
    let (source, mirror, target) = (distribution().await, distribution().await, distribution().await);
    let images = ["mirrored", "carried", "packed", "nowhere"].map(|name| (name, index(&format!("rescue {name}"))));
    let mut pins = Vec::new();
    for (name, image) in &images {
        pins.push(pinned(&source.push(&format!("team/{name}"), "1", image).await, image));
    }
    mirror.push("hub/mirrored", "another-tag", &images[0].1).await;
    let carried = layout(&pins[1]).await;
    let packed = layout(&pins[2]).await;
    let files = tempfile::tempdir().unwrap();
    let tar_file = files.path().join("layout.tar");
    tar(packed.path(), &tar_file);
    let host = source.host();
    drop(source);

    let sources = format!(
        "- {{ registry: {}/hub, prefix: '{host}/team' }}\n- {{ layout: {} }}\n- {{ layout: {} }}\n",
        mirror.host(),
        carried.path().display(),
        tar_file.display()
    );
    let (outcomes, finished) = sync(&target, &pins.iter().collect::<Vec<_>>(), &sources).await;
    finished.assert_code(1);
    let from = [
        format!("registry {}/hub for {host}/team", mirror.host()),
        format!("layout {}", carried.path().display()),
        format!("layout {}", tar_file.display()),
    ];
    for ((outcome, from), (name, image)) in outcomes.iter().zip(&from).zip(&images) {
        assert_eq!((&outcome["outcome"], &outcome["copiedFrom"]), (&json!("copied"), &json!([from])), "{name}");
        target.assert_has(&format!("team/{name}"), image.digest(), image).await;
    }
    let reason = outcomes[3]["reason"].as_str().unwrap();
    for part in from.iter().map(String::as_str).chain([host.as_str(), "not found"]) {
        assert!(reason.contains(part), "{part}: {reason}");
    }
    assert!(target.manifest("team/nowhere", images[3].1.digest()).await.is_none());
    let asked = mirror.take_requests();
    assert!(asked.iter().all(|request| !request.path.contains("/tags/") && !request.path.contains("another-tag")));
    assert!(asked.iter().all(|request| matches!(request.method.as_str(), "GET" | "HEAD")), "{asked:#?}");
}

#[tokio::test]
async fn only_the_right_bytes_are_taken_and_only_what_the_registry_lacks() {
    let (source, liar, target) = (distribution().await, distribution().await, distribution().await);
    let (lacking, damaged) = (index("lacks one layer"), single("damaged everywhere"));
    let lacking_1 = source.push("team/lacking", "1", &lacking).await;
    let damaged_1 = source.push("team/damaged", "1", &damaged).await;
    let pins = [pinned(&lacking_1, &lacking), pinned(&damaged_1, &damaged)];
    let carried = layout(&pins[0]).await;
    for image in [&lacking, &damaged] {
        liar.push(
            &format!("team/{}", if image.digest() == lacking.digest() { "lacking" } else { "damaged" }),
            "1",
            image,
        )
        .await;
        let layer = &image.blobs().last().unwrap().digest;
        liar.damage_blob(layer, |bytes| bytes[0] ^= 1);
        source.remove_blob(layer);
    }
    source.take_requests();
    let host = source.host();
    let sources =
        format!("- {{ registry: {}, prefix: '{host}' }}\n- {{ layout: {} }}\n", liar.host(), carried.path().display());
    let (outcomes, _) = sync(&target, &pins.iter().collect::<Vec<_>>(), &sources).await;
    assert_eq!(outcomes[0]["copiedFrom"], json!([format!("layout {}", carried.path().display())]), "{outcomes:#?}");
    target.assert_has("team/lacking", lacking.digest(), &lacking).await;
    let asked = source.take_requests();
    assert!(asked.iter().any(|request| request.method == "GET" && request.path.contains(&lacking.blobs()[0].digest)));

    assert_eq!((&outcomes[1]["outcome"], &outcomes[1]["kind"]), (&json!("failed"), &json!("source_blob")));
    assert!(target.manifest("team/damaged", damaged.digest()).await.is_none());
    let reason = outcomes[1]["reason"].as_str().unwrap();
    assert!(reason.contains(&format!("registry {} for {host}: ", liar.host())), "{reason}");
    assert!(reason.contains("digest"), "{reason}");
}

#[tokio::test]
async fn what_registries_give_is_asked_for_nowhere_else() {
    let (source, mirror, target) = (distribution().await, distribution().await, distribution().await);
    let app = index("healthy");
    let app_1 = source.push("team/app", "1", &app).await;
    let sources = format!("- {{ layout: /not-mounted }}\n- {{ registry: {} }}\n", mirror.host());
    let (outcomes, finished) = sync(&target, &[&app_1], &sources).await;
    let finished = finished.assert_code(0);
    assert_eq!((&outcomes[0]["outcome"], &outcomes[0]["copiedFrom"]), (&json!("copied"), &json!([])));
    assert!(!finished.stderr.contains("further source"), "{finished:?}");
    assert_eq!(mirror.take_requests(), []);
}

#[tokio::test]
async fn one_image_that_a_cache_fails_for_does_not_cost_the_others() {
    let (source, cache, target) = (distribution().await, distribution().await, distribution().await);
    let images: Vec<_> = (0..12).map(|number| index(&format!("cached {number}"))).collect();
    let mut pins = Vec::new();
    for (number, image) in images.iter().enumerate() {
        let reference = source.push(&format!("team/app-{number}"), "1", image).await;
        cache.push(&format!("team/app-{number}"), "1", image).await;
        pins.push(pinned(&reference, image));
    }
    let host = source.host();
    drop(source);
    // As a cache that can't reach its upstream.
    let lacking = images[0].digest().to_owned();
    cache.inject(usize::MAX, move |request| request.path.ends_with(&lacking), Fault::Answer(502, Vec::new()));
    let sources = format!("- {{ registry: {}, prefix: '{host}' }}\n", cache.host());
    let (outcomes, _) = sync(&target, &pins.iter().collect::<Vec<_>>(), &sources).await;
    assert_eq!(outcomes[0]["outcome"], "failed", "{outcomes:#?}");
    for outcome in &outcomes[1..] {
        assert_eq!(outcome["outcome"], "copied", "{outcomes:#?}");
    }
}

#[tokio::test]
async fn signatures_come_with_the_image() {
    for (mirror_api, target_api) in [(true, false), (false, true)] {
        let signed = Signed::new();
        let (source, mirror, target) = (distribution().await, registry(mirror_api).await, registry(target_api).await);
        let host = source.host();
        signed.push(&mirror, mirror_api).await;
        // One registry is gone, the other answers that it has no such image.
        let _source = Some(source).filter(|_| mirror_api);
        let image = format!("{host}/{REPOSITORY}:1@{}", signed.image.digest());
        let manifests = list(&[deployment("web").image(&image).manifest()]);
        let config = format!(
            "targetKind: docker\ndocker: {{ registry: '{}' }}\nreferrers: all\nreferrersRequired: true\n\
             sources: [{{ registry: '{}', prefix: '{host}' }}]",
            target.host(),
            mirror.host()
        );
        let program = Program::new(&["sync", "-f", "-"]).stdin(&manifests).unset("REFERRERS").config(&config);
        let finished = program.run().await.assert_code(0);
        assert!(finished.stdout.contains(&format!("from registry {} for {host}", mirror.host())), "{finished:?}");
        signed.assert_at(&target, target_api).await;

        // A cache that serves no referrers can't tell that there are none.
        let (cache, other) = (registry(mirror_api).await, registry(target_api).await);
        cache.push(REPOSITORY, "1", &signed.image).await;
        let config = config.replace(&mirror.host(), &cache.host()).replace(&target.host(), &other.host());
        let finished = program.config(&config).run().await.assert_code(1);
        assert!(finished.stdout.contains("has none, and the source does not have the image"), "{finished:?}");
        assert!(other.manifest(REPOSITORY, "1").await.is_none());
    }
}

/// Starts the controller for one namespace.
async fn controller(cluster: &Cluster, namespace: &str, config: &str) -> Running {
    let directory = tempfile::tempdir().unwrap();
    let kubeconfig = cluster.kubeconfig(directory.path(), cluster.admin_token());
    let config = format!("{config}\nincludeNamespaces: [{namespace}]\n");
    let mut program = Program::controller(&kubeconfig).unset("VERIFY_HOURS").config(&config).start();
    program.ready().await;
    program
}

async fn image(program: &Running, query: &str) -> Value {
    let (_, status) = program.get(&format!("/status?{query}")).await;
    let status: Value = serde_json::from_str(&status).unwrap();
    status["images"][0].clone()
}

#[tokio::test]
async fn a_tag_is_what_its_pods_run_and_no_mirror_decides_otherwise() {
    let cluster = Cluster::shared().await;
    let (client, namespace) = (cluster.admin(), cluster.namespace().await);
    let (source, mirror, target) = (distribution().await, distribution().await, distribution().await);
    let (running, other, idle) = (index("running"), index("another image"), index("idle"));
    let running_1 = source.push("team/running", "1", &running).await;
    let idle_1 = source.push("team/idle", "1", &idle).await;
    mirror.push("team/running", "old", &running).await;
    mirror.push("team/running", "1", &other).await;
    mirror.push("team/idle", "1", &idle).await;
    let host = source.host();
    drop(source);
    pod("running").image(&running_1).apply(&client, &namespace).await;
    let image_id = format!("{host}/team/running@{}", running.digest());
    set_pod_status(&client, &namespace, "running", "Running", &[("main", &image_id)]).await;
    deployment("idle").image(&idle_1).apply(&client, &namespace).await;

    let config = format!(
        "targetKind: docker\ndocker: {{ registry: '{}' }}\nsources: [{{ registry: '{}', prefix: '{host}' }}]",
        target.host(),
        mirror.host()
    );
    let program = controller(cluster, &namespace, &config).await;
    arrives(&target, "team/running", "1", &running).await;
    let rescued = eventually("it is told", || async {
        let image = image(&program, "text=team/running").await;
        (image["lastResult"] == "copied").then_some(image)
    })
    .await;
    let from = format!("registry {} for {host}", mirror.host());
    // Nobody knows whether the source's tag is still the same.
    assert_eq!((&rescued["state"], &rescued["copiedFrom"]), (&json!("unverified"), &json!([from])), "{rescued}");
    assert_eq!(rescued["digestAtSource"], Value::Null, "{rescued}");
    eventually("the other has failed", || async {
        (image(&program, "text=team/idle").await["lastResult"] == "failed").then_some(())
    })
    .await;
    assert!(target.manifest("team/idle", "1").await.is_none(), "what a tag means is never asked elsewhere");
    let metrics = program.metrics().await;
    assert_eq!(metrics.sum("k8s_copycat_copied_from_further_sources_total", &[("source", &from)]), 1.0);
    let finished = program.terminate().await;
    let copied = finished.stdout.lines().find(|line| line.contains("\"copied\"")).unwrap();
    assert!(copied.contains(&from) && copied.contains(&format!("pod {namespace}/running")), "{copied}");
}

#[tokio::test]
async fn damage_is_mended_from_another_target_when_the_registry_is_gone() {
    let cluster = Cluster::shared().await;
    let namespace = cluster.namespace().await;
    let (source, first, second) = (distribution().await, distribution().await, distribution().await);
    let app = index("in two targets");
    let app_1 = source.push("team/app", "1", &app).await;
    deployment("app").image(&app_1).apply(&cluster.admin(), &namespace).await;
    let config = format!(
        "targets:\n- {{ name: first, kind: docker, registry: '{}' }}\n\
         - {{ name: second, kind: docker, registry: '{}', repoPrefix: elsewhere }}\n\
         sources: [{{ target: second }}]\nverifyHours: 0.0012\nverifyRequestsPerMinute: 10000\n",
        first.host(),
        second.host()
    );
    let program = controller(cluster, &namespace, &config).await;
    arrives(&first, "team/app", "1", &app).await;
    arrives(&second, "elsewhere/team/app", "1", &app).await;
    drop(source);
    let lost = app.blobs().last().unwrap().digest.clone();
    let child = app.manifests().next().unwrap().digest.clone();
    first.remove_blob(&lost);
    first.delete("team/app", &child).await;
    eventually("the blob is back", || first.blob("team/app", &lost)).await;
    eventually("all is back", || async { first.manifest("team/app", &child).await }).await;
    first.assert_has("team/app", "1", &app).await;
    let mended = eventually("it is verified", || async {
        let image = image(&program, "target=first").await;
        (image["verification"]["result"] == "whole").then_some(image)
    })
    .await;
    assert_eq!(mended["digestAtTarget"], app.digest(), "{mended}");
    program.logged("what it came from", |line| line.contains("target second") && line.contains("copied")).await;
}
