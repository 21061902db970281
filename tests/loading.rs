//! `load` copies an image layout into a target.

use std::{fs, path::Path, time::Duration};

use demo::{Format, Image, Layer};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::sync::watch;

use crate::{
    mirroring::{index, single},
    referrers::{
        BUNDLE, REPOSITORY, Signed, blob_in, digest_tag, listed, names_in, position, push_referrers, referrer,
    },
    support::{Access, Aws, Fault, Finished, Program, Registry, Request, deployment, list},
};

/// A layout that `sync` wrote, with everything that belongs to the images.
async fn layout(images: &[String]) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let workload = images.iter().fold(deployment("web"), |workload, image| workload.image(image));
    let sync = Program::new(&["sync", "-f", "-"]).stdin(&list(&[workload.manifest()])).env("REFERRERS", "all");
    let sync = sync.env("TARGET_KIND", "oci-layout").env("TARGET_PATH", folder.path());
    sync.run().await.assert_code(0);
    folder
}

fn load(layout: &Path, target: &Registry) -> Program {
    let program = Program::new(&["load", "-o", "json"]).arg(layout);
    program.env("TARGET_KIND", "docker").env("TARGET_REGISTRY", target.host())
}

/// The outcomes by name, and the summary.
fn outcomes(finished: &Finished) -> (Vec<Value>, Value) {
    let mut lines: Vec<Value> = finished.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let summary = lines.pop().unwrap()["summary"].take();
    (lines, summary)
}

fn outcome<'a>(lines: &'a [Value], name: &str) -> &'a Value {
    lines.iter().find(|line| line["image"] == name).unwrap_or_else(|| panic!("{name}: {lines:#?}"))
}

fn writes(requests: &[Request]) -> Vec<&Request> {
    requests.iter().filter(|request| !matches!(request.method.as_str(), "GET" | "HEAD")).collect()
}

fn index_json(layout: &Path) -> Value {
    serde_json::from_slice(&fs::read(layout.join("index.json")).unwrap()).unwrap()
}

async fn distribution() -> Registry {
    Registry::distribution(Access::Anonymous).await
}

#[tokio::test]
async fn every_name_of_a_layout_arrives_as_it_is() {
    let signed = Signed::new();
    let (web, pinned) = (index("web"), single("pinned"));
    let source = Registry::with_referrers_api().await;
    source.push("team/pinned", "1", &pinned).await;
    let images = [
        signed.push(&source, true).await,
        source.push("team/web", "1.27", &web).await,
        format!("{}/team/pinned@{}", source.host(), pinned.digest()),
    ];
    let layout = layout(&images).await;
    for has_api in [true, false] {
        let target = crate::referrers::registry(has_api).await;
        // The names in the layout are final.
        let load = load(layout.path(), &target).env("TARGET_REPO_PREFIX", "again");
        let finished = load.run().await.assert_code(0);
        let written = target.take_requests();
        signed.assert_at(&target, has_api).await;
        target.assert_has("team/web", "1.27", &web).await;
        target.assert_has("team/pinned", pinned.digest(), &pinned).await;
        let keep_alive = format!("copycat-{}", digest_tag(pinned.digest()));
        target.assert_has("team/pinned", &keep_alive, &pinned).await;
        if !has_api {
            for entry in index_json(layout.path())["manifests"].as_array().unwrap() {
                let name = entry["annotations"]["org.opencontainers.image.ref.name"].as_str().unwrap();
                let Some((repository, tag)) = name.rsplit_once(':').filter(|(name, _)| !name.contains('@')) else {
                    continue;
                };
                let (_, bytes) = target.manifest(repository, tag).await.unwrap();
                let file = blob_in(layout.path(), entry["digest"].as_str().unwrap());
                assert_eq!(fs::read(file).unwrap(), bytes, "{name}");
            }
        }
        // The image's tag comes last of all that belongs to it.
        let tag = position(&written, "PUT", &format!("/{REPOSITORY}/manifests/1"));
        for referrer in [&signed.signature, &signed.of_child, &signed.sbom, &signed.of_sbom] {
            assert!(position(&written, "PUT", &format!("/manifests/{}", referrer.digest())) < tag, "{written:#?}");
        }
        assert!(position(&written, "PUT", &format!("/manifests/{}", signed.older_tag())) < tag, "{written:#?}");

        let (lines, summary) = outcomes(&finished);
        let names = names_in(layout.path()).len();
        assert_eq!((lines.len(), &summary["copied"], &summary["names"]), (names, &json!(names), &json!(names)));
        assert_eq!(summary["referrersCopied"], 4, "{summary}");
        let line = outcome(&lines, "team/web:1.27");
        assert_eq!((&line["outcome"], &line["digest"]), (&json!("copied"), &json!(web.digest())), "{line}");
        let reference = format!("{}/team/web:1.27", target.host());
        assert_eq!(line["target"], json!({ "name": "default", "reference": reference }));

        let (lines, summary) = outcomes(&load.run().await.assert_code(0));
        let requests = target.take_requests();
        assert_eq!(writes(&requests), [&requests[0]; 0], "the second run sends nothing");
        let mut blobs = requests.iter().filter(|request| request.is_blob());
        assert!(blobs.all(|request| request.method == "HEAD"), "it reads none: {requests:#?}");
        assert!(lines.iter().all(|line| line["outcome"] == "already_there"), "{lines:#?}");
        assert_eq!((&summary["alreadyThere"], &summary["bytes"]), (&json!(names), &json!(0)), "{summary}");
    }
}

