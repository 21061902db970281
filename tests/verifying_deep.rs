//! `verify --deep` reads the bytes of blobs, within a budget, and continues later.

use std::{fs, path::Path};

use demo::{Format, Image, Layer};
use serde_json::{Value, json};

use crate::{
    mirroring::single,
    planning::command,
    support::{Access, Registry, Request, eventually},
    verifying::{document, manifests, sync, verify},
};

/// Images at a source and a target, with the references of the source.
async fn mirrored(images: &[Image]) -> (Registry, Registry, Vec<String>) {
    let source = Registry::distribution(Access::Anonymous).await;
    let target = Registry::distribution(Access::Anonymous).await;
    let mut references = Vec::new();
    for (number, image) in images.iter().enumerate() {
        references.push(source.push(&format!("team/app{number}"), "1", image).await);
    }
    let names: Vec<&str> = references.iter().map(String::as_str).collect();
    sync(&names, &target).await;
    (source, target, references)
}

fn blobs_read(target: &Registry) -> usize {
    let is_read = |request: &&Request| request.method == "GET" && request.is_blob();
    target.take_requests().iter().filter(is_read).count()
}

/// The blobs that a progress file names.
fn noted(file: &Path) -> Option<usize> {
    let progress: Value = serde_json::from_slice(&fs::read(file).ok()?).unwrap();
    Some(progress["read"].as_array().unwrap().len())
}

#[tokio::test]
async fn reading_continues_where_the_budget_ended() {
    let (source, target) =
        (Registry::distribution(Access::Anonymous).await, Registry::distribution(Access::Anonymous).await);
    let mut references = Vec::new();
    for number in 0..4 {
        references.push(source.push(&format!("team/app{number}"), "1", &single(&format!("app {number}"))).await);
    }
    let references: Vec<&str> = references.iter().map(String::as_str).collect();
    sync(&references, &target).await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("progress.json");
    let file = file.to_str().unwrap();
    let mut blobs = 0;
    for run in 1.. {
        target.take_requests();
        let deep = ["--deep", "--bytes", "600", "--progress", file];
        let finished = verify(&references, &target, &deep).run().await.assert_code(0);
        let read = target.take_requests();
        blobs += read.iter().filter(|request: &&Request| request.method == "GET" && request.is_blob()).count();
        let all = document(&finished);
        assert!(all["summary"]["bytesRead"].as_u64().unwrap() <= 600, "{all}");
        if all["summary"]["cut"] == json!(false) {
            assert!(run > 1, "the budget was too large for this test: {all}");
            break;
        }
        assert!(run < 20, "it never ends: {all}");
    }
    assert_eq!(blobs, 8, "each of the configurations and layers is read once");
    assert!(fs::read_to_string(file).unwrap().contains("\"read\":[]"), "the next round begins anew");
}

#[tokio::test]
async fn a_blob_larger_than_the_whole_budget_is_named_with_the_budget_that_it_needs() {
    let large = Image::single(Format::Oci, "amd64", &[Layer::random(7, 5_000).unwrap()]);
    let layer = large.blobs().last().unwrap().clone();
    let (_source, target, references) = mirrored(&[single("small"), large.clone(), single("other")]).await;
    let references: Vec<&str> = references.iter().map(String::as_str).collect();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("progress.json");
    let deep = ["--deep", "--bytes", "1000", "--progress", file.to_str().unwrap()];
    let mut runs = 0;
    let last = loop {
        runs += 1;
        assert!(runs < 20, "it never ends");
        let all = document(&verify(&references, &target, &deep).run().await.assert_code(0));
        assert_eq!(all["summary"]["bytesNeeded"], layer.bytes.len(), "{all}");
        assert_eq!(all["summary"]["blobNeedingMost"], layer.digest.as_str(), "{all}");
        assert_eq!(all["summary"]["cut"], true, "{all}");
        if all["summary"]["blobsNotRead"] == 1 {
            break all;
        }
    };
    assert_eq!(last["summary"]["bytesNotRead"], layer.bytes.len(), "{last}");
    assert_eq!(noted(&file), Some(0), "all that the budget allows was read: the next round begins anew");

    let text = command(&["verify", "-f", "-", "--deep", "--bytes", "1000"], &manifests(&references));
    let finished = text.env("TARGET_REGISTRY", target.host()).run().await.assert_code(0);
    let summary = finished.stdout.lines().last().unwrap();
    let needed = format!("--bytes {}", layer.bytes.len());
    for part in ["not read", &layer.digest, &needed] {
        assert!(summary.contains(part), "{part}: {summary}");
    }
    let junit = command(&["verify", "-f", "-", "--deep", "--bytes", "1000", "-o", "junit"], &manifests(&references));
    let finished = junit.env("TARGET_REGISTRY", target.host()).run().await.assert_code(0);
    assert!(finished.stdout.contains("<system-out>") && finished.stdout.contains(&needed), "{finished:?}");
    let enough = ["--deep", "--bytes", "100k"];
    let all = document(&verify(&references, &target, &enough).run().await.assert_code(0));
    assert_eq!((&all["summary"]["blobsNotRead"], &all["summary"]["bytesNeeded"]), (&json!(0), &Value::Null), "{all}");
}

#[tokio::test]
async fn an_interrupted_reading_continues_where_it_was() {
    let images: Vec<Image> = (0..3).map(|number| single(&format!("interrupted {number}"))).collect();
    let (_source, target, references) = mirrored(&images).await;
    let references: Vec<&str> = references.iter().map(String::as_str).collect();
    let folder = tempfile::tempdir().unwrap();
    // After the first blob the next has to wait for minutes.
    let slowly =
        |file: &Path| verify(&references, &target, &["--deep", "--rate", "1", "--progress", file.to_str().unwrap()]);
    let some = |file: &Path| {
        let file = file.to_owned();
        async move {
            eventually("a blob is noted", || async { noted(&file).filter(|blobs| *blobs > 0) }).await;
        }
    };
    let killed = folder.path().join("killed.json");
    assert!(slowly(&killed).run_until(some(&killed)).await.is_none());
    for (signal, code) in [("TERM", 143), ("INT", 130)] {
        let file = folder.path().join(signal);
        let finished = slowly(&file).run_and_send(&[signal], some(&file)).await.assert_code(code);
        assert_eq!(finished.stdout, "", "what is not complete is no document");
        let told = finished.stderr.lines().last().unwrap();
        assert!(told.contains(&format!("SIG{signal}")) && told.contains(file.to_str().unwrap()), "{finished:?}");
    }
    for name in ["killed.json", "TERM", "INT"] {
        let file = folder.path().join(name);
        let before = noted(&file).unwrap();
        target.take_requests();
        let deep = ["--deep", "--progress", file.to_str().unwrap()];
        verify(&references, &target, &deep).run().await.assert_code(0);
        assert_eq!(blobs_read(&target), 2 * images.len() - before, "{name}");
        assert_eq!(noted(&file), Some(0), "{name}");
    }
}

#[tokio::test]
async fn a_progress_file_that_can_not_be_written_is_told_before_anything_is_read() {
    let (_source, target, references) = mirrored(&[single("unwritable")]).await;
    target.take_requests();
    let deep = ["--deep", "--progress", "/nonexistent/progress.json"];
    let finished = verify(&[references[0].as_str()], &target, &deep).run().await.assert_code(1);
    assert!(finished.stderr.contains("cannot write /nonexistent/progress.json"), "{finished:?}");
    assert_eq!(target.take_requests().len(), 0);
}
