//! The public API of layouts.

use std::{
    fs,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use bytes::Bytes;
use futures::stream;
use serde_json::{Value, json};

use super::*;
use crate::model::Retry;

const IMAGE: &str = "application/vnd.oci.image.manifest.v1+json";
const INDEX: &str = "application/vnd.oci.image.index.v1+json";
const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const LAYER: &str = "application/vnd.oci.image.layer.v1.tar+gzip";

fn descriptor(media_type: &str, content: &[u8]) -> Descriptor {
    Descriptor {
        media_type: media_type.to_owned(),
        digest: Digest::sha256(content),
        size: content.len() as u64,
        foreign: false,
    }
}

fn as_json(descriptor: &Descriptor) -> Value {
    json!({"mediaType": descriptor.media_type, "digest": descriptor.digest.to_string(), "size": descriptor.size})
}

fn manifest(json: &Value) -> Manifest {
    Manifest::new(json.to_string().into(), json["mediaType"].as_str()).unwrap()
}

/// An image of one layer; the config is the layer's text in quotes.
fn image(layer: &str) -> Manifest {
    let config = format!("{layer:?}");
    manifest(&json!({
        "schemaVersion": 2,
        "mediaType": IMAGE,
        "config": as_json(&descriptor(CONFIG, config.as_bytes())),
        "layers": [as_json(&descriptor(LAYER, layer.as_bytes()))],
    }))
}

fn index_of(children: &[&Manifest]) -> Manifest {
    let manifests: Vec<_> = children.iter().map(|child| as_json(&child.descriptor())).collect();
    manifest(&json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": manifests}))
}

async fn upload(repository: &LayoutRepository, content: &str) {
    let pieces: Vec<_> = content.as_bytes().chunks(3).map(|piece| Ok(Bytes::copy_from_slice(piece))).collect();
    let body = Box::pin(stream::iter(pieces));
    repository.upload(&descriptor(LAYER, content.as_bytes()), body, |_| ()).await.unwrap();
}

async fn upload_blobs(repository: &LayoutRepository, layer: &str) {
    upload(repository, layer).await;
    upload(repository, &format!("{layer:?}")).await;
}

/// Stores an image with its blobs.
async fn put(repository: &LayoutRepository, tag: &str, layer: &str) -> Digest {
    upload_blobs(repository, layer).await;
    let image = image(layer);
    repository.put_manifest(TagOrDigest::Tag(tag), &image).await.unwrap();
    image.digest().clone()
}

async fn tag(repository: &LayoutRepository, tag: &str) -> Option<Digest> {
    repository.head(TagOrDigest::Tag(tag)).await.unwrap()
}

fn names(path: &Path) -> Vec<String> {
    let index: Value = serde_json::from_slice(&fs::read(path.join("index.json")).unwrap()).unwrap();
    let name = |entry: &Value| entry["annotations"]["org.opencontainers.image.ref.name"].as_str().unwrap().to_owned();
    index["manifests"].as_array().unwrap().iter().map(name).collect()
}

fn unfinished(path: &Path) -> usize {
    let name = |entry: io::Result<fs::DirEntry>| entry.unwrap().file_name().into_string().unwrap();
    fs::read_dir(path).unwrap().map(name).filter(|name| name.ends_with(".tmp")).count()
}

fn blob_path(path: &Path, digest: &Digest) -> PathBuf {
    path.join("blobs/sha256").join(digest.hex())
}

#[tokio::test]
async fn an_image_is_found_by_its_tag_and_by_its_digest() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("made/on/the/way");
    let layout = Layout::new(path.clone());
    let nginx = layout.repository("library/nginx");
    assert_eq!(tag(&nginx, "1.27").await, None);
    assert!(!path.exists(), "reading writes nothing");

    let digest = put(&nginx, "1.27", "layer").await;
    assert_eq!(tag(&nginx, "1.27").await, Some(digest.clone()));
    assert_eq!(nginx.head(TagOrDigest::Digest(&digest)).await.unwrap(), None, "a tag may move, and does not count");
    assert_eq!(tag(&nginx, "1.2").await, None);
    for other in ["library/nginx2", "library", "nginx", "library/nginx/a"] {
        let other = layout.repository(other);
        assert_eq!(other.head(TagOrDigest::Digest(&digest)).await.unwrap(), None, "names belong to a repository");
    }
    assert_eq!(fs::read(path.join("oci-layout")).unwrap(), br#"{"imageLayoutVersion":"1.0.0"}"#);
    assert_eq!(Bytes::from(fs::read(blob_path(&path, &digest)).unwrap()), image("layer").bytes());
    assert_eq!(names(&path), ["library/nginx:1.27"]);

    let manifest = nginx.manifest(&digest).await.unwrap().unwrap();
    nginx.put_manifest(TagOrDigest::Digest(&digest), &manifest).await.unwrap();
    assert_eq!(nginx.head(TagOrDigest::Digest(&digest)).await.unwrap(), Some(digest.clone()));
}

#[tokio::test]
async fn moving_a_tag_keeps_the_others() {
    let folder = tempfile::tempdir().unwrap();
    let layout = Layout::new(folder.path().to_owned());
    let (a, b) = (layout.repository("a"), layout.repository("b"));
    let old = put(&a, "1", "old").await;
    put(&b, "1", "old").await;
    let new = put(&a, "1", "new").await;
    assert_eq!((tag(&a, "1").await, tag(&b, "1").await), (Some(new), Some(old)));
    assert_eq!(names(folder.path()), ["a:1", "b:1"]);
}

#[tokio::test]
async fn an_image_without_a_tag_is_named_by_its_digest() {
    let folder = tempfile::tempdir().unwrap();
    let app = Layout::new(folder.path().to_owned()).repository("team/app");
    upload_blobs(&app, "layer").await;
    let image = image("layer");
    let digest = image.digest();
    app.put_manifest(TagOrDigest::Digest(digest), &image).await.unwrap();
    assert_eq!(app.head(TagOrDigest::Digest(digest)).await.unwrap().as_ref(), Some(digest));
    assert_eq!(names(folder.path()), [format!("team/app@{digest}")]);

    let other = Digest::sha256(b"other");
    let error = app.put_manifest(TagOrDigest::Digest(&other), &image).await.unwrap_err();
    assert!(matches!(error, LayoutError::OtherDigest { .. }), "{error}");
}

#[tokio::test]
async fn children_are_written_before_their_index_and_have_no_entry() {
    let folder = tempfile::tempdir().unwrap();
    let app = Layout::new(folder.path().to_owned()).repository("app");
    let children = [image("amd64"), image("arm64")];
    let index = index_of(&[&children[0], &children[1]]);
    for (child, layer) in children.iter().zip(["amd64", "arm64"]) {
        let error = app.put_manifest(TagOrDigest::Tag("1"), &index).await.unwrap_err();
        assert!(matches!(&error, LayoutError::Incomplete { missing, .. } if missing == child.digest()), "{error}");
        assert!(!app.has_child(child.digest()).await.unwrap());
        upload_blobs(&app, layer).await;
        app.put_child(child).await.unwrap();
        assert!(app.has_child(child.digest()).await.unwrap());
    }
    app.put_manifest(TagOrDigest::Tag("1"), &index).await.unwrap();
    assert_eq!(names(folder.path()), ["app:1"]);
    assert_eq!(tag(&app, "1").await.as_ref(), Some(index.digest()));

    // Without the last layer of the last platform the image is incomplete.
    fs::remove_file(blob_path(folder.path(), &Digest::sha256(b"arm64"))).unwrap();
    assert_eq!(tag(&app, "1").await, None);
    assert!(!app.has_child(children[1].digest()).await.unwrap());
    upload(&app, "arm64").await;
    assert_eq!(tag(&app, "1").await.as_ref(), Some(index.digest()));
}

#[tokio::test]
async fn an_index_may_list_layers() {
    let folder = tempfile::tempdir().unwrap();
    let app = Layout::new(folder.path().to_owned()).repository("app");
    let layer = as_json(&descriptor(LAYER, b"cached"));
    let cache = manifest(&json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": [layer]}));
    let error = app.put_manifest(TagOrDigest::Tag("cache"), &cache).await.unwrap_err();
    assert!(matches!(error, LayoutError::Incomplete { .. }), "{error}");
    upload(&app, "cached").await;
    app.put_manifest(TagOrDigest::Tag("cache"), &cache).await.unwrap();
    assert_eq!(tag(&app, "cache").await.as_ref(), Some(cache.digest()));
}

#[tokio::test]
async fn rejects_a_manifest_before_its_blobs() {
    let folder = tempfile::tempdir().unwrap();
    let app = Layout::new(folder.path().to_owned()).repository("app");
    upload(&app, "layer").await;
    let error = app.put_manifest(TagOrDigest::Tag("1"), &image("layer")).await.unwrap_err();
    let config = Digest::sha256(b"\"layer\"");
    assert!(matches!(&error, LayoutError::Incomplete { missing, .. } if *missing == config), "{error}");
    assert_eq!(tag(&app, "1").await, None);
}

#[tokio::test]
async fn replaces_damaged_content() {
    let folder = tempfile::tempdir().unwrap();
    let app = Layout::new(folder.path().to_owned()).repository("app");
    let digest = put(&app, "1", "layer").await;
    let truncated = blob_path(folder.path(), &Digest::sha256(b"layer"));
    fs::write(&truncated, "lay").unwrap();
    assert!(!app.has_blob(&descriptor(LAYER, b"layer")).await.unwrap());
    assert_eq!(tag(&app, "1").await, None);
    let changed = blob_path(folder.path(), &digest);
    let wrong: Vec<u8> = fs::read(&changed).unwrap().into_iter().rev().collect();
    fs::write(&changed, wrong).unwrap();
    assert_eq!(put(&app, "1", "layer").await, digest);
    assert_eq!(tag(&app, "1").await, Some(digest));
    assert_eq!(fs::read(truncated).unwrap(), b"layer");
}

#[tokio::test]
async fn a_failed_upload_leaves_no_file() {
    let folder = tempfile::tempdir().unwrap();
    let app = Layout::new(folder.path().to_owned()).repository("app");
    let announced = descriptor(LAYER, b"layer");
    let body: BlobStream = Box::pin(stream::iter([Ok(Bytes::from_static(b"lyaer"))]));
    let error = app.upload(&announced, body, |_| ()).await.unwrap_err();
    assert!(matches!(&error, LayoutUploadError::Target(LayoutError::Mismatch { .. })), "{error}");
    assert!(!app.has_blob(&announced).await.unwrap());

    let stuck = Arc::new(tokio::sync::Notify::new());
    let signal = Arc::clone(&stuck);
    let never = stream::once(async move {
        signal.notify_one();
        futures::future::pending().await
    });
    let body: BlobStream = Box::pin(stream::iter([Ok(Bytes::from_static(b"la"))]).chain(never));
    tokio::select! {
        result = app.upload(&announced, body, |_| ()) => panic!("{result:?}"),
        () = stuck.notified() => {}
    }
    assert_eq!(unfinished(folder.path()), 0);
    assert_eq!(fs::read_dir(folder.path().join("blobs/sha256")).unwrap().count(), 0);
}

#[tokio::test]
async fn reports_progress_of_every_byte() {
    let folder = tempfile::tempdir().unwrap();
    let app = Layout::new(folder.path().to_owned()).repository("app");
    let content: Vec<u8> = (0..5_000_003_u32).map(|n| (n % 251) as u8).collect();
    let pieces: Vec<_> = content.chunks(300_007).map(|piece| Ok(Bytes::copy_from_slice(piece))).collect();
    let progressed = Arc::new(AtomicU64::new(0));
    let progress = {
        let progressed = Arc::clone(&progressed);
        move |bytes| {
            progressed.fetch_add(bytes, Ordering::Relaxed);
        }
    };
    let announced = descriptor(LAYER, &content);
    app.upload(&announced, Box::pin(stream::iter(pieces)), progress).await.unwrap();
    assert_eq!(progressed.load(Ordering::Relaxed), announced.size);
    assert_eq!(fs::read(blob_path(folder.path(), &announced.digest)).unwrap(), content);
}

#[tokio::test]
async fn stores_an_empty_blob() {
    let folder = tempfile::tempdir().unwrap();
    let app = Layout::new(folder.path().to_owned()).repository("app");
    upload(&app, "").await;
    assert!(app.has_blob(&descriptor(LAYER, b"")).await.unwrap());
}

#[tokio::test]
async fn reports_and_keeps_a_damaged_index() {
    let folder = tempfile::tempdir().unwrap();
    let app = Layout::new(folder.path().to_owned()).repository("app");
    put(&app, "1", "layer").await;
    let path = folder.path().join("index.json");
    for damaged in ["", "{\"manifests\":[", "{\"manifests\":[{}]}"] {
        fs::write(&path, damaged).unwrap();
        let errors = [
            app.head(TagOrDigest::Tag("1")).await.unwrap_err(),
            app.put_manifest(TagOrDigest::Tag("2"), &image("layer")).await.unwrap_err(),
        ];
        for error in errors {
            assert!(error.to_string().starts_with(path.to_str().unwrap()), "{error}");
            assert_eq!(error.retry(), Retry::Later);
        }
        assert_eq!(fs::read_to_string(&path).unwrap(), damaged);
    }
}

#[tokio::test]
async fn rejects_another_version() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("oci-layout"), r#"{"imageLayoutVersion":"2.0.0"}"#).unwrap();
    let app = Layout::new(folder.path().to_owned()).repository("app");
    let error = app.head(TagOrDigest::Tag("1")).await.unwrap_err();
    assert!(error.to_string().contains("\"2.0.0\" is not supported"), "{error}");
    let body: BlobStream = Box::pin(stream::iter([Ok(Bytes::from_static(b"layer"))]));
    let error = app.upload(&descriptor(LAYER, b"layer"), body, |_| ()).await.unwrap_err();
    assert!(matches!(error, LayoutUploadError::Target(LayoutError::Corrupt { .. })), "{error}");
}

fn counts(layout: &Layout) -> (usize, usize) {
    let counts = &layout.folder.index_file().counts;
    (counts.reads.load(Ordering::Relaxed), counts.writes.load(Ordering::Relaxed))
}

#[tokio::test]
async fn concurrent_entries_share_a_write_and_reads_the_cache() {
    const NAMES: usize = 300;
    let folder = tempfile::tempdir().unwrap();
    let layout = Layout::new(folder.path().to_owned());
    let app = layout.repository("app");
    let digest = put(&app, "first", "layer").await;
    let (reads, writes) = counts(&layout);
    assert!(reads <= 1 && writes == 1, "{reads} {writes}");

    // Another writer holds the lock for a while.
    let lock = files::lock(folder.path()).unwrap();
    let puts: Vec<_> = (0..NAMES)
        .map(|number| {
            let app = app.clone();
            tokio::spawn(async move { app.put_manifest(TagOrDigest::Tag(&number.to_string()), &image("layer")).await })
        })
        .collect();
    while layout.folder.index_file().pending() < NAMES {
        sleep(Duration::from_millis(1)).await;
    }
    drop(lock);
    for put in puts {
        put.await.unwrap().unwrap();
    }
    assert_eq!(counts(&layout), (reads, writes + 1));
    for number in 0..NAMES {
        assert_eq!(tag(&app, &number.to_string()).await.as_ref(), Some(&digest));
        assert_eq!(tag(&app, &format!("no{number}")).await, None);
    }
    assert_eq!(counts(&layout), (reads, writes + 1), "own writes need no read");
    assert_eq!(names(folder.path()).len(), 1 + NAMES);

    // Another process reads it once.
    let later = Layout::new(folder.path().to_owned());
    sleep(Duration::from_millis(200)).await;
    for number in 0..NAMES {
        assert_eq!(tag(&later.repository("app"), &number.to_string()).await.as_ref(), Some(&digest));
    }
    assert_eq!(counts(&later), (1, 0));
}

#[tokio::test]
async fn sees_changes_of_other_processes_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let (layout, other) = (Layout::new(folder.path().to_owned()), Layout::new(folder.path().to_owned()));
    let (app, others) = (layout.repository("app"), other.repository("app"));
    let digests = [put(&app, "1", "one").await, put(&app, "2", "two").await];
    let path = folder.path().join("index.json");
    let text = fs::read_to_string(&path).unwrap();
    let swapped = text.replace("app:1", "app:0").replace("app:2", "app:1").replace("app:0", "app:2");
    for round in 0..20 {
        // In place, and of the same length.
        fs::write(&path, if round % 2 == 0 { &swapped } else { &text }).unwrap();
        assert_eq!(tag(&app, "1").await.as_ref(), Some(&digests[(round + 1) % 2]), "{round}");
    }
    for round in 0..20 {
        others.put_manifest(TagOrDigest::Tag("1"), &image(["one", "two"][round % 2])).await.unwrap();
        assert_eq!(tag(&app, "1").await.as_ref(), Some(&digests[round % 2]), "{round}");
    }
    fs::remove_file(&path).unwrap();
    assert_eq!(tag(&app, "1").await, None);
    assert_eq!(put(&app, "1", "one").await, digests[0]);
    assert_eq!(names(folder.path()), ["app:1"]);
}

#[tokio::test]
async fn a_failed_write_is_reported_to_all_pending_entries() {
    let folder = tempfile::tempdir().unwrap();
    let layout = Layout::new(folder.path().to_owned());
    let app = layout.repository("app");
    put(&app, "1", "layer").await;
    let path = folder.path().join("index.json");
    let good = fs::read(&path).unwrap();
    fs::write(&path, "{").unwrap();
    let (image, tags) = (image("layer"), ["2", "3", "4"]);
    let puts = tags.map(|tag| app.put_manifest(TagOrDigest::Tag(tag), &image));
    for result in futures::future::join_all(puts).await {
        let error = result.unwrap_err();
        assert!(matches!(&error, LayoutError::Corrupt { path: damaged, .. } if *damaged == path), "{error}");
    }
    fs::write(&path, good).unwrap();
    // A dropped future does not prevent the writes of others.
    let lock = files::lock(folder.path()).unwrap();
    {
        let mut dropped = std::pin::pin!(app.put_manifest(TagOrDigest::Tag("5"), &image));
        while layout.folder.index_file().pending() == 0 {
            let _ = tokio::time::timeout(Duration::from_millis(1), &mut dropped).await;
        }
    }
    drop(lock);
    app.put_manifest(TagOrDigest::Tag("6"), &image).await.unwrap();
    let names = names(folder.path());
    assert!(["app:5", "app:6"].iter().all(|name| names.contains(&(*name).to_owned())), "{names:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn concurrent_writers_lose_no_entry() {
    let folder = tempfile::tempdir().unwrap();
    let writers = (0..4).map(|writer| {
        let repository = Layout::new(folder.path().to_owned()).repository(&format!("app{writer}"));
        tokio::spawn(async move {
            for number in 0..25 {
                put(&repository, &number.to_string(), &format!("layer {}", number % 5)).await;
            }
        })
    });
    for writer in futures::future::join_all(writers).await {
        writer.unwrap();
    }
    let mut found = names(folder.path());
    found.sort();
    let mut expected: Vec<_> = (0..4).flat_map(|writer| (0..25).map(move |n| format!("app{writer}:{n}"))).collect();
    expected.sort();
    assert_eq!(found, expected);
    assert_eq!(unfinished(folder.path()), 0);
}