#[tokio::test]
async fn a_run_that_was_killed_goes_on() {
    let source = distribution().await;
    let (first, second) = (index("first"), index("second"));
    let images = [source.push("team/a", "1", &first).await, source.push("team/b", "1", &second).await];
    let layout = layout(&images).await;
    let target = distribution().await;
    let (reached, mut is_reached) = watch::channel(false);
    let is_tag = move |request: &Request| {
        let is_tag = request.method == "PUT" && request.path.ends_with("/team/b/manifests/1");
        if is_tag {
            reached.send_replace(true);
        }
        is_tag
    };
    target.inject(1, is_tag, Fault::Delay(Duration::from_secs(300)));
    let load = load(layout.path(), &target);
    let killed = load.run_until(async { drop(is_reached.wait_for(|reached| *reached).await.unwrap()) }).await;
    assert!(killed.is_none(), "{killed:?}");
    target.clear_faults();
    target.take_requests();
    load.run().await.assert_code(0);
    let requests = target.take_requests();
    target.assert_has("team/a", "1", &first).await;
    target.assert_has("team/b", "1", &second).await;
    let of_second = |request: &&&Request| request.path.contains("/team/b/");
    let written: Vec<_> = writes(&requests).iter().filter(of_second).map(|request| request.path.clone()).collect();
    assert_eq!(written, ["/v2/team/b/manifests/1"], "everything else was there");
}

