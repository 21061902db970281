//! Which manifest `verify` takes for the image: by tag, by digest, or by both; and which of its platforms.

use std::fs;

use demo::{Format, Image, Layer};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha512};

use crate::{
    mirroring::{index, single},
    planning::command,
    support::{Access, Program, Registry},
    verifying::{blob_in, document, manifests, own_layer, result, sync, verify},
};

fn keep_alive_tag(image: &Image) -> String {
    format!("copycat-{}", image.digest().replace(':', "-"))
}

#[tokio::test]
async fn an_image_with_a_digest_is_judged_by_the_digest_and_not_by_the_tag() {
    let source = Registry::distribution(Access::Anonymous).await;
    let target = Registry::distribution(Access::Anonymous).await;
    let names = ["same", "elsewhere", "absent", "below", "unkept", "untagged", "pinned", "loose", "lost"];
    let images: Vec<Image> = names.iter().map(|name| index(&format!("named {name}"))).collect();
    let mut references = Vec::new();
    for (name, image) in names.iter().zip(&images) {
        let reference = source.push(&format!("team/{name}"), "1", image).await;
        let reference = match *name {
            "pinned" | "loose" | "lost" => reference.rsplit_once(':').unwrap().0.to_owned(),
            _ => reference,
        };
        references.push(format!("{reference}@{}", image.digest()));
    }
    let references: Vec<&str> = references.iter().map(String::as_str).collect();
    sync(&references, &target).await;
    let all = document(&verify(&references, &target, &[]).run().await.assert_code(0));
    assert_eq!(all["summary"]["images"]["whole"], names.len(), "{all}");

    let own = |name: &str| &images[names.iter().position(|other| *other == name).unwrap()];
    let other = index("another image");
    target.remove_repository("team/absent");
    target.remove_repository("team/lost");
    target.remove_blob(&own_layer(own("below")));
    for name in ["elsewhere", "absent", "below", "unkept"] {
        target.push(&format!("team/{name}"), "1", &other).await;
    }
    for name in ["unkept", "loose"] {
        target.delete(&format!("team/{name}"), &keep_alive_tag(own(name))).await;
    }
    target.delete("team/untagged", "1").await;

    for more in [&[][..], &["--no-source"]] {
        let all = document(&verify(&references, &target, more).run().await.assert_code(1));
        for (name, expected, part) in [
            ("same", "whole", ""),
            ("elsewhere", "drifted", other.digest()),
            ("absent", "missing", own("absent").digest()),
            ("below", "incomplete", &own_layer(own("below"))),
            ("unkept", "incomplete", &keep_alive_tag(own("unkept"))),
            ("untagged", "incomplete", "tag 1 is missing"),
            ("pinned", "whole", ""),
            ("loose", "incomplete", &keep_alive_tag(own("loose"))),
            ("lost", "missing", own("lost").digest()),
        ] {
            let (result, reason) = result(&all, name);
            assert_eq!(result, expected, "{name}: {reason}");
            assert!(reason.contains(part), "{name}: {reason}");
        }
    }
    let elsewhere = [references[1]];
    verify(&elsewhere, &target, &[]).run().await.assert_code(0);
    // A copy puts all of it right.
    sync(&references[4..5], &target).await;
}

fn sha512(bytes: &[u8]) -> String {
    let hex: String = Sha512::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha512:{hex}")
}

