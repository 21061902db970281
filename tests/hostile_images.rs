//! Hostile registries: oversized images are rejected with an error.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex},
};

use axum::{
    Router,
    body::{Body, Bytes},
    extract::State,
    http::{Response, Uri},
};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::support::{Access, BackgroundServer, Program, Registry, deployment};

const INDEX: &str = "application/vnd.oci.image.index.v1+json";
const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

/// A registry of manifests that need not make sense.
#[derive(Default)]
struct Hostile {
    /// Media type and bytes of each digest.
    contents: HashMap<String, (&'static str, Bytes)>,
    requests: Mutex<BTreeMap<String, usize>>,
}

impl Hostile {
    /// Stores content and returns its descriptor.
    fn store(&mut self, media_type: &'static str, content: &Value) -> Value {
        let bytes = Bytes::from(content.to_string());
        let descriptor = descriptor(media_type, &sha256(&bytes), bytes.len());
        self.contents.insert(sha256(&bytes), (media_type, bytes));
        descriptor
    }

    fn index(&mut self, number: usize, children: &[Value]) -> Value {
        let annotations = json!({ "number": number.to_string() });
        let index =
            json!({ "schemaVersion": 2, "mediaType": INDEX, "manifests": children, "annotations": annotations });
        self.store(INDEX, &index)
    }

    fn image(&mut self, layers: &[Value], padding: &str) -> Value {
        let config = self.store("application/vnd.oci.image.config.v1+json", &json!({}));
        let annotations = json!({ "padding": padding });
        let image = json!({ "schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": layers, "annotations": annotations });
        self.store(MANIFEST, &image)
    }
}

/// Descriptors of content that does not exist.
fn missing_descriptors(media_type: &str, count: usize) -> Vec<Value> {
    (0..count).map(|n| descriptor(media_type, &sha256(n.to_string().as_bytes()), 9)).collect()
}

fn descriptor(media_type: &str, digest: &str, size: usize) -> Value {
    json!({ "mediaType": media_type, "digest": digest, "size": size })
}

fn sha256(bytes: &[u8]) -> String {
    format!("sha256:{}", hex::encode(Sha256::digest(bytes)))
}

async fn answer(State(registry): State<Arc<Hostile>>, uri: Uri) -> Response<Body> {
    let digest = uri.path().rsplit('/').next().unwrap();
    *registry.requests.lock().unwrap().entry(uri.path().to_owned()).or_default() += 1;
    match registry.contents.get(digest) {
        Some((media_type, bytes)) => {
            let response =
                Response::builder().header("Content-Type", *media_type).header("Docker-Content-Digest", digest);
            response.body(Body::from(bytes.clone())).unwrap()
        }
        None => Response::builder().status(404).body(Body::empty()).unwrap(),
    }
}

#[tokio::test]
async fn rejects_an_oversized_image_at_once() {
    type Make = fn(&mut Hostile) -> Value;
    let images: [(&str, Make); 5] = [
        ("more than 4 deep", |registry| {
            let image = registry.image(&[], "");
            (0..50).fold(image, |inner, number| registry.index(number, &[inner]))
        }),
        ("more than 10000 layers", |registry| {
            registry.image(&missing_descriptors("application/octet-stream", 10_001), "")
        }),
        ("more than 10000 layers", |registry| registry.index(0, &missing_descriptors(MANIFEST, 10_001))),
        ("more than 10000 layers", |registry| {
            // Each of them is within the limit.
            let children = (0..20).map(|n| {
                let image = registry.image(&[], &n.to_string());
                registry.index(n, &vec![image; 600])
            });
            let children: Vec<_> = children.collect();
            registry.index(20, &children)
        }),
        ("more than 33554432 bytes", |registry| {
            let padding = |n: usize| "a".repeat(3_900_000 + n);
            let children: Vec<_> = (0..20).map(|n| registry.image(&[], &padding(n))).collect();
            registry.index(0, &children)
        }),
    ];
    for (message, make) in images {
        let mut registry = Hostile::default();
        let digest = make(&mut registry)["digest"].as_str().unwrap().to_owned();
        let registry = Arc::new(registry);
        let serving = BackgroundServer::start(Router::new().fallback(answer).with_state(Arc::clone(&registry)));
        let target = Registry::distribution(Access::Anonymous).await;
        let image = format!("{}/team/app@{digest}", serving.host());
        let finished = Program::new(&["sync", "-f", "-"])
            .env("TARGET_KIND", "docker")
            .env("TARGET_REGISTRY", target.host())
            .stdin(&deployment("app").image(&image).manifest().to_string())
            .run()
            .await
            .assert_code(1);
        assert!(
            finished.stdout.contains(message) && finished.stdout.contains(&digest),
            "{message}: {}",
            finished.stdout
        );
        assert_eq!(target.manifest("team/app", &digest).await, None);
        let requests = registry.requests.lock().unwrap();
        let manifests = requests.iter().filter(|(path, _)| path.contains("/manifests/"));
        for (path, times) in manifests {
            assert!(*times <= 1, "{message}: {path} was requested {times} times");
        }
    }
}