/// A registry keeps the manifests when it loses what they name.
#[tokio::test]
async fn what_the_target_has_lost_is_loaded_again() {
    let signed = Signed::new();
    let (intact, below, child) = (index("intact"), index("below"), index("child"));
    let (pinned, kept) = (single("pinned"), Layer::random(17, 1000).unwrap());
    let kept = Image::single(Format::Oci, "amd64", &[kept]);
    let source = Registry::with_referrers_api().await;
    source.push("team/pinned", "1", &pinned).await;
    let images = [
        signed.push(&source, true).await,
        source.push("team/intact", "1", &intact).await,
        source.push("team/below", "1", &below).await,
        source.push("team/child", "1", &child).await,
        source.push("team/kept", "1", &kept).await,
        format!("{}/team/pinned@{}", source.host(), pinned.digest()),
    ];
    let layout = layout(&images).await;
    let target = distribution().await;
    load(layout.path(), &target).run().await.assert_code(0);

    let amd64 = |image: &Image| image.manifests().next().unwrap().digest.clone();
    let lost = [
        &below.blobs().last().unwrap().digest,
        &pinned.blobs()[1].digest,
        &signed.of_sbom.blobs().last().unwrap().digest,
        &signed.older.blobs().last().unwrap().digest,
    ];
    for blob in lost {
        target.remove_blob(blob);
    }
    target.delete("team/child", &amd64(&child)).await;
    // Its layer, which its manifest in the layout need not tell if that is damaged.
    fs::write(blob_in(layout.path(), kept.digest()), "{}").unwrap();
    target.remove_blob(&kept.blobs()[1].digest);
    let mut damaged = [
        "team/below:1".to_owned(),
        "team/child:1".to_owned(),
        "team/kept:1".to_owned(),
        format!("team/pinned@{}", pinned.digest()),
        format!("{REPOSITORY}:{}", signed.older_tag()),
        format!("{REPOSITORY}:{}", digest_tag(signed.sbom.digest())),
    ];
    damaged.sort();
    let told = |lines: &[Value], outcome: &str| {
        let lines = lines.iter().filter(|line| line["outcome"] == outcome);
        let mut names: Vec<String> = lines.map(|line| line["image"].as_str().unwrap().to_owned()).collect();
        names.sort();
        names
    };
    target.take_requests();
    for (more, outcome) in [(&["--dry-run"][..], "would_copy"), (&[], "copied"), (&[], "")] {
        let (lines, summary) = outcomes(&load(layout.path(), &target).args(more).run().await.assert_code(0));
        let expected: &[String] = if outcome.is_empty() { &[] } else { &damaged };
        assert_eq!(told(&lines, outcome), expected, "{lines:#?}");
        assert_eq!(told(&lines, "already_there").len(), lines.len() - expected.len(), "{lines:#?}");
        let requests = target.take_requests();
        if outcome == "copied" {
            assert!(summary["bytes"].as_u64().unwrap() > 0, "{summary}");
            signed.assert_at(&target, false).await;
            for (name, image) in [("below", &below), ("child", &child), ("intact", &intact), ("kept", &kept)] {
                target.assert_has(&format!("team/{name}"), "1", image).await;
            }
            target.assert_has("team/pinned", pinned.digest(), &pinned).await;
            continue;
        }
        assert_eq!(writes(&requests), [&requests[0]; 0]);
        let asked = requests.iter().filter(|request| request.path.contains("/team/intact/"));
        // The tag, its manifest and two below it, each with a configuration and two layers.
        assert!(requests.iter().filter(|request| request.is_blob()).all(|request| request.method == "HEAD"));
        assert_eq!(asked.count(), 1 + 1 + 2 + 2 * 3, "{requests:#?}");
    }
}

#[tokio::test]
async fn an_interrupted_load_tells_what_it_has_done() {
    let source = distribution().await;
    let layout = layout(&[source.push("team/a", "1", &index("interrupted")).await]).await;
    let target = distribution().await;
    let (reached, mut is_reached) = watch::channel(false);
    let is_upload = move |request: &Request| {
        let is_upload = request.method == "POST";
        if is_upload {
            reached.send_replace(true);
        }
        is_upload
    };
    target.inject(99, is_upload, Fault::Delay(Duration::from_secs(300)));
    let moment = async { drop(is_reached.wait_for(|reached| *reached).await.unwrap()) };
    let finished = load(layout.path(), &target).run_and_send(&["INT"], moment).await.assert_code(130);
    let last: Value = serde_json::from_str(finished.stdout.lines().last().unwrap()).unwrap();
    assert_eq!((&last["interrupted"], &last["summary"]["notDone"]), (&json!("SIGINT"), &json!(1)), "{last}");
}