#[tokio::test]
async fn a_digest_of_another_algorithm_is_looked_up_as_it_is_named() {
    let target = Registry::distribution(Access::Anonymous).await;
    let image = single("sha512");
    let digest = sha512(&image.root().bytes);
    let kept = format!("copycat-sha512-{}", &digest["sha512:".len()..][..64]);
    target.push("team/app", &kept, &image).await;
    target.push("team/app", "1", &image).await;
    for reference in ["127.0.0.1:1/team/app@", "127.0.0.1:1/team/app:1@"] {
        let reference = format!("{reference}{digest}");
        let all = document(&verify(&[&reference], &target, &[]).run().await.assert_code(1));
        let (result, reason) = result(&all, "app");
        assert_eq!(result, "missing", "{reason}");
        // This registry answers for SHA-256 only: whoever pulls by the other digest gets nothing.
        assert!(reason.contains(&digest) && reason.contains(image.digest()), "{reason}");
    }

    let folder = tempfile::tempdir().unwrap();
    let layout = |path: &str| folder.path().join(path);
    fs::create_dir_all(layout("blobs/sha512")).unwrap();
    fs::create_dir_all(layout("blobs/sha256")).unwrap();
    fs::write(layout("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).unwrap();
    fs::write(blob_in(folder.path(), &digest), &image.root().bytes).unwrap();
    for blob in image.blobs() {
        fs::write(blob_in(folder.path(), &blob.digest), &blob.bytes).unwrap();
    }
    let entry = json!({
        "mediaType": image.root().media_type, "digest": digest, "size": image.root().bytes.len(),
        "annotations": { "org.opencontainers.image.ref.name": format!("team/app@{digest}") },
    });
    let index = json!({ "schemaVersion": 2, "manifests": [entry] });
    fs::write(layout("index.json"), index.to_string()).unwrap();
    let reference = format!("127.0.0.1:1/team/app@{digest}");
    let at_layout = || {
        let program = command(&["verify", "-f", "-", "-o", "json"], &manifests(&[&reference]));
        program.unset("TARGET_REGISTRY").env("TARGET_KIND", "oci-layout").env("TARGET_PATH", folder.path())
    };
    let all = document(&at_layout().run().await.assert_code(0));
    assert_eq!(result(&all, "app"), ("whole", ""), "{all}");
    let elsewhere = manifests(&[&format!("127.0.0.1:1/team/other@{digest}")]);
    let all = document(&at_layout().stdin(&elsewhere).run().await.assert_code(1));
    let (other, reason) = result(&all, "other");
    assert!(other == "missing" && reason.contains("no entry"), "another repository has it: {other}, {reason}");
    fs::remove_file(blob_in(folder.path(), &own_layer(&image))).unwrap();
    let all = document(&at_layout().run().await.assert_code(1));
    assert_eq!(result(&all, "app").0, "incomplete", "{all}");
}

const PLATFORMS: [&str; 3] = ["amd64", "arm64", "s390x"];

/// An index over three platforms.
fn platforms(content: &str) -> Image {
    let images = PLATFORMS.map(|architecture| {
        let own = Layer::files(&[("app", architecture), ("content", content)]).unwrap();
        Image::single(Format::Oci, architecture, &[Layer::files(&[("base", "shared")]).unwrap(), own])
    });
    Image::index(Format::Oci, &images)
}

fn child<'a>(image: &'a Image, platform: &str) -> &'a str {
    let at = PLATFORMS.iter().position(|other| *other == platform).unwrap();
    &image.manifests().nth(at).unwrap().digest
}

fn with_platforms(program: Program, wanted: &str) -> Program {
    let program = program.env("DIGEST_PULL", "true").env("DIGEST_PULL_IGNORED_TAGS", "none");
    program.env("MIRROR_PLATFORMS", wanted)
}

async fn sync_platforms(reference: &str, target: &Registry, wanted: &str) {
    let sync = command(&["sync", "-f", "-"], &manifests(&[reference])).env("TARGET_REGISTRY", target.host());
    with_platforms(sync, wanted).run().await.assert_code(0);
}

/// Result and reason.
async fn judged(reference: &str, target: &Registry, wanted: &str, more: &[&str]) -> (String, String) {
    let finished = with_platforms(verify(&[reference], target, more), wanted).run().await;
    let all: Value = document(&finished);
    let (result, reason) = result(&all, "app");
    (result.to_owned(), reason.to_owned())
}

