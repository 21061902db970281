//! A read-only registry: the part of the OCI distribution specification that a client needs to pull.

use std::{
    collections::{HashMap, HashSet},
    io,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use axum::{
    Router,
    body::Body,
    extract::State,
    http::{Method, Response, StatusCode, Uri, header},
};
use bytes::Bytes;
use tokio::net::TcpListener;

use crate::Image;

/// A read-only registry.
#[derive(Default)]
pub struct Registry {
    /// Media type and bytes, by repository and tag or digest.
    manifests: HashMap<(String, String), (&'static str, String, Bytes)>,
    /// By digest.
    blobs: HashMap<String, Bytes>,
    /// Repository and digest of each blob.
    repository_blobs: HashSet<(String, String)>,
    counter: Counter,
}

/// The number of requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Counts {
    /// Requests (HEAD) for a manifest's digest.
    pub manifest_heads: usize,
    /// Requests (GET) for a manifest.
    pub manifest_gets: usize,
    /// Requests (GET) for a blob.
    pub blob_gets: usize,
}

impl Counts {
    /// The requests after `earlier`.
    #[must_use]
    pub fn since(self, earlier: Self) -> Self {
        Self {
            manifest_heads: self.manifest_heads.saturating_sub(earlier.manifest_heads),
            manifest_gets: self.manifest_gets.saturating_sub(earlier.manifest_gets),
            blob_gets: self.blob_gets.saturating_sub(earlier.blob_gets),
        }
    }
}

/// Counts the requests of a registry, also while it is serving.
#[derive(Clone, Debug, Default)]
pub struct Counter(Arc<Counters>);

#[derive(Debug, Default)]
struct Counters {
    manifest_heads: AtomicUsize,
    manifest_gets: AtomicUsize,
    blob_gets: AtomicUsize,
}

impl Counter {
    /// The requests so far.
    pub fn counts(&self) -> Counts {
        let Counters { manifest_heads, manifest_gets, blob_gets } = &*self.0;
        Counts {
            manifest_heads: manifest_heads.load(Ordering::Relaxed),
            manifest_gets: manifest_gets.load(Ordering::Relaxed),
            blob_gets: blob_gets.load(Ordering::Relaxed),
        }
    }

    fn count(&self, method: &Method, kind: &str) {
        let counter = match (method, kind) {
            (&Method::HEAD, "manifests") => &self.0.manifest_heads,
            (&Method::GET, "manifests") => &self.0.manifest_gets,
            (&Method::GET, "blobs") => &self.0.blob_gets,
            _ => return,
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }
}

impl Registry {
    /// Adds `image` as `repository:tag`, and all its manifests by digest.
    #[must_use]
    pub fn with(mut self, repository: &str, tag: &str, image: &Image) -> Self {
        let root = image.root();
        let references = image.manifests().map(|manifest| (manifest.digest.as_str(), manifest));
        for (reference, manifest) in references.chain([(tag, root)]) {
            let content = (manifest.media_type, manifest.digest.clone(), manifest.bytes.clone());
            self.manifests.insert((repository.to_owned(), reference.to_owned()), content);
        }
        for blob in image.blobs() {
            self.blobs.insert(blob.digest.clone(), blob.bytes.clone());
            self.repository_blobs.insert((repository.to_owned(), blob.digest.clone()));
        }
        self
    }

    /// The counter of its requests.
    pub fn counter(&self) -> Counter {
        self.counter.clone()
    }

    /// Serves on `listener` until the task is dropped.
    ///
    /// # Errors
    ///
    /// If the listener fails.
    pub async fn serve(self, listener: TcpListener) -> io::Result<()> {
        axum::serve(listener, Router::new().fallback(answer).with_state(Arc::new(self))).await
    }

    fn response(&self, method: &Method, path: &str) -> Option<Response<Body>> {
        let path = path.strip_prefix("/v2/")?;
        if path.is_empty() {
            return content("application/json", None, Bytes::from_static(b"{}"));
        }
        let (repository_and_kind, reference) = path.rsplit_once('/')?;
        let (repository, kind) = repository_and_kind.rsplit_once('/')?;
        self.counter.count(method, kind);
        let key = (repository.to_owned(), reference.to_owned());
        match kind {
            "manifests" => {
                let (media_type, digest, bytes) = self.manifests.get(&key)?;
                content(media_type, Some(digest), bytes.clone())
            }
            "blobs" if self.repository_blobs.contains(&key) => {
                content("application/octet-stream", Some(reference), self.blobs.get(reference)?.clone())
            }
            _ => None,
        }
    }
}

async fn answer(State(registry): State<Arc<Registry>>, method: Method, uri: Uri) -> Response<Body> {
    let (status, code) = if method == Method::GET || method == Method::HEAD {
        if let Some(response) = registry.response(&method, uri.path()) {
            return response;
        }
        (StatusCode::NOT_FOUND, "NAME_UNKNOWN")
    } else {
        (StatusCode::METHOD_NOT_ALLOWED, "UNSUPPORTED")
    };
    let body = serde_json::json!({ "errors": [{ "code": code, "message": "this registry serves only the images of the demo" }] });
    let mut response = Response::new(Body::from(body.to_string()));
    *response.status_mut() = status;
    response
}

/// The response to GET; for HEAD the server drops the body and keeps its length.
fn content(media_type: &str, digest: Option<&str>, bytes: Bytes) -> Option<Response<Body>> {
    let mut response = Response::builder().header(header::CONTENT_TYPE, media_type);
    if let Some(digest) = digest {
        response = response.header("Docker-Content-Digest", digest);
    }
    response.header(header::CONTENT_LENGTH, bytes.len()).body(Body::from(bytes)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Format, Layer};

    fn registry() -> (Registry, Image) {
        let image = Image::single(Format::Oci, "amd64", &[Layer::files(&[("a", "b")]).unwrap()]);
        (Registry::default().with("team/app", "1", &image), image)
    }

    #[test]
    fn content_is_served_only_in_its_repository() {
        let (registry, image) = registry();
        let blob = &image.blobs()[0].digest;
        let found = |path: &str| registry.response(&Method::GET, path).is_some();
        assert!(found("/v2/"));
        assert!(found("/v2/team/app/manifests/1"));
        assert!(found(&format!("/v2/team/app/manifests/{}", image.digest())));
        assert!(found(&format!("/v2/team/app/blobs/{blob}")));
        assert!(!found("/v2/team/app/manifests/2"));
        assert!(!found("/v2/app/manifests/1"));
        assert!(!found(&format!("/v2/other/app/blobs/{blob}")));
        assert!(!found("/team/app/manifests/1"));
    }

    #[test]
    fn requests_are_counted_by_kind() {
        let (registry, _) = registry();
        for method in [Method::HEAD, Method::HEAD, Method::GET] {
            registry.response(&method, "/v2/team/app/manifests/1").unwrap();
        }
        registry.response(&Method::GET, "/v2/team/app/blobs/sha256:0");
        assert_eq!(registry.counter().counts(), Counts { manifest_heads: 2, manifest_gets: 1, blob_gets: 1 });
    }

    #[test]
    fn manifests_have_media_type_and_digest_headers() {
        let (registry, image) = registry();
        let response = registry.response(&Method::GET, "/v2/team/app/manifests/1").unwrap();
        assert_eq!(response.headers()["docker-content-digest"], image.digest());
        assert_eq!(response.headers()["content-type"], image.root().media_type);
    }
}