#[tokio::test]
async fn a_damaged_file_is_told_and_the_other_images_are_loaded() {
    let source = distribution().await;
    let images = ["flipped", "short", "missing", "child", "whole"].map(index);
    let names = ["flipped", "short", "missing", "child", "whole"];
    let mut references = Vec::new();
    for (name, image) in names.iter().zip(&images) {
        references.push(source.push(&format!("team/{name}"), "1", image).await);
    }
    let layout = layout(&references).await;
    // The layer that only this image has.
    let own = |image: &Image| blob_in(layout.path(), &image.blobs()[2].digest);
    let child = blob_in(layout.path(), &images[3].manifests().next().unwrap().digest);
    let files = [own(&images[0]), own(&images[1]), own(&images[2]), child];
    let flipped = fs::read(&files[0]).unwrap().iter().map(|byte| byte ^ 1).collect::<Vec<_>>();
    fs::write(&files[0], flipped).unwrap();
    fs::write(&files[1], b"short").unwrap();
    fs::remove_file(&files[2]).unwrap();
    fs::write(&files[3], b"{}").unwrap();
    let target = distribution().await;
    let (lines, summary) = outcomes(&load(layout.path(), &target).run().await.assert_code(1));
    target.assert_has("team/whole", "1", &images[4]).await;
    for ((name, file), reason) in
        names.iter().zip(&files).zip(["has the digest", "5 bytes instead of", "is missing", "has the digest"])
    {
        let line = outcome(&lines, &format!("team/{name}:1"));
        let told = line["reason"].as_str().unwrap_or_else(|| panic!("{line}"));
        assert!(told.contains(&file.display().to_string()) && told.contains(reason), "{told}");
        assert_eq!(target.manifest(&format!("team/{name}"), "1").await, None, "{name}");
    }
    assert_eq!((&summary["copied"], &summary["failed"]), (&json!(1), &json!(4)), "{summary}");

    // A dry run finds what is missing, and reads no blob.
    let empty = distribution().await;
    let dry = load(layout.path(), &empty).arg("--dry-run").run().await.assert_code(1);
    let (lines, summary) = outcomes(&dry);
    assert_eq!((&summary["wouldCopy"], &summary["failed"]), (&json!(2), &json!(3)), "{summary}");
    assert_eq!(outcome(&lines, "team/whole:1")["outcome"], "would_copy");
    let requests = empty.take_requests();
    assert_eq!(writes(&requests), [&requests[0]; 0]);
}

#[tokio::test]
async fn names_that_are_no_repositories_are_told_and_the_others_loaded() {
    let source = distribution().await;
    let image = index("named");
    let layout = layout(&[source.push("team/app", "1", &image).await]).await;
    let mut index = index_json(layout.path());
    let entry = index["manifests"][0].clone();
    for name in ["1.27", "Team/App:1", "localhost:5000/app:1"] {
        let mut other = entry.clone();
        other["annotations"]["org.opencontainers.image.ref.name"] = json!(name);
        index["manifests"].as_array_mut().unwrap().push(other);
    }
    let mut unnamed = entry.clone();
    unnamed.as_object_mut().unwrap().remove("annotations");
    index["manifests"].as_array_mut().unwrap().push(unnamed);
    fs::write(layout.path().join("index.json"), index.to_string()).unwrap();
    let target = distribution().await;
    let (lines, summary) = outcomes(&load(layout.path(), &target).run().await.assert_code(1));
    target.assert_has("team/app", "1", &image).await;
    let requests = target.take_requests();
    assert!(
        requests.iter().all(|request| request.path.starts_with("/v2/team/app/") || request.path == "/v2/"),
        "{requests:#?}"
    );
    for (name, reason) in [
        ("1.27", "no repository"),
        ("Team/App:1", "Team/App"),
        ("localhost:5000/app:1", "localhost:5000"),
        ("", image.digest()),
    ] {
        let line = outcome(&lines, name);
        assert!(line["reason"].as_str().unwrap().contains(reason) && line["target"].is_null(), "{line}");
    }
    assert_eq!((&summary["copied"], &summary["failed"]), (&json!(1), &json!(4)), "{summary}");
}

#[tokio::test]
async fn a_tag_with_another_digest_moves_unless_that_is_forbidden() {
    let source = distribution().await;
    let (new, old) = (index("new"), index("old"));
    let images = [source.push("team/app", "1", &new).await, source.push("team/app", "latest", &new).await];
    let layout = layout(&images).await;
    let target = distribution().await;
    for tag in ["1", "latest"] {
        target.push("team/app", tag, &old).await;
    }
    let load = load(layout.path(), &target);
    let kept = load.env("ALLOW_DIFFERENT_DIGEST_REPUSH", "false");
    let (lines, _) = outcomes(&kept.run().await.assert_code(1));
    let line = outcome(&lines, "team/app:1");
    assert_eq!((&line["outcome"], &line["kind"]), (&json!("failed"), &json!("different_digest")), "{line}");
    target.assert_has("team/app", "1", &old).await;
    target.assert_has("team/app", "latest", &new).await;
    kept.env("ALLOW_DIFFERENT_DIGEST_REPUSH", "true").run().await.assert_code(0);
    target.assert_has("team/app", "1", &new).await;
}

