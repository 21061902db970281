//! `run` verifies what is mirrored in the background, and mends it.

use std::fs;

use demo::Image;
use serde_json::Value;

use crate::{
    mirroring::{arrives, index},
    referrers::{self, REPOSITORY, Signed},
    support::{Access, Cluster, Program, Registry, Running, deployment, eventually},
};

/// Each image is verified every four seconds.
pub const OFTEN: &str = "verifyHours: 0.0012\nverifyRequestsPerMinute: 10000\n";

/// Starts the controller for one namespace and a target.
pub async fn controller(cluster: &Cluster, namespace: &str, target: &str, more: &str) -> Running {
    let directory = tempfile::tempdir().unwrap();
    let kubeconfig = cluster.kubeconfig(directory.path(), cluster.admin_token());
    let config = format!("{target}\nincludeNamespaces: [{namespace}]\n{more}");
    let mut program = Program::controller(&kubeconfig).unset("VERIFY_HOURS").config(&config).start();
    program.ready().await;
    program
}

pub fn docker(target: &Registry) -> String {
    format!("targetKind: docker\ndocker: {{ registry: '{}' }}", target.host())
}

/// The entry in `/status` of the image that matches a query.
pub async fn image(program: &Running, query: &str) -> Value {
    let (_, status) = program.get(&format!("/status?{query}")).await;
    let status: Value = serde_json::from_str(&status).unwrap();
    status["images"][0].clone()
}

pub async fn is_verified(program: &Running, query: &str, result: &str) -> Value {
    eventually(&format!("{query} is {result}"), || async {
        let image = image(program, query).await;
        (image["verification"]["result"] == result).then_some(image)
    })
    .await
}

/// A layer that no other image has.
pub fn own_layer(image: &Image) -> String {
    image.blobs().last().unwrap().digest.clone()
}

#[tokio::test]
async fn lost_parts_and_moved_tags_are_found_and_mended() {
    let cluster = Cluster::shared().await;
    let namespace = cluster.namespace().await;
    let source = Registry::distribution(Access::Anonymous).await;
    let target = Registry::distribution(Access::Anonymous).await;
    let names = ["intact", "blob", "child", "below", "root", "gone", "moved"];
    let images: Vec<Image> = names.iter().map(|name| index(&format!("continual {name}"))).collect();
    for (name, image) in names.iter().zip(&images) {
        let reference = source.push(&format!("team/{name}"), "1", image).await;
        deployment(name).image(&reference).apply(&cluster.admin(), &namespace).await;
    }
    let off = "verifyHours: 0\n";
    let program = controller(cluster, &namespace, &docker(&target), off).await;
    for (name, image) in names.iter().zip(&images) {
        arrives(&target, &format!("team/{name}"), "1", image).await;
    }
    let own = |name: &str| &images[names.iter().position(|other| *other == name).unwrap()];
    let child = |name: &str| own(name).manifests().next().unwrap().digest.clone();
    target.remove_blob(&own_layer(own("blob")));
    target.delete("team/child", &child("child")).await;
    // A blob below a child that is there.
    target.remove_blob(&own("below").blobs()[0].digest);
    target.remove_blob(own("root").digest());
    target.remove_repository("team/gone");

    // Neither a pass nor a restart finds what is lost below the tag.
    assert_eq!(program.post("/force-reconcile").await.0, 200);
    drop(program);
    let program = controller(cluster, &namespace, &docker(&target), off).await;
    assert_eq!(program.post("/force-reconcile").await.0, 200);
    for (name, lost) in [("blob", own_layer(own("blob"))), ("below", own("below").blobs()[0].digest.clone())] {
        assert!(target.blob(&format!("team/{name}"), &lost).await.is_none(), "{name}");
    }
    assert!(target.manifest("team/child", &child("child")).await.is_none());
    assert_eq!(image(&program, "text=team/blob").await["state"], "mirrored", "as far as the tag tells");
    let moved = index("continual moved on");
    source.push("team/moved", "1", &moved).await;
    drop(program);

    let program = controller(cluster, &namespace, &docker(&target), OFTEN).await;
    for (name, image) in names.iter().zip(&images).filter(|(name, _)| **name != "moved") {
        is_verified(&program, &format!("text=team/{name}"), "whole").await;
        target.assert_has(&format!("team/{name}"), "1", image).await;
    }
    // The start copies what is missing by its tag and what has moved; from now on nothing but verifications finds anything.
    arrives(&target, "team/moved", "1", &moved).await;
    let own_layer_of_intact = own_layer(own("intact"));
    target.remove_blob(&own_layer_of_intact);
    eventually("the blob is back", || target.blob("team/intact", &own_layer_of_intact)).await;
    is_verified(&program, "text=team/intact", "whole").await;
    target.assert_has("team/intact", "1", own("intact")).await;
    target.remove_repository("team/gone");
    arrives(&target, "team/gone", "1", own("gone")).await;
    let again = index("continual moved again");
    source.push("team/moved", "1", &again).await;
    eventually("the tag is moved", || async {
        (target.manifest("team/moved", "1").await?.1 == again.root().bytes).then_some(())
    })
    .await;
    target.assert_has("team/moved", "1", &again).await;

    let metrics = eventually("all are whole", || async {
        let metrics = program.metrics().await;
        let whole = metrics.sum("k8s_copycat_verified_images", &[("result", "whole")]);
        (whole == names.len() as f64).then_some(metrics)
    })
    .await;
    for result in ["missing", "incomplete", "corrupt", "unknown", "drifted"] {
        assert_eq!(metrics.sum("k8s_copycat_verified_images", &[("result", result)]), 0.0, "{result}");
    }
    assert!(metrics.sum("k8s_copycat_oldest_verification_timestamp_seconds", &[]) > 0.0);
    let (_, status) = program.get("/status").await;
    let status: Value = serde_json::from_str(&status).unwrap();
    assert_eq!(status["summary"]["verified"]["whole"], names.len(), "{status}");
    let finished = program.terminate().await;
    let lines: Vec<&str> = finished.stdout.lines().filter(|line| line.contains("team/intact")).collect();
    let damage = lines.iter().find(|line| line.contains("damaged at the target")).unwrap();
    assert!(
        damage.contains(&format!("deployment {namespace}/intact")) && damage.contains(&own_layer(own("intact"))),
        "{damage}"
    );
    assert!(lines.iter().any(|line| line.contains("mended")), "{lines:#?}");
}

