//! `verify` finds what is not whole at the targets.

use std::{fs, path::Path};

use demo::Image;
use serde_json::Value;

use crate::{
    mirroring::{index, single},
    planning::command,
    support::{Access, Fault, Finished, Program, Registry, deployment, list},
};

pub fn manifests(images: &[&str]) -> String {
    let workloads = images.iter().enumerate();
    list(
        &workloads
            .map(|(number, image)| deployment(&format!("app-{number}")).image(image).manifest())
            .collect::<Vec<_>>(),
    )
}

pub fn verify(images: &[&str], target: &Registry, more: &[&str]) -> Program {
    let arguments = [&["verify", "-f", "-", "-o", "json"][..], more].concat();
    command(&arguments, &manifests(images)).env("TARGET_REGISTRY", target.host()).env("REGISTRY_RETRY_ATTEMPTS", "1")
}

pub async fn sync(images: &[&str], target: &Registry) {
    let sync = command(&["sync", "-f", "-"], &manifests(images)).env("TARGET_REGISTRY", target.host());
    sync.run().await.assert_code(0);
}

pub fn document(finished: &Finished) -> Value {
    serde_json::from_str(&finished.stdout).unwrap()
}

/// Result and reason of each image, by the last part of its repository.
pub fn result<'d>(document: &'d Value, name: &str) -> (&'d str, &'d str) {
    let image = document["images"].as_array().unwrap().iter();
    let image =
        image.into_iter().find(|image| image["destination"].as_str().unwrap().contains(&format!("/{name}"))).unwrap();
    (image["result"].as_str().unwrap(), image["reason"].as_str().unwrap_or_default())
}

#[tokio::test]
async fn each_kind_of_damage_is_found_and_named() {
    let source = Registry::distribution(Access::Anonymous).await;
    let target = Registry::distribution(Access::Anonymous).await;
    let names = ["whole", "gone", "blob", "child", "cut", "flipped", "moved", "split", "archived", "slow"];
    let images: Vec<Image> = names.iter().map(|name| index(name)).collect();
    let mut references = Vec::new();
    for (name, image) in names.iter().zip(&images) {
        references.push(source.push(&format!("team/{name}"), "1", image).await);
    }
    let references: Vec<&str> = references.iter().map(String::as_str).collect();
    sync(&references, &target).await;
    let finished = verify(&references, &target, &["--deep"]).run().await.assert_code(0);
    let all = document(&finished);
    assert_eq!(all["summary"]["images"]["whole"], names.len(), "{all}");
    let results = ["missing", "incomplete", "corrupt", "unknown", "drifted"];
    assert!(results.iter().all(|result| all["summary"]["images"][result] == 0), "every key is always there: {all}");
    assert!(all["summary"]["bytesRead"].as_u64().unwrap() > 0 && all["summary"]["cut"] == false, "{all}");

    let own = |name: &str| {
        let image = &images[names.iter().position(|other| *other == name).unwrap()];
        // Only this image has it: the configuration of its first platform.
        (image, image.blobs()[0].digest.clone())
    };
    target.remove_repository("team/gone");
    target.remove_blob(&own_layer(own("blob").0));
    target.delete("team/child", &own("child").0.manifests().next().unwrap().digest).await;
    target.damage_blob(&own_layer(own("cut").0), |bytes| bytes.truncate(bytes.len() / 2));
    target.damage_blob(&own_layer(own("flipped").0), |bytes| *bytes.last_mut().unwrap() ^= 1);
    source.push("team/moved", "1", &index("moved on")).await;
    let split = own("split").0.digest().to_owned();
    target.inject(99, move |request| request.path.ends_with(&split), Fault::Answer(404, vec![]));
    target.inject(99, |request| request.path.contains("/archived/blobs/"), Fault::Answer(404, vec![]));
    target.inject(99, |request| request.path.contains("/slow/blobs/"), Fault::Answer(503, vec![]));

    let finished = verify(&references, &target, &["--deep"]).run().await.assert_code(1);
    let all = document(&finished);
    for (name, expected, part) in [
        ("whole", "whole", ""),
        ("gone", "missing", "the target does not have it"),
        ("blob", "incomplete", own_layer(own("blob").0).as_str()),
        ("child", "incomplete", &own("child").0.manifests().next().unwrap().digest),
        ("cut", "corrupt", "bytes instead of"),
        ("flipped", "corrupt", &own_layer(own("flipped").0)),
        ("moved", "drifted", "the source has"),
        ("split", "incomplete", own("split").0.digest()),
        ("archived", "incomplete", "parts are missing"),
        ("slow", "unknown", "503"),
    ] {
        let (result, reason) = result(&all, name);
        assert_eq!(result, expected, "{name}: {reason}");
        assert!(reason.contains(part), "{name}: {reason}");
    }
    let shallow = verify(&references, &target, &[]).run().await.assert_code(1);
    assert_eq!(result(&document(&shallow), "flipped").0, "whole", "only --deep reads bytes");

    for (fail_on, code) in [("drifted", 1), ("corrupt,drifted", 1)] {
        verify(&references, &target, &["--fail-on", fail_on]).run().await.assert_code(code);
    }
    let moved = [references[6]];
    verify(&moved, &target, &[]).run().await.assert_code(0);
    verify(&moved, &target, &["--fail-on", "drifted"]).run().await.assert_code(1);
    let finished = verify(&moved, &target, &["--no-source", "--fail-on", "drifted"]).run().await.assert_code(0);
    assert_eq!(result(&document(&finished), "moved").0, "whole");
}