#[tokio::test]
async fn what_was_signed_at_the_target_stays() {
    let signed = Signed::new();
    let source = Registry::with_referrers_api().await;
    let layout = layout(&[signed.push(&source, true).await]).await;
    let target = distribution().await;
    target.push(REPOSITORY, "1", &signed.image).await;
    let own = referrer(BUNDLE, "made at the target", signed.image.root());
    push_referrers(&target, false, signed.image.digest(), &[&own]).await;
    let own_older = Image::artifact("sig", "made at the target", None);
    target.push(REPOSITORY, &signed.older_tag(), &own_older).await;
    let (lines, _) = outcomes(&load(layout.path(), &target).run().await.assert_code(1));
    let mut expected = [own.digest(), signed.signature.digest(), signed.sbom.digest()];
    expected.sort_unstable();
    assert_eq!(listed(&target, false, signed.image.digest()).await, expected);
    target.assert_has(REPOSITORY, &signed.older_tag(), &own_older).await;
    let line = outcome(&lines, &format!("{REPOSITORY}:{}", signed.older_tag()));
    assert!(line["reason"].as_str().unwrap().contains("signatures that the layout's lacks"), "{line}");
}

#[tokio::test]
async fn a_required_referrer_that_is_damaged_holds_the_tag_back() {
    let signed = Signed::new();
    let source = Registry::with_referrers_api().await;
    let images = [signed.push(&source, true).await, source.push(REPOSITORY, "2", &index("unsigned")).await];
    let layout = layout(&images).await;
    fs::write(blob_in(layout.path(), signed.signature.digest()), "{}").unwrap();
    let target = Registry::with_referrers_api().await;
    let load = load(layout.path(), &target).env("REFERRERS_REQUIRED", "true");
    let (lines, _) = outcomes(&load.run().await.assert_code(1));
    assert_eq!(target.manifest(REPOSITORY, "1").await, None);
    assert!(target.manifest(REPOSITORY, "2").await.is_some(), "it has no referrers");
    assert_eq!(outcome(&lines, &format!("{REPOSITORY}:1"))["kind"], "referrer");
    let list = outcome(&lines, &format!("{REPOSITORY}:{}", digest_tag(signed.image.digest())));
    assert!(list["reason"].as_str().unwrap().contains(signed.signature.digest()), "{list}");
    load.env("REFERRERS_REQUIRED", "false").run().await.assert_code(1);
    target.assert_has(REPOSITORY, "1", &signed.image).await;
    assert_eq!(listed(&target, true, signed.image.digest()).await, [signed.sbom.digest()]);
}

#[tokio::test]
async fn a_blob_of_several_repositories_is_sent_once() {
    let source = distribution().await;
    let shared = Layer::random(16, 3 << 20).unwrap();
    let mut references = Vec::new();
    for number in 0..6 {
        let own = Layer::random(number, 1000).unwrap();
        let image = Image::single(Format::Oci, "amd64", &[shared.clone(), own]);
        references.push(source.push(&format!("team/app{number}"), "1", &image).await);
    }
    let layout = layout(&references).await;
    let target = distribution().await;
    let (_, summary) = outcomes(&load(layout.path(), &target).run().await.assert_code(0));
    let bytes = summary["bytes"].as_u64().unwrap();
    assert!(bytes < 2 * (3 << 20), "the others mount it: {bytes}");
}