#[tokio::test]
async fn truncated_blobs_are_replaced_or_it_is_said_that_they_are_not() {
    let cluster = Cluster::shared().await;
    let namespace = cluster.namespace().await;
    let source = Registry::distribution(Access::Anonymous).await;
    let target = Registry::distribution(Access::Anonymous).await;
    let folder = tempfile::tempdir().unwrap();
    let app = index("continual truncated");
    let reference = source.push("team/truncated", "1", &app).await;
    deployment("app").image(&reference).apply(&cluster.admin(), &namespace).await;
    let targets = format!(
        "targets:\n- {{ name: registry, kind: docker, registry: '{}' }}\n- {{ name: layout, kind: oci-layout, path: '{}' }}\n",
        target.host(),
        folder.path().display()
    );
    let program = controller(cluster, &namespace, &targets, OFTEN).await;
    arrives(&target, "team/truncated", "1", &app).await;
    is_verified(&program, "target=layout", "whole").await;

    let layer = own_layer(&app);
    let file = folder.path().join("blobs/sha256").join(layer.strip_prefix("sha256:").unwrap());
    let whole = fs::read(&file).unwrap();
    fs::write(&file, &whole[..whole.len() / 2]).unwrap();
    eventually("the blob is replaced in the layout", || async { (fs::read(&file).ok()? == whole).then_some(()) }).await;

    // This registry takes an upload of what it has, and keeps its own.
    target.damage_blob(&layer, |bytes| bytes.truncate(bytes.len() / 2));
    let failed = eventually("the registry is said not to replace it", || async {
        let image = image(&program, "target=registry").await;
        image["reason"].as_str().is_some_and(|reason| reason.contains("did not replace")).then_some(image)
    })
    .await;
    assert_eq!((&failed["state"], &failed["verification"]["result"]), (&"stale".into(), &"corrupt".into()), "{failed}");
    let reason = failed["reason"].as_str().unwrap();
    assert!(reason.contains(&layer) && reason.contains("delete the blob"), "{reason}");
    target.remove_blob(&layer);
    assert_eq!(program.post("/reset-cooldown").await.0, 200);
    eventually("it is mended once the blob is deleted", || async {
        let image = image(&program, "target=registry").await;
        (image["verification"]["result"] == "whole" && image["state"] == "mirrored").then_some(())
    })
    .await;
    target.assert_has("team/truncated", "1", &app).await;
}

