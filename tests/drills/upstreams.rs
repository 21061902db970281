//! Registries under the names that the world knows them by, over TLS.

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
    sync::Arc,
};

use axum::{
    Router,
    body::Body,
    extract::{Request, State},
    http::{HeaderMap, StatusCode},
    response::{IntoResponse, Response},
};
use demo::Image;
use serde_json::json;

use crate::{
    referrers::{digest_tag, entry},
    support::{Access, Authority, BackgroundServer, Registry, tunnel},
};

/// Registries of these names, reached through a proxy; nothing else can be reached through it.
pub struct Upstreams {
    registries: Vec<(&'static str, Registry)>,
    proxy: BackgroundServer,
    authority: PathBuf,
}

/// Where Docker Hub's API is.
fn host_of(name: &str) -> &str {
    if name == "docker.io" { "registry-1.docker.io" } else { name }
}

impl Upstreams {
    pub async fn start(names: &[&'static str], folder: &Path) -> Self {
        let mut registries = Vec::new();
        for name in names {
            registries.push((*name, Registry::distribution(Access::Anonymous).await));
        }
        let authority = Authority::new();
        let file = folder.join("upstreams.pem");
        std::fs::write(&file, authority.pem()).unwrap();
        let urls: HashMap<String, String> =
            registries.iter().map(|(name, registry)| (host_of(name).to_owned(), registry.url().to_owned())).collect();
        let known = urls.clone();
        let router = Router::new().fallback(forward).with_state(Arc::new(urls));
        let proxy = tunnel::start(authority, move |host| known.contains_key(host), router);
        Self { registries, proxy, authority: file }
    }

    /// Pushes an image under a name such as `quay.io/acme/app:1`.
    pub async fn push(&self, name: &str, image: &Image) {
        let (registry, repository, tag) = self.find(name);
        registry.push(repository, tag, image).await;
    }

    /// Pushes a referrer of the image with this name, and the index that lists it.
    pub async fn push_referrer(&self, name: &str, image: &Image, referrer: &Image) {
        let (registry, repository, _) = self.find(name);
        registry.push(repository, referrer.digest(), referrer).await;
        let media_type = "application/vnd.oci.image.index.v1+json";
        let list = json!({ "schemaVersion": 2, "mediaType": media_type, "manifests": [entry(referrer)] });
        registry.put_manifest(repository, &digest_tag(image.digest()), media_type, list.to_string()).await;
    }

    /// The registry, the repository and the tag of a name.
    fn find<'a>(&'a self, name: &'a str) -> (&'a Registry, &'a str, &'a str) {
        let (registry, rest) = name.split_once('/').unwrap();
        let (repository, tag) = rest.split_once(':').unwrap();
        let (_, registry) = self.registries.iter().find(|(known, _)| *known == registry).unwrap();
        (registry, repository, tag)
    }

    /// For `HTTPS_PROXY`.
    pub fn proxy(&self) -> String {
        format!("http://{}", self.proxy.host())
    }

    /// The certificate of the authority that signs theirs.
    pub fn authority(&self) -> &Path {
        &self.authority
    }

    /// The setting `registries` of the program for them.
    pub fn settings(&self) -> String {
        let file = self.authority.display();
        self.registries.iter().map(|(name, _)| format!("- {{ registry: {name}, caFile: {file} }}\n")).collect()
    }
}

/// To the registry that the request is for.
async fn forward(State(urls): State<Arc<HashMap<String, String>>>, request: Request) -> Response {
    let host = request.headers().get("host").and_then(|host| host.to_str().ok()).unwrap_or_default();
    let Some(url) = urls.get(host.trim_end_matches(":443")) else { return StatusCode::NOT_FOUND.into_response() };
    let path = request.uri().path_and_query().map_or("/", |path| path.as_str());
    let mut headers = HeaderMap::new();
    if let Some(accept) = request.headers().get("accept") {
        headers.insert("accept", accept.clone());
    }
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let answer =
        client.request(request.method().clone(), format!("{url}{path}")).headers(headers).send().await.unwrap();
    let mut response = Response::builder().status(answer.status());
    for (name, value) in answer.headers().iter().filter(|(name, _)| *name != "transfer-encoding") {
        response = response.header(name, value);
    }
    response.body(Body::from_stream(answer.bytes_stream())).unwrap()
}
