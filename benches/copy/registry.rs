//! Registries (CNCF distribution) with their storage in memory; their logs count the requests.

use std::{
    cell::Cell,
    collections::HashMap,
    env, fs,
    path::{Path, PathBuf},
    time::Duration,
};

use demo::Image;
use http::{StatusCode, header};
use reqwest::Client;
use tempfile::TempDir;

use crate::{
    certificates::Authority,
    server_process::ServerProcess,
    servers::{free_port, program},
};

/// A running registry; its content is removed when it is dropped.
pub struct Registry {
    address: String,
    client: Client,
    counted: Cell<usize>,
    // Dropped before its folder.
    _server: ServerProcess,
    folder: TempDir,
}

/// The number of requests.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Requests {
    pub all: usize,
    pub heads: usize,
}

/// An image at a registry.
#[derive(Clone)]
pub struct Reference {
    pub repository: String,
    pub tag: &'static str,
    pub digest: String,
}

impl Registry {
    /// Starts an empty registry.
    pub async fn start() -> Self {
        let folder = folder();
        let storage = folder.path().join("storage");
        Self::serve(folder, &storage, None).await
    }

    /// Starts a registry with the content of another one, over TLS.
    pub async fn over_tls(other: &Self, authority: &Authority) -> Self {
        Self::serve(folder(), &other.folder.path().join("storage"), Some(authority)).await
    }

    async fn serve(folder: TempDir, storage: &Path, authority: Option<&Authority>) -> Self {
        let file = |name: &str| folder.path().join(name);
        let tls = match authority {
            Some(authority) => {
                fs::write(file("ca.pem"), authority.pem()).unwrap();
                authority.write_server(&file("server.pem"), &file("server.key"));
                let [certificate, key] = ["server.pem", "server.key"].map(file);
                format!("tls: {{ certificate: {}, key: {} }}", certificate.display(), key.display())
            }
            None => String::new(),
        };
        let address = format!("127.0.0.1:{}", free_port());
        let config = format!(
            "version: 0.1
log: {{ level: error }}
storage: {{ filesystem: {{ rootdirectory: {} }} }}
http:
  addr: {address}
  {tls}
",
            storage.display()
        );
        fs::write(file("config.yml"), config).unwrap();
        let arguments = ["serve".into(), file("config.yml").into()];
        let server = ServerProcess::start(&program("registry"), &arguments, &file("log"), None);
        let client = Client::builder().no_proxy().tls_danger_accept_invalid_certs(true).build().unwrap();
        let registry = Self { address, client, counted: Cell::new(0), _server: server, folder };
        let scheme = if authority.is_some() { "https" } else { "http" };
        let ping = format!("{scheme}://{}/v2/", registry.address);
        let mut tries = 0;
        while registry.client.get(&ping).send().await.is_err() {
            tries += 1;
            assert!(tries < 1000, "the registry does not respond");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        registry
    }

    /// `127.0.0.1:port`
    pub fn address(&self) -> &str {
        &self.address
    }

    /// The certificate authority, if it uses TLS.
    pub fn authority(&self) -> Option<PathBuf> {
        Some(self.folder.path().join("ca.pem")).filter(|file| file.exists())
    }

    /// The requests since the last call.
    pub async fn take_requests(&self) -> Requests {
        // A request is logged after its response.
        tokio::time::sleep(Duration::from_millis(50)).await;
        let log = fs::read_to_string(self.folder.path().join("log")).unwrap();
        let new = &log[self.counted.replace(log.len())..];
        let lines = || new.lines().filter(|line| line.contains(" HTTP/"));
        Requests { all: lines().count(), heads: lines().filter(|line| line.contains("\"HEAD /")).count() }
    }

    /// Pushes images; shared blobs are sent once.
    pub async fn push(&self, images: impl IntoIterator<Item = (String, &'static str, Image)>) -> Vec<Reference> {
        // Where each blob is.
        let mut sent = HashMap::<String, String>::new();
        let mut references = Vec::new();
        for (repository, tag, image) in images {
            for blob in image.blobs() {
                if let Some(from) = sent.get(&blob.digest) {
                    if *from != repository {
                        self.mount(&repository, &blob.digest, from).await;
                    }
                    continue;
                }
                sent.insert(blob.digest.clone(), repository.clone());
                let start = self.client.post(self.url(&repository, "blobs/uploads/")).send().await.unwrap();
                let location = start.headers()[header::LOCATION].to_str().unwrap();
                let mut upload = start.url().join(location).unwrap();
                upload.query_pairs_mut().append_pair("digest", &blob.digest);
                let put = self.client.put(upload).header(header::CONTENT_TYPE, "application/octet-stream");
                assert_eq!(put.body(blob.bytes.clone()).send().await.unwrap().status(), StatusCode::CREATED);
            }
            let manifests = image.manifests().map(|manifest| (manifest.digest.as_str(), manifest));
            for (name, manifest) in manifests.chain([(tag, image.root())]) {
                let put = self.client.put(self.url(&repository, &format!("manifests/{name}")));
                let put = put.header(header::CONTENT_TYPE, manifest.media_type).body(manifest.bytes.clone());
                assert_eq!(put.send().await.unwrap().status(), StatusCode::CREATED);
            }
            references.push(Reference { repository, tag, digest: image.digest().to_owned() });
        }
        references
    }

    async fn mount(&self, repository: &str, digest: &str, from: &str) {
        let url = self.url(repository, &format!("blobs/uploads/?mount={digest}&from={from}"));
        assert_eq!(self.client.post(url).send().await.unwrap().status(), StatusCode::CREATED);
    }

    /// Asserts that these images exist.
    pub async fn assert_has(&self, references: &[Reference], tool: &str) {
        for Reference { repository, tag, digest } in references {
            let url = self.url(repository, &format!("manifests/{tag}"));
            let accept = ["application/vnd.oci.image.index.v1+json", "application/vnd.oci.image.manifest.v1+json"];
            let head = self.client.head(url).header(header::ACCEPT, accept.join(", ")).send().await.unwrap();
            let found = head.headers().get("docker-content-digest");
            assert_eq!(found.map(http::HeaderValue::as_bytes), Some(digest.as_bytes()), "{tool}: {repository}:{tag}");
        }
    }

    fn url(&self, repository: &str, rest: &str) -> String {
        format!("http://{}/v2/{repository}/{rest}", self.address)
    }
}

/// A folder in memory, unless `TMPDIR` is set: the benchmark should not measure a disk.
fn folder() -> TempDir {
    let memory = Path::new("/dev/shm");
    match env::var_os("TMPDIR") {
        None if memory.is_dir() => tempfile::tempdir_in(memory).unwrap(),
        _ => tempfile::tempdir().unwrap(),
    }
}