#[tokio::test]
async fn lost_signatures_are_found_and_mended() {
    let cluster = Cluster::shared().await;
    let namespace = cluster.namespace().await;
    let source = referrers::registry(true).await;
    let target = Registry::distribution(Access::Anonymous).await;
    let signed = Signed::new();
    let reference = signed.push(&source, true).await;
    deployment("app").image(&reference).apply(&cluster.admin(), &namespace).await;
    // New referrers are not looked for in the meantime: what is mended was found by a verification.
    let more = format!("{OFTEN}referrers: all\nreferrersRecheckMinutes: 0\n");
    let directory = tempfile::tempdir().unwrap();
    let kubeconfig = cluster.kubeconfig(directory.path(), cluster.admin_token());
    let config = format!("{}\nincludeNamespaces: [{namespace}]\n{more}", docker(&target));
    let mut program = Program::controller(&kubeconfig).unset("VERIFY_HOURS").unset("REFERRERS").config(&config).start();
    program.ready().await;
    is_verified(&program, "text=team/app", "whole").await;
    signed.assert_at(&target, false).await;

    let (lost, older) = (own_layer(&signed.of_child), own_layer(&signed.older));
    target.delete(REPOSITORY, signed.signature.digest()).await;
    eventually("the manifest of a signature is back", || target.manifest(REPOSITORY, signed.signature.digest())).await;
    target.remove_blob(&lost);
    eventually("the blob of a signature is back", || target.blob(REPOSITORY, &lost)).await;
    target.remove_blob(&older);
    eventually("the blob below an older tag is back", || target.blob(REPOSITORY, &older)).await;
    target.remove_blob(signed.of_sbom.digest());
    let of_sbom = own_layer(&signed.of_sbom);
    target.remove_blob(&of_sbom);
    eventually("the signature of the SBOM is back", || target.blob(REPOSITORY, &of_sbom)).await;
    is_verified(&program, "text=team/app", "whole").await;
    signed.assert_at(&target, false).await;
    let finished = program.terminate().await;
    let damage = finished.stdout.lines().find(|line| line.contains("damaged at the target")).unwrap();
    for part in
        ["referrer", signed.signature.digest(), "signature or attestation", &format!("deployment {namespace}/app")]
    {
        assert!(damage.contains(part), "{part}: {damage}");
    }
    assert!(finished.stdout.contains("mended"), "{}", finished.stdout);
}

#[tokio::test]
async fn an_index_of_some_platforms_is_compared_with_the_source_once() {
    let cluster = Cluster::shared().await;
    let namespace = cluster.namespace().await;
    let source = Registry::distribution(Access::Anonymous).await;
    let target = Registry::distribution(Access::Anonymous).await;
    let app = index("continual for one platform");
    let reference = source.push("team/app", "1", &app).await;
    deployment("app").image(&reference).apply(&cluster.admin(), &namespace).await;
    let more = format!("{OFTEN}digestPull: true\ndigestPullIgnoredTags: [none]\nmirrorPlatforms: [amd64]\n");
    let program = controller(cluster, &namespace, &docker(&target), &more).await;
    is_verified(&program, "text=team/app", "whole").await;
    assert_eq!(target.manifest("team/app", app.digest()).await, None, "it has an index of its own");
    let verified_at = || async { image(&program, "text=team/app").await["verification"]["at"].clone() };
    source.take_requests();
    let mut at = verified_at().await;
    for _ in 0..2 {
        let before = &at;
        at = eventually("it is verified again", || async { Some(verified_at().await).filter(|at| at != before) }).await;
    }
    let asked = source.take_requests();
    assert!(!asked.iter().any(|request| request.method == "GET"), "{asked:#?}");
    let child = app.manifests().next().unwrap().digest.clone();
    target.delete("team/app", &child).await;
    eventually("the platform is back", || target.manifest("team/app", &child)).await;
    is_verified(&program, "text=team/app", "whole").await;
}

#[tokio::test]
async fn a_source_that_can_not_give_the_parts_is_said_to_be_the_reason() {
    let cluster = Cluster::shared().await;
    let namespace = cluster.namespace().await;
    let source = Registry::distribution(Access::Anonymous).await;
    let target = Registry::distribution(Access::Anonymous).await;
    let app = index("continual without its source");
    let reference = source.push("team/orphan", "1", &app).await;
    let pinned = format!("{}@{}", reference.rsplit_once(':').unwrap().0, app.digest());
    deployment("app").image(&pinned).apply(&cluster.admin(), &namespace).await;
    let program = controller(cluster, &namespace, &docker(&target), OFTEN).await;
    is_verified(&program, "text=team/orphan", "whole").await;
    let layer = own_layer(&app);
    source.remove_blob(&layer);
    target.remove_blob(&layer);
    let failed = eventually("the failed repair is told", || async {
        let image = image(&program, "text=team/orphan").await;
        (image["lastResult"] == "failed").then_some(image)
    })
    .await;
    assert_eq!(
        (&failed["state"], &failed["verification"]["result"]),
        (&"stale".into(), &"incomplete".into()),
        "{failed}"
    );
    assert!(failed["reason"].as_str().unwrap().contains(&layer), "{failed}");
    let metrics = program.metrics().await;
    assert_eq!(metrics.sum("k8s_copycat_verified_images", &[("result", "incomplete")]), 1.0);
}