#[tokio::test]
async fn platforms_that_are_wanted_must_be_there_and_no_others() {
    let source = Registry::distribution(Access::Anonymous).await;
    let image = platforms("wanted");
    let reference = source.push("team/app", "1", &image).await;
    let strict = Registry::distribution(Access::Anonymous).await;
    let sparse = Registry::distribution_sparse().await;
    for target in [&strict, &sparse] {
        sync_platforms(&reference, target, "amd64").await;
        assert_eq!(judged(&reference, target, "amd64", &[]).await, ("whole".into(), String::new()));
        // What the source does not have either is not required.
        assert_eq!(judged(&reference, target, "amd64,ppc64le", &[]).await, ("whole".into(), String::new()));
        for (wanted, lacking) in [("amd64,arm64", &["arm64"][..]), ("arm64", &["arm64"]), ("all", &["arm64", "s390x"])]
        {
            let (result, reason) = judged(&reference, target, wanted, &[]).await;
            assert_eq!(result, "incomplete", "{wanted}: {reason}");
            assert!(lacking.iter().any(|platform| reason.contains(child(&image, platform))), "{wanted}: {reason}");
        }
        let finished = verify(&[&reference], target, &[]).run().await.assert_code(1);
        assert_eq!(result(&document(&finished), "app").0, "incomplete", "all are mirrored by default");
    }
    // Only the source knows of which platforms the others are.
    let (result, reason) = judged(&reference, &strict, "amd64,arm64", &[]).await;
    assert!(result == "incomplete" && reason.contains("linux/arm64"), "{reason}");
    for (wanted, expected) in
        [("amd64", "whole"), ("amd64,arm64", "unknown"), ("amd64,ppc64le", "unknown"), ("all", "unknown")]
    {
        let (result, reason) = judged(&reference, &strict, wanted, &["--no-source"]).await;
        assert_eq!(result, expected, "{wanted}: {reason}");
        assert!(expected == "whole" || reason.contains("only the source tells"), "{wanted}: {reason}");
    }
    let ignoring =
        verify(&[&reference], &strict, &["--no-source"]).env("IGNORE_MISSING_PLATFORMS", "team/app:1\\|linux/ppc64le$");
    with_platforms(ignoring, "amd64,ppc64le").run().await.assert_code(0);

    sync_platforms(&reference, &strict, "amd64,arm64").await;
    sync_platforms(&reference, &sparse, "amd64,arm64").await;
    for target in [&strict, &sparse] {
        assert_eq!(judged(&reference, target, "amd64,arm64", &[]).await.0, "whole");
        target.delete("team/app", child(&image, "arm64")).await;
        assert_eq!(judged(&reference, target, "amd64", &[]).await.0, "whole", "what is not wanted is not required");
        let (result, reason) = judged(&reference, target, "amd64,arm64", &[]).await;
        assert!(result == "incomplete" && reason.contains(child(&image, "arm64")), "{reason}");
    }
    drop(source);
    let (result, reason) = judged(&reference, &strict, "amd64,s390x", &[]).await;
    assert!(result == "unknown" && reason.contains("linux/s390x"), "{result}: {reason}");
}

#[tokio::test]
async fn a_newer_index_tells_which_platforms_the_target_lacks() {
    let source = Registry::distribution(Access::Anonymous).await;
    let target = Registry::distribution(Access::Anonymous).await;
    let (image, newer) = (platforms("older"), platforms("newer"));
    let reference = source.push("team/app", "1", &image).await;
    sync_platforms(&reference, &target, "amd64").await;
    source.push("team/app", "1", &newer).await;
    for deleted in [false, true] {
        if deleted {
            source.delete("team/app", image.digest()).await;
        }
        assert_eq!(judged(&reference, &target, "amd64", &[]).await.0, "drifted");
        let (result, reason) = judged(&reference, &target, "amd64,arm64", &[]).await;
        assert!(result == "incomplete" && reason.contains("linux/arm64 is wanted now"), "{result}: {reason}");
        let lacking = child(if deleted { &newer } else { &image }, "arm64");
        assert!(reason.contains(lacking), "{reason}");
    }
}

#[tokio::test]
async fn an_index_that_the_source_itself_has_is_not_taken_for_a_part_of_another() {
    let source = Registry::distribution(Access::Anonymous).await;
    let middle = Registry::distribution(Access::Anonymous).await;
    let target = Registry::distribution(Access::Anonymous).await;
    let reference = source.push("team/app", "1", &platforms("second hand")).await;
    sync_platforms(&reference, &middle, "amd64").await;
    let second_hand = format!("{}/team/app:1", middle.host());
    sync(&[&second_hand], &target).await;
    let all = document(&verify(&[&second_hand], &target, &[]).run().await.assert_code(0));
    assert_eq!(result(&all, "app"), ("whole", ""), "{all}");
    // Its tag moves: the index is still the source's own.
    middle.push("team/app", "1", &platforms("moved on")).await;
    let all = document(&verify(&[&second_hand], &target, &[]).run().await.assert_code(0));
    assert_eq!(result(&all, "app").0, "drifted", "{all}");
}