#[tokio::test]
async fn a_layout_is_loaded_into_another_one() {
    let signed = Signed::new();
    let source = Registry::with_referrers_api().await;
    let from = layout(&[signed.push(&source, true).await]).await;
    let folder = tempfile::tempdir().unwrap();
    let to = folder.path().join("to");
    let program = Program::new(&["load"]).arg(from.path()).env("TARGET_KIND", "oci-layout").env("TARGET_PATH", &to);
    let finished = program.run().await.assert_code(0);
    assert!(finished.stdout.contains(&format!("-> oci:{}:{REPOSITORY}:1", to.display())), "{}", finished.stdout);
    let sorted = |layout: &Path| {
        let mut entries: Vec<String> =
            index_json(layout)["manifests"].as_array().unwrap().iter().map(ToString::to_string).collect();
        entries.sort();
        entries
    };
    assert_eq!(sorted(from.path()), sorted(&to));
    let blobs = |layout: &Path| {
        let files = fs::read_dir(layout.join("blobs/sha256")).unwrap().map(|file| file.unwrap());
        let mut blobs: Vec<_> = files.map(|file| (file.file_name(), fs::read(file.path()).unwrap())).collect();
        blobs.sort();
        blobs
    };
    let copied = blobs(&to);
    assert!(blobs(from.path()).iter().all(|blob| copied.contains(blob)), "every blob is there");
    let again = program.run().await.assert_code(0);
    assert!(again.stdout.lines().last().unwrap().contains("already there") && !again.stdout.contains("copied"));
}

/// Runs the system's tar.
fn tar(arguments: &[&std::ffi::OsStr]) {
    assert!(std::process::Command::new("tar").args(arguments).status().unwrap().success());
}

#[tokio::test]
async fn a_tar_file_of_a_layout_is_loaded_where_it_is() {
    let signed = Signed::new();
    let (web, large) = (index("web"), Layer::random(5, 2_000_000).unwrap());
    let large = Image::single(Format::Oci, "amd64", &[large]);
    let source = Registry::with_referrers_api().await;
    let images = [
        signed.push(&source, true).await,
        source.push("team/web", "1.27", &web).await,
        source.push("team/large", "1", &large).await,
    ];
    let layout = layout(&images).await;
    let folder = tempfile::tempdir().unwrap();
    let (plain, nested) = (folder.path().join("plain.tar"), folder.path().join("nested.tar"));
    let path = |path: &Path| path.as_os_str().to_owned();
    tar(&["-C".as_ref(), &path(layout.path()), "-cf".as_ref(), &path(&plain), ".".as_ref()]);
    let (parent, name) = (layout.path().parent().unwrap(), layout.path().file_name().unwrap());
    // With the names of another format of tar.
    tar(&["--format=pax".as_ref(), "-C".as_ref(), &path(parent), "-cf".as_ref(), &path(&nested), name]);
    for (tar, has_api) in [(&plain, true), (&nested, false)] {
        let target = crate::referrers::registry(has_api).await;
        let load = load(tar, &target);
        load.run().await.assert_code(0);
        signed.assert_at(&target, has_api).await;
        target.assert_has("team/web", "1.27", &web).await;
        target.assert_has("team/large", "1", &large).await;
        target.take_requests();
        load.run().await.assert_code(0);
        let requests = target.take_requests();
        assert_eq!(writes(&requests), [&requests[0]; 0], "the second run sends nothing");
    }
}

