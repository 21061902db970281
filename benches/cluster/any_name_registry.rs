//! A registry that returns one image for every name, so that tens of thousands of images cost nothing to create.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Instant,
};

use axum::{
    Router,
    body::Body,
    extract::State,
    http::{Method, Response, StatusCode, Uri, header},
};
use bytes::Bytes;
use demo::{Format, Image, Layer};

use crate::support::BackgroundServer;

/// A registry on loopback.
pub struct AnyNameRegistry {
    shared: Arc<Shared>,
    serving: BackgroundServer,
}

struct Shared {
    image: Image,
    requests: AtomicUsize,
    last: Mutex<Instant>,
}

impl AnyNameRegistry {
    pub fn start() -> Self {
        let image = Image::single(Format::Oci, "amd64", &[Layer::files(&[("name", "any")]).unwrap()]);
        let shared = Arc::new(Shared { image, requests: AtomicUsize::new(0), last: Mutex::new(Instant::now()) });
        let serving = BackgroundServer::start(Router::new().fallback(answer).with_state(Arc::clone(&shared)));
        Self { shared, serving }
    }

    /// `127.0.0.1:port`
    pub fn host(&self) -> String {
        self.serving.host()
    }

    /// Requests for manifests and blobs so far.
    pub fn requests(&self) -> usize {
        self.shared.requests.load(Ordering::Relaxed)
    }

    /// The time of the last request, initially of the start.
    pub fn last_request(&self) -> Instant {
        *self.shared.last.lock().unwrap()
    }
}

async fn answer(State(shared): State<Arc<Shared>>, method: Method, uri: Uri) -> Response<Body> {
    if uri.path() == "/v2/" {
        return content("application/json", None, Bytes::from_static(b"{}"));
    }
    shared.requests.fetch_add(1, Ordering::Relaxed);
    *shared.last.lock().unwrap() = Instant::now();
    // Nothing must be written: an attempt fails, and the benchmark with it.
    if method == Method::HEAD || method == Method::GET {
        if uri.path().contains("/manifests/") {
            let root = shared.image.root();
            return content(root.media_type, Some(&root.digest), root.bytes.clone());
        }
        let blob = shared.image.blobs().iter().find(|blob| uri.path().ends_with(&blob.digest));
        if let Some(blob) = blob {
            return content("application/octet-stream", Some(&blob.digest), blob.bytes.clone());
        }
    }
    Response::builder().status(StatusCode::METHOD_NOT_ALLOWED).body(Body::empty()).unwrap()
}

fn content(media_type: &str, digest: Option<&str>, bytes: Bytes) -> Response<Body> {
    let mut response = Response::builder().header(header::CONTENT_TYPE, media_type);
    if let Some(digest) = digest {
        response = response.header("Docker-Content-Digest", digest);
    }
    response.header(header::CONTENT_LENGTH, bytes.len()).body(Body::from(bytes)).unwrap()
}