/// A layer that no other image has.
pub fn own_layer(image: &Image) -> String {
    image.blobs().last().unwrap().digest.clone()
}

#[tokio::test]
async fn the_result_is_readable_for_people_and_for_ci_systems() {
    let (source, target) = (Registry::distribution(Access::Anonymous).await, Registry::crane().await);
    let app = source.push("team/app", "1", &single("app")).await;
    sync(&[&app], &target).await;
    let absent = format!("{}/team/absent:1", source.host());
    let images = [app.as_str(), &absent, "No <Image>"];
    let with = |output: &str| {
        let arguments = ["verify", "-f", "-", "-o", output].map(str::to_owned);
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        command(&arguments, &manifests(&images)).env("TARGET_REGISTRY", target.host())
    };
    let finished = with("text").run().await.assert_code(1);
    let lines: Vec<&str> = finished.stdout.lines().collect();
    assert!(lines[0].starts_with("RESULT") && lines[1].starts_with("missing    "), "{}", finished.stdout);
    let summary = *lines.last().unwrap();
    assert!(summary.starts_with("1 whole, 1 missing, 1 undecided; "), "{summary}");
    assert!(!finished.stdout.contains("team/app:1"), "what is whole is not listed: {}", finished.stdout);

    let finished = with("junit").run().await.assert_code(1);
    let xml = &finished.stdout;
    assert!(xml.contains("tests=\"3\" failures=\"1\" errors=\"1\""), "{xml}");
    assert!(xml.contains("name=\"No &lt;Image&gt;\"") && xml.contains("<failure type=\"missing\""), "{xml}");
    let read = std::process::Command::new("python3")
        .args([
            "-c",
            "import sys, xml.dom.minidom as x; print(len(x.parseString(sys.argv[1]).getElementsByTagName('testcase')))",
        ])
        .arg(xml)
        .output()
        .unwrap();
    assert_eq!(String::from_utf8_lossy(&read.stdout).trim(), "3", "{}", String::from_utf8_lossy(&read.stderr));

    // A source that is gone is no reason to fail: that day is what the mirror is for.
    drop(source);
    let finished = verify(&[&app], &target, &[]).run().await.assert_code(0);
    let document = document(&finished);
    let (result, reason) = result(&document, "app");
    assert!(result == "whole" && reason.starts_with("not compared with the source: "), "{result} {reason}");
    assert_eq!(document["images"][0]["digestAtSource"], Value::Null);
}

#[tokio::test]
async fn a_layout_is_verified_too() {
    let source = Registry::distribution(Access::Anonymous).await;
    let (image, other) = (index("app"), single("other"));
    let references = [source.push("team/app", "1", &image).await, source.push("team/other", "1", &other).await];
    let references: Vec<&str> = references.iter().map(String::as_str).collect();
    let folder = tempfile::tempdir().unwrap();
    let at_layout = |arguments: &[&str]| {
        let program = command(arguments, &manifests(&references)).unset("TARGET_REGISTRY");
        program.env("TARGET_KIND", "oci-layout").env("TARGET_PATH", folder.path())
    };
    at_layout(&["sync", "-f", "-"]).run().await.assert_code(0);
    let verify = at_layout(&["verify", "-f", "-", "-o", "json", "--deep"]);
    verify.run().await.assert_code(0);
    fs::write(blob_in(folder.path(), &own_layer(&image)), "other bytes").unwrap();
    let layer = fs::read(blob_in(folder.path(), &own_layer(&other))).unwrap();
    let flipped: Vec<u8> = layer.iter().map(|byte| byte ^ 1).collect();
    fs::write(blob_in(folder.path(), &own_layer(&other)), flipped).unwrap();
    let all = document(&verify.run().await.assert_code(1));
    assert_eq!((result(&all, "app").0, result(&all, "other").0), ("corrupt", "corrupt"), "{all}");
    fs::remove_file(blob_in(folder.path(), &own_layer(&image))).unwrap();
    let all = document(&verify.run().await.assert_code(1));
    assert_eq!(result(&all, "app").0, "incomplete", "{all}");
}

pub fn blob_in(layout: &Path, digest: &str) -> std::path::PathBuf {
    layout.join("blobs").join(digest.replace(':', "/"))
}
