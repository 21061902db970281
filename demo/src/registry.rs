//! A registry that can only be read: as much of the OCI distribution specification as a client needs to pull.

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

/// Images by repository and tag, to be served.
#[derive(Default)]
pub struct Registry {
    /// Media type and bytes, by repository and tag or digest.
    manifests: HashMap<(String, String), (&'static str, String, Bytes)>,
    /// By digest.
    blobs: HashMap<String, Bytes>,
    /// Which repository has which blob.
    holds: HashSet<(String, String)>,
    counter: Counter,
}

/// How often a registry was asked.
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
    /// What was added to `earlier`.
    #[must_use]
    pub fn since(self, earlier: Self) -> Self {
        Self {
            manifest_heads: self.manifest_heads.saturating_sub(earlier.manifest_heads),
            manifest_gets: self.manifest_gets.saturating_sub(earlier.manifest_gets),
            blob_gets: self.blob_gets.saturating_sub(earlier.blob_gets),
        }
    }
}

/// Counts the requests of one registry, also after that was given away.
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
    /// Offers `image` as `repository:tag`, and all its manifests by digest.
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
            self.holds.insert((repository.to_owned(), blob.digest.clone()));
        }
        self
    }

    /// What counts its requests.
    pub fn counter(&self) -> Counter {
        self.counter.clone()
    }

    /// Answers on `listener` until the task is dropped.
    ///
    /// # Errors
    ///
    /// If the listener breaks.
    pub async fn serve(self, listener: TcpListener) -> io::Result<()> {
        axum::serve(listener, Router::new().fallback(answer).with_state(Arc::new(self))).await
    }

    fn find(&self, method: &Method, path: &str) -> Option<Response<Body>> {
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
            "blobs" if self.holds.contains(&key) => {
                content("application/octet-stream", Some(reference), self.blobs.get(reference)?.clone())
            }
            _ => None,
        }
    }
}

async fn answer(State(registry): State<Arc<Registry>>, method: Method, uri: Uri) -> Response<Body> {
    let (status, code) = if method == Method::GET || method == Method::HEAD {
        if let Some(response) = registry.find(&method, uri.path()) {
            return response;
        }
        (StatusCode::NOT_FOUND, "NAME_UNKNOWN")
    } else {
        (StatusCode::METHOD_NOT_ALLOWED, "UNSUPPORTED")
    };
    let body = serde_json::json!({ "errors": [{ "code": code, "message": "this registry serves a few images only" }] });
    let mut response = Response::new(Body::from(body.to_string()));
    *response.status_mut() = status;
    response
}

/// The answer to GET; for HEAD the server drops the body and keeps its length.
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
    fn tags_digests_and_blobs_are_found_in_their_repository_only() {
        let (registry, image) = registry();
        let blob = &image.blobs()[0].digest;
        let found = |path: &str| registry.find(&Method::GET, path).is_some();
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
    fn requests_are_counted_by_what_they_ask_for() {
        let (registry, _) = registry();
        for method in [Method::HEAD, Method::HEAD, Method::GET] {
            registry.find(&method, "/v2/team/app/manifests/1").unwrap();
        }
        registry.find(&Method::GET, "/v2/team/app/blobs/sha256:0");
        assert_eq!(registry.counter().counts(), Counts { manifest_heads: 2, manifest_gets: 1, blob_gets: 1 });
    }

    #[test]
    fn a_manifest_comes_with_its_type_and_digest() {
        let (registry, image) = registry();
        let response = registry.find(&Method::GET, "/v2/team/app/manifests/1").unwrap();
        assert_eq!(response.headers()["docker-content-digest"], image.digest());
        assert_eq!(response.headers()["content-type"], image.root().media_type);
    }
}