#[tokio::test]
async fn a_tar_file_that_is_damaged_or_no_layout_is_told() {
    let source = distribution().await;
    let image = Image::single(Format::Oci, "amd64", &[Layer::random(6, 600_000).unwrap()]);
    let layout = layout(&[source.push("team/app", "1", &image).await]).await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("images.tar");
    let path = |path: &Path| path.as_os_str().to_owned();
    tar(&["-C".as_ref(), &path(layout.path()), "-cf".as_ref(), &path(&file), ".".as_ref()]);
    let whole = fs::read(&file).unwrap();
    let target = distribution().await;

    // One bit of the layer.
    let layer = &image.blobs()[1];
    let at = whole.windows(64).position(|bytes| *bytes == layer.bytes[..64]).unwrap();
    let mut flipped = whole.clone();
    flipped[at + 400_000] ^= 1;
    fs::write(&file, flipped).unwrap();
    let (lines, _) = outcomes(&load(&file, &target).run().await.assert_code(1));
    let reason = outcome(&lines, "team/app:1")["reason"].as_str().unwrap();
    let member = format!("{}/blobs/{}", file.display(), layer.digest.replace(':', "/"));
    assert!(reason.contains(&member) && reason.contains("has the digest"), "{reason}");
    assert_eq!(target.manifest("team/app", "1").await, None);

    let gzip = folder.path().join("images.tar.gz");
    tar(&["-C".as_ref(), &path(layout.path()), "-czf".as_ref(), &path(&gzip), ".".as_ref()]);
    let cut = folder.path().join("cut.tar");
    fs::write(&cut, &whole[..at + 1000]).unwrap();
    let other = folder.path().join("other.tar");
    tar(&["-C".as_ref(), &path(folder.path()), "-cf".as_ref(), &path(&other), "cut.tar".as_ref()]);
    let text = folder.path().join("text.tar");
    fs::write(&text, "no tar file ".repeat(100)).unwrap();
    let absent = folder.path().join("absent.tar");
    for (file, message) in [
        (&gzip, "is compressed: decompress it first"),
        (&cut, "ends in the middle of blobs/sha256/"),
        (&other, "is no image layout: it has no file oci-layout"),
        (&text, "is no tar file, or damaged"),
        (&absent, "can't read"),
        (&"/dev/null".into(), "write it to a file first"),
    ] {
        let finished = load(file, &target).run().await.assert_code(1);
        assert!(finished.stderr.contains(message), "{message}: {}", finished.stderr);
        assert!(finished.stderr.contains(&file.display().to_string()), "{}", finished.stderr);
    }
}

#[tokio::test]
async fn repositories_of_amazon_ecr_are_created() {
    let source = distribution().await;
    let (web, tool) = (index("web"), single("tool"));
    let images = [source.push("team/web", "1", &web).await, source.push("tool", "2", &tool).await];
    let layout = layout(&images).await;
    let aws = Aws::start().await;
    let program = Program::new(&["load"]).arg(layout.path()).aws(&aws).env("AWS_REGION", "eu-central-1");
    program.env("ECR_ACCOUNT_ID", aws.account()).run().await.assert_code(0);
    let ecr = aws.registry(aws.account(), "eu-central-1").await;
    ecr.assert_has("team/web", "1", &web).await;
    ecr.assert_has("tool", "2", &tool).await;
}

#[tokio::test]
async fn what_can_not_be_loaded_is_refused_before_anything_is_written() {
    let source = distribution().await;
    let layout = layout(&[source.push("team/app", "1", &index("chosen")).await]).await;
    let (first, second) = (distribution().await, distribution().await);
    let config = format!(
        "targets:\n- {{ name: first, kind: docker, registry: '{}' }}\n- {{ name: second, kind: docker, registry: '{}' }}\n",
        first.host(),
        second.host()
    );
    let load = |arguments: &[&str]| Program::new(&["load"]).arg(layout.path()).args(arguments).config(&config);
    for (arguments, message) in [
        (&[][..], "several targets are configured: choose one of first, second with --target"),
        (&["--target", "third"], "there is no target third: --target must be one of first, second"),
    ] {
        let finished = load(arguments).run().await.assert_code(2);
        assert_eq!(finished.stderr.trim(), message);
    }
    load(&["--target", "second", "--dry-pull"]).run().await.assert_code(0);
    assert_eq!((first.take_requests(), second.take_requests()), (vec![], vec![]));
    load(&["--target", "second"]).run().await.assert_code(0);
    assert_eq!(first.take_requests(), []);
    assert!(second.manifest("team/app", "1").await.is_some());

    let folder = tempfile::tempdir().unwrap();
    let program = Program::new(&["load"]).arg(folder.path());
    let finished = program.env("TARGET_KIND", "docker").env("TARGET_REGISTRY", first.host()).run().await.assert_code(1);
    assert!(finished.stderr.contains("is no image layout: it has no file oci-layout"), "{}", finished.stderr);
}
