//! What a target has lost of an image, below manifests that it still has, comes back with the image's tag.

use demo::Image;

use crate::{
    mirroring::{count, index},
    planning::command,
    support::{Access, Finished, Registry, Request, deployment},
};

async fn sync(target: &Registry, image: &str) -> Finished {
    sync_with(target, image, "").await
}

async fn sync_with(target: &Registry, image: &str, config: &str) -> Finished {
    let manifests = deployment("web").image(image).manifest().to_string();
    let sync = command(&["sync", "-f", "-"], &manifests).env("TARGET_REGISTRY", target.host());
    sync.config(config).run().await
}

async fn registries() -> (Registry, Registry) {
    (Registry::distribution(Access::Anonymous).await, Registry::distribution(Access::Anonymous).await)
}

/// A layer that one platform of the image has.
fn layer_of_a_child(image: &Image) -> &str {
    &image.blobs().last().unwrap().digest
}

fn is_write(request: &&Request) -> bool {
    !matches!(request.method.as_str(), "GET" | "HEAD")
}

#[tokio::test]
async fn a_deleted_tag_brings_back_what_is_missing_below_it() {
    let (source, target) = registries().await;
    let image = index("deleted tag");
    let reference = source.push("team/app", "1", &image).await;
    sync(&target, &reference).await.assert_code(0);
    for is_damaged in [true, false] {
        if is_damaged {
            target.remove_blob(layer_of_a_child(&image));
        }
        target.remove_tag("team/app", "1");
        drop((source.take_requests(), target.take_requests()));
        let finished = sync(&target, &reference).await.assert_code(0);
        assert!(finished.stdout.contains("1 copied"), "{finished:?}");
        target.assert_has("team/app", "1", &image).await;
        let (read, asked) = (source.take_requests(), target.take_requests());
        assert_eq!(count(&read, "GET", "/blobs/"), usize::from(is_damaged), "only what is missing: {read:#?}");
        assert_eq!(count(&read, "GET", "/manifests/"), 1, "those below are read at the target: {read:#?}");
        assert_eq!(count(&asked, "GET", "/manifests/"), 2, "{asked:#?}");
        assert_eq!(count(&asked, "PUT", "/manifests/"), 1, "the tag: {asked:#?}");
    }
}

#[tokio::test]
async fn a_digest_is_kept_only_if_all_of_its_parts_are_there() {
    let (source, target) = registries().await;
    let image = index("kept");
    let tagged = source.push("team/app", "1", &image).await;
    let by_digest = format!("{}/team/app@{}", source.host(), image.digest());
    let kept = format!("copycat-{}", image.digest().replace(':', "-"));
    sync(&target, &tagged).await.assert_code(0);

    target.remove_blob(layer_of_a_child(&image));
    let finished = sync(&target, &by_digest).await.assert_code(0);
    assert!(finished.stdout.contains("1 copied"), "{finished:?}");
    target.assert_has("team/app", &kept, &image).await;

    // What is whole is kept without the source.
    target.remove_tag("team/app", &kept);
    drop((source.take_requests(), target.take_requests()));
    let finished = sync(&target, &by_digest).await.assert_code(0);
    assert!(finished.stdout.contains("1 already there"), "{finished:?}");
    assert_eq!(source.take_requests(), []);
    let asked = target.take_requests();
    // Two platforms with a configuration and two layers each.
    assert_eq!(count(&asked, "HEAD", "/blobs/"), 2 * 3, "{asked:#?}");
    let written: Vec<&Request> = asked.iter().filter(is_write).collect();
    assert!(written.len() == 1 && written[0].path.ends_with(&kept), "{asked:#?}");

    // Neither side has the layer.
    target.remove_tag("team/app", &kept);
    target.remove_blob(layer_of_a_child(&image));
    source.remove_blob(layer_of_a_child(&image));
    let finished = sync(&target, &by_digest).await.assert_code(1);
    assert!(finished.stdout.contains(layer_of_a_child(&image)), "{finished:?}");
}

#[tokio::test]
async fn a_digest_is_kept_without_the_platforms_that_nobody_wants() {
    let source = Registry::distribution(Access::Anonymous).await;
    let target = Registry::distribution_sparse().await;
    let image = index("some platforms");
    let tagged = source.push("team/app", "1", &image).await;
    let by_digest = format!("{}/team/app@{}", source.host(), image.digest());
    let amd64 = "digestPull: true\nmirrorPlatforms: [amd64]\n";
    sync_with(&target, &tagged, amd64).await.assert_code(0);
    source.take_requests();
    let finished = sync_with(&target, &by_digest, amd64).await.assert_code(0);
    assert!(finished.stdout.contains("1 already there"), "{finished:?}");
    assert_eq!(source.take_requests(), []);
    assert_eq!(target.blob("team/app", layer_of_a_child(&image)).await, None, "the other platform's");
    // Whoever wants all of them gets them.
    let finished = sync(&target, &by_digest).await;
    assert!(finished.stdout.contains("1 already there"), "its tag is trusted: {finished:?}");
    target.remove_tag("team/app", &format!("copycat-{}", image.digest().replace(':', "-")));
    let finished = sync(&target, &by_digest).await.assert_code(0);
    assert!(finished.stdout.contains("1 copied"), "{finished:?}");
    target.assert_has("team/app", image.digest(), &image).await;
}
