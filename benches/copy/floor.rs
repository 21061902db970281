//! The least that copying costs: each blob is read, hashed and sent, without any error handling.

use std::{collections::HashMap, fs, path::Path, sync::Arc, sync::Mutex};

use bytes::Bytes;
use futures::{StreamExt as _, TryStreamExt as _, stream};
use http::{StatusCode, header};
use reqwest::{Body, Client, Response};
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use crate::concurrency;

/// The first argument of this program when it runs as the floor.
pub const FLAG: &str = "--floor";

const ACCEPT: &str = "application/vnd.oci.image.index.v1+json, application/vnd.oci.image.manifest.v1+json";

struct Floor {
    client: Client,
    source: String,
    target: String,
    /// Whether the target may have some images already.
    is_repeated: bool,
}

/// A manifest to copy.
struct Manifest {
    repository: String,
    reference: String,
    media_type: String,
    bytes: Bytes,
}

/// Copies the images in a file, one `repository:tag` per line. The arguments are the URLs of the source and the target, the
/// file, and `again` if the target may have some of the images.
pub async fn copy(arguments: &[String]) {
    let [source, target, file, again @ ..] = arguments else { panic!("{arguments:?}") };
    let client = Client::builder().http1_only().no_proxy().build().unwrap();
    let is_repeated = !again.is_empty();
    let floor = Floor { client, source: source.clone(), target: target.clone(), is_repeated };
    let images = fs::read_to_string(Path::new(file)).unwrap();
    let images = images.lines().map(|line| line.split_once(':').unwrap());
    let missing: Vec<_> = stream::iter(images)
        .map(|(repository, tag)| floor.missing(repository, tag))
        .buffered(concurrency::IMAGES)
        .concat()
        .await;

    let mut locations = HashMap::<String, String>::new();
    let (mut uploads, mut mounts) = (Vec::new(), Vec::new());
    for manifest in &missing {
        let content: Value = serde_json::from_slice(&manifest.bytes).unwrap();
        let layers = content["layers"].as_array().into_iter().flatten();
        for blob in layers.chain(content.get("config")) {
            let (digest, length) = (blob["digest"].as_str().unwrap().to_owned(), blob["size"].as_u64().unwrap());
            let repository = manifest.repository.as_str();
            match locations.get(&digest) {
                None => {
                    locations.insert(digest.clone(), repository.to_owned());
                    uploads.push((repository, digest, length));
                }
                Some(from) if from != repository => mounts.push((repository, digest, from.clone())),
                Some(_) => {}
            }
        }
    }
    stream::iter(uploads)
        .for_each_concurrent(concurrency::BLOBS, |(repository, digest, length)| floor.blob(repository, digest, length))
        .await;
    stream::iter(mounts)
        .for_each_concurrent(concurrency::IMAGES, |(repository, digest, from)| floor.mount(repository, digest, from))
        .await;
    let (roots, children): (Vec<_>, Vec<_>) =
        missing.into_iter().partition(|manifest| !manifest.reference.starts_with("sha256:"));
    for manifests in [children, roots] {
        stream::iter(manifests).for_each_concurrent(concurrency::IMAGES, |manifest| floor.put(manifest)).await;
    }
}

impl Floor {
    /// The manifests of an image, children first; none if the target has it.
    async fn missing(&self, repository: &str, tag: &str) -> Vec<Manifest> {
        if self.is_repeated {
            let [actual, expected] = [&self.target, &self.source].map(|registry| async move {
                let url = format!("{registry}/v2/{repository}/manifests/{tag}");
                let head = self.client.head(url).header(header::ACCEPT, ACCEPT).send().await.unwrap();
                head.headers().get("docker-content-digest").cloned()
            });
            if actual.await == expected.await {
                return Vec::new();
            }
        }
        let root = self.get(repository, tag).await;
        let content: Value = serde_json::from_slice(&root.bytes).unwrap();
        let mut manifests = Vec::new();
        for child in content["manifests"].as_array().into_iter().flatten() {
            manifests.push(self.get(repository, child["digest"].as_str().unwrap()).await);
        }
        manifests.push(root);
        manifests
    }

    async fn get(&self, repository: &str, reference: &str) -> Manifest {
        let url = format!("{}/v2/{repository}/manifests/{reference}", self.source);
        let answer = expect_status(self.client.get(url).header(header::ACCEPT, ACCEPT).send().await, StatusCode::OK);
        let media_type = answer.headers()[header::CONTENT_TYPE].to_str().unwrap().to_owned();
        let bytes = answer.bytes().await.unwrap();
        Manifest { repository: repository.to_owned(), reference: reference.to_owned(), media_type, bytes }
    }

    async fn put(&self, manifest: Manifest) {
        let Manifest { repository, reference, media_type, bytes } = manifest;
        let url = format!("{}/v2/{repository}/manifests/{reference}", self.target);
        let put = self.client.put(url).header(header::CONTENT_TYPE, media_type).body(bytes);
        expect_status(put.send().await, StatusCode::CREATED);
    }

    async fn blob(&self, repository: &str, digest: String, length: u64) {
        if self.is_repeated {
            let url = format!("{}/v2/{repository}/blobs/{digest}", self.target);
            if self.client.head(url).send().await.unwrap().status() == StatusCode::OK {
                return;
            }
        }
        let url = format!("{}/v2/{repository}/blobs/uploads/", self.target);
        let session = expect_status(self.client.post(url).send().await, StatusCode::ACCEPTED);
        let location = session.headers()[header::LOCATION].to_str().unwrap();
        let mut upload = session.url().join(location).unwrap();
        upload.query_pairs_mut().append_pair("digest", &digest);

        let url = format!("{}/v2/{repository}/blobs/{digest}", self.source);
        let answer = expect_status(self.client.get(url).send().await, StatusCode::OK);
        let hasher = Arc::new(Mutex::new(Sha256::new()));
        let hashed = hasher.clone();
        let body = answer.bytes_stream().inspect_ok(move |piece| hashed.lock().unwrap().update(piece));
        let put = self.client.put(upload).header(header::CONTENT_TYPE, "application/octet-stream");
        let put = put.header(header::CONTENT_LENGTH, length).body(Body::wrap_stream(body));
        expect_status(put.send().await, StatusCode::CREATED);
        let found = hex::encode(std::mem::take(&mut *hasher.lock().unwrap()).finalize());
        assert_eq!(digest, format!("sha256:{found}"));
    }

    async fn mount(&self, repository: &str, digest: String, from: String) {
        let url = format!("{}/v2/{repository}/blobs/uploads/?mount={digest}&from={from}", self.target);
        expect_status(self.client.post(url).send().await, StatusCode::CREATED);
    }
}

fn expect_status(answer: reqwest::Result<Response>, status: StatusCode) -> Response {
    let answer = answer.unwrap();
    assert_eq!(answer.status(), status, "{}", answer.url());
    answer
}
