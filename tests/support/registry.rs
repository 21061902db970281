//! Registries of two implementations, each behind a proxy that records requests.

use std::{
    fs,
    path::{Path, PathBuf},
};

use bytes::Bytes;
use demo::Image;
use reqwest::{Method, RequestBuilder, StatusCode, header};
use tempfile::TempDir;

use super::{
    certificates::Authority,
    eventually,
    proxy::Proxy,
    server_process::ServerProcess,
    servers::{free_port, program},
    token_server::{ISSUER, SERVICE, TokenServer},
    traffic::{Fault, Request, Traffic},
};

/// The user of registries with authentication.
pub const USER: &str = "mirror";
/// Its password.
pub const PASSWORD: &str = "correct horse";
/// The htpasswd line for both (bcrypt, the only hash that the registry supports, with the lowest cost).
const HTPASSWD: &str = "mirror:$2b$04$E4eAxb6PahmaUGdxSSpjNOdkRbW8MprYJZXLfMexOQ.OgkWVg2RgC\n";

/// The password after [`Registry::change_password`].
pub const NEW_PASSWORD: &str = "battery staple";
const NEW_HTPASSWD: &str = "mirror:$2b$04$abcdefghijklmnopqrstuuhfdSToe28Z2OzxmmHxfI3lnNDfjxoF6\n";

/// The authentication of a registry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// None.
    Anonymous,
    /// HTTP Basic.
    Basic,
    /// Tokens of a [`TokenServer`], which requires HTTP Basic.
    Token,
}

/// A running registry.
pub struct Registry {
    url: String,
    access: Access,
    client: reqwest::Client,
    proxy: Option<Proxy>,
    tokens: Option<TokenServer>,
    server: ServerProcess,
    directory: TempDir,
}

impl Registry {
    /// The distribution implementation, over plain HTTP.
    pub async fn distribution(access: Access) -> Self {
        Self::distribution_with(access, "").await
    }

    /// The same, accepting an index without its child manifests.
    pub async fn distribution_sparse() -> Self {
        let validation = "validation: { manifests: { indexes: { platforms: none } } }";
        Self::distribution_with(Access::Anonymous, validation).await
    }

    /// The same, in read-only mode.
    pub async fn distribution_read_only() -> Self {
        Self::distribution_on(Access::Anonymous, "", "maintenance: { readonly: { enabled: true } }").await
    }

    async fn distribution_with(access: Access, more: &str) -> Self {
        Self::distribution_on(access, more, "").await
    }

    async fn distribution_on(access: Access, more: &str, storage: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let tokens = (access == Access::Token).then(TokenServer::start);
        let auth = match access {
            Access::Anonymous => String::new(),
            Access::Basic => basic(directory.path()),
            Access::Token => {
                let tokens = tokens.as_ref().unwrap();
                let path = directory.path().join("issuer.pem");
                fs::write(&path, tokens.certificate()).unwrap();
                let (realm, bundle) = (tokens.realm(), path.display());
                format!(
                    "auth: {{ token: {{ realm: '{realm}', service: {SERVICE}, issuer: {ISSUER}, rootcertbundle: {bundle} }} }}"
                )
            }
        };
        let port = free_port();
        let server = start_distribution(directory.path(), port, "", &format!("{auth}\n{more}"), storage);
        let url = format!("http://127.0.0.1:{port}");
        let proxy = Some(Proxy::start(&url));
        Self::ready(Self { url, access, client: client(None), proxy, tokens, server, directory }).await
    }

    /// The distribution implementation over TLS, with a certificate of the authority in [`Registry::ca_file`]. It has no proxy:
    /// requests are not recorded, and faults can't be injected.
    pub async fn distribution_tls() -> Self {
        Self::over_tls(false, Access::Anonymous).await
    }

    /// The same, requiring a client certificate of that authority ([`Registry::client_certificate`]).
    pub async fn distribution_mutual_tls() -> Self {
        Self::over_tls(true, Access::Anonymous).await
    }

    /// As [`Registry::distribution_tls`], with a login by HTTP Basic.
    pub async fn distribution_tls_with_login() -> Self {
        Self::over_tls(false, Access::Basic).await
    }

    async fn over_tls(requires_client_certificates: bool, access: Access) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let authority = Authority::new();
        let file = |name: &str| directory.path().join(name);
        fs::write(file("ca.pem"), authority.pem()).unwrap();
        authority.write_server(&file("server.pem"), &file("server.key"));
        authority.write_server(&file("client.pem"), &file("client.key"));
        let clients = if requires_client_certificates {
            format!(", clientcas: [{}]", file("ca.pem").display())
        } else {
            String::new()
        };
        let (certificate, key) = (file("server.pem"), file("server.key"));
        let tls = format!("tls: {{ certificate: {}, key: {}{clients} }}", certificate.display(), key.display());
        let port = free_port();
        let auth = match access {
            Access::Basic => basic(directory.path()),
            Access::Anonymous | Access::Token => String::new(),
        };
        let server = start_distribution(directory.path(), port, &tls, &auth, "");
        let url = format!("https://127.0.0.1:{port}");
        let identity = [fs::read(file("client.pem")).unwrap(), fs::read(file("client.key")).unwrap()].concat();
        let client = client(Some((&authority, &identity)));
        Self::ready(Self { url, access, client, proxy: None, tokens: None, server, directory }).await
    }

    /// The implementation of go-containerregistry, in memory, over plain HTTP. Its repository names have at least two letters.
    pub async fn crane() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let port = free_port();
        let arguments = ["registry", "serve", "--address", &format!("127.0.0.1:{port}")].map(Into::into);
        let server = ServerProcess::start(&program("crane"), &arguments, &directory.path().join("log"), None);
        let url = format!("http://127.0.0.1:{port}");
        let proxy = Some(Proxy::start(&url));
        let access = Access::Anonymous;
        Self::ready(Self { url, access, client: client(None), proxy, tokens: None, server, directory }).await
    }

    /// An implementation in memory with the referrers API, over plain HTTP.
    pub async fn with_referrers_api() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let port = free_port();
        let address = [format!("127.0.0.1:{port}").into()];
        let server =
            ServerProcess::start(&program("referrers-registry"), &address, &directory.path().join("log"), None);
        let url = format!("http://127.0.0.1:{port}");
        let proxy = Some(Proxy::start(&url));
        let access = Access::Anonymous;
        Self::ready(Self { url, access, client: client(None), proxy, tokens: None, server, directory }).await
    }

    async fn ready(self) -> Self {
        eventually("the registry answers", || async {
            let answer = self.client.get(format!("{}/v2/", self.url)).send().await;
            assert!(self.server.is_running(), "the registry has exited: {}", self.server.log_tail());
            answer.ok()
        })
        .await;
        self
    }

    /// `127.0.0.1:port`
    pub fn host(&self) -> String {
        let direct = || self.url.split("//").last().unwrap().to_owned();
        self.proxy.as_ref().map_or_else(direct, Proxy::host)
    }

    /// From now on a registry with [`Access::Basic`] accepts [`NEW_PASSWORD`] only. The requests of the test itself fail then.
    pub fn change_password(&self) {
        assert_eq!(self.access, Access::Basic);
        fs::write(self.directory.path().join("htpasswd"), NEW_HTPASSWD).unwrap();
    }

    /// The certificate of its authority.
    pub fn ca_file(&self) -> PathBuf {
        self.directory.path().join("ca.pem")
    }

    /// A client certificate of its authority, and the key.
    pub fn client_certificate(&self) -> [PathBuf; 2] {
        ["client.pem", "client.key"].map(|name| self.directory.path().join(name))
    }

    /// The maximum of concurrent blob uploads.
    pub fn max_concurrent_uploads(&self) -> usize {
        self.proxy.as_ref().unwrap().max_concurrent_uploads()
    }

    /// The requests of clients since the last call, without those of the test itself.
    pub fn take_requests(&self) -> Vec<Request> {
        self.traffic().take_requests()
    }

    /// The queries to its token service since the last call.
    pub fn take_token_queries(&self) -> Vec<String> {
        self.tokens.as_ref().unwrap().take_queries()
    }

    /// From now on its token service grants pulls only.
    pub fn grant_pulls_only(&self) {
        self.tokens.as_ref().unwrap().grant_pulls_only();
    }

    /// A token of its token service to pull from one repository.
    pub fn pull_token(&self, repository: &str) -> String {
        self.tokens.as_ref().unwrap().issue(&[&format!("repository:{repository}:pull")])
    }

    /// Injects a fault into the next `times` requests for which `matches` holds. Faults that were added first come first.
    pub fn inject(&self, times: usize, matches: impl Fn(&Request) -> bool + Send + 'static, fault: Fault) {
        self.traffic().inject(times, matches, fault);
    }

    /// Removes all faults.
    pub fn clear_faults(&self) {
        self.traffic().clear_faults();
    }

    fn traffic(&self) -> &Traffic {
        self.proxy.as_ref().expect("a registry with TLS has no proxy").traffic()
    }

    /// The server itself, without the proxy.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Pushes an image and returns its reference.
    pub async fn push(&self, repository: &str, tag: &str, image: &Image) -> String {
        for blob in image.blobs() {
            let start = self.request(Method::POST, repository, "blobs/uploads/").send().await.unwrap();
            assert_eq!(start.status(), StatusCode::ACCEPTED);
            let location = start.headers()[header::LOCATION].to_str().unwrap();
            let mut upload = start.url().join(location).unwrap();
            upload.query_pairs_mut().append_pair("digest", &blob.digest);
            let request = self.authorize(self.client.put(upload), repository);
            let request = request.header(header::CONTENT_TYPE, "application/octet-stream").body(blob.bytes.clone());
            assert_eq!(request.send().await.unwrap().status(), StatusCode::CREATED);
        }
        let root = [(tag, image.root())];
        let manifests = image.manifests().map(|manifest| (manifest.digest.as_str(), manifest));
        for (reference, manifest) in manifests.chain(root) {
            self.put_manifest(repository, reference, manifest.media_type, manifest.bytes.clone()).await;
        }
        format!("{}/{repository}:{tag}", self.host())
    }

    /// Puts a manifest.
    pub async fn put_manifest(&self, repository: &str, reference: &str, media_type: &str, bytes: impl Into<Bytes>) {
        let request = self.request(Method::PUT, repository, &format!("manifests/{reference}"));
        let request = request.header(header::CONTENT_TYPE, media_type).body(bytes.into());
        let answer = request.send().await.unwrap();
        assert_eq!(answer.status(), StatusCode::CREATED, "{}", answer.text().await.unwrap());
    }

    /// Deletes a manifest.
    pub async fn delete(&self, repository: &str, digest: &str) {
        let request = self.request(Method::DELETE, repository, &format!("manifests/{digest}"));
        assert_eq!(request.send().await.unwrap().status(), StatusCode::ACCEPTED);
    }

    /// Deletes a tag, and not what it names.
    pub fn remove_tag(&self, repository: &str, tag: &str) {
        let all = self.directory.path().join("storage/docker/registry/v2/repositories");
        fs::remove_dir_all(all.join(repository).join("_manifests/tags").join(tag)).unwrap();
    }

    /// Deletes a whole repository from the storage.
    pub fn remove_repository(&self, repository: &str) {
        let all = self.directory.path().join("storage/docker/registry/v2/repositories");
        fs::remove_dir_all(all.join(repository)).unwrap();
    }

    /// Deletes a blob from the storage, as a garbage collection at the wrong moment does.
    pub fn remove_blob(&self, digest: &str) {
        fs::remove_dir_all(self.blob_file(digest).parent().unwrap()).unwrap();
    }

    /// Changes the bytes of a blob in the storage.
    pub fn damage_blob(&self, digest: &str, damage: impl FnOnce(&mut Vec<u8>)) {
        let file = self.blob_file(digest);
        let mut bytes = fs::read(&file).unwrap();
        damage(&mut bytes);
        fs::write(file, bytes).unwrap();
    }

    fn blob_file(&self, digest: &str) -> PathBuf {
        let hex = digest.strip_prefix("sha256:").unwrap();
        let all = self.directory.path().join("storage/docker/registry/v2/blobs/sha256");
        all.join(&hex[..2]).join(hex).join("data")
    }

    /// Truncates the link files of a repository, as a full disk does.
    pub fn empty_links(&self, repository: &str) {
        let all = self.directory.path().join("storage/docker/registry/v2/repositories");
        let mut folders = vec![all.join(repository)];
        let mut emptied = 0;
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    folders.push(path);
                } else if path.file_name().is_some_and(|name| name == "link") {
                    fs::write(path, "").unwrap();
                    emptied += 1;
                }
            }
        }
        assert!(emptied > 0, "{repository} has no links");
    }

    /// The names of all repositories.
    pub async fn repositories(&self) -> Vec<String> {
        let response = self.client.get(format!("{}/v2/_catalog?n=10000", self.url)).send().await.unwrap();
        let body: serde_json::Value = serde_json::from_slice(&response.bytes().await.unwrap()).unwrap();
        body["repositories"].as_array().unwrap().iter().map(|name| name.as_str().unwrap().to_owned()).collect()
    }

    /// Media type and bytes of the manifest of a tag or digest, if there is one.
    pub async fn manifest(&self, repository: &str, reference: &str) -> Option<(String, Bytes)> {
        // Without this, the registry converts manifests.
        let accept = [
            "application/vnd.oci.image.index.v1+json",
            "application/vnd.oci.image.manifest.v1+json",
            "application/vnd.docker.distribution.manifest.list.v2+json",
            "application/vnd.docker.distribution.manifest.v2+json",
        ];
        let request = self.request(Method::GET, repository, &format!("manifests/{reference}"));
        let response = request.header(header::ACCEPT, accept.join(", ")).send().await.unwrap();
        if response.status() == StatusCode::NOT_FOUND {
            return None;
        }
        assert_eq!(response.status(), StatusCode::OK);
        let media_type = response.headers()[header::CONTENT_TYPE].to_str().unwrap().to_owned();
        Some((media_type, response.bytes().await.unwrap()))
    }

    /// Adds a user of a registry with tokens, who may pull from the repositories that begin like this.
    pub fn add_user(&self, user: &str, password: &str, repositories: &str) {
        self.tokens.as_ref().unwrap().add_user(user, password, repositories);
    }

    /// The users that have asked for tokens since the last call, with the scopes that they asked for.
    pub fn take_logins(&self) -> Vec<(String, String)> {
        self.tokens.as_ref().unwrap().take_logins()
    }

    /// The bytes of a blob, if there is one.
    pub async fn blob(&self, repository: &str, digest: &str) -> Option<Bytes> {
        let response = self.request(Method::GET, repository, &format!("blobs/{digest}")).send().await.unwrap();
        if response.status() == StatusCode::NOT_FOUND {
            return None;
        }
        assert_eq!(response.status(), StatusCode::OK);
        Some(response.bytes().await.unwrap())
    }

    /// Asserts that all manifests and blobs of `image` exist, byte for byte, and that `reference` (a tag or its digest)
    /// refers to it.
    pub async fn assert_has(&self, repository: &str, reference: &str, image: &Image) {
        let root = [(reference, image.root())];
        let manifests = image.manifests().map(|manifest| (manifest.digest.as_str(), manifest));
        for (reference, manifest) in manifests.chain(root) {
            let found = self.manifest(repository, reference).await;
            let expected = (manifest.media_type.to_owned(), manifest.bytes.clone());
            assert_eq!(found, Some(expected), "{repository}, manifest {reference}");
        }
        for blob in image.blobs() {
            let found = self.blob(repository, &blob.digest).await;
            assert!(found.as_ref() == Some(&blob.bytes), "{repository}, blob {}", blob.digest);
        }
    }

    fn request(&self, method: Method, repository: &str, rest: &str) -> RequestBuilder {
        let request = self.client.request(method, format!("{}/v2/{repository}/{rest}", self.url));
        self.authorize(request, repository)
    }

    fn authorize(&self, request: RequestBuilder, repository: &str) -> RequestBuilder {
        match (self.access, &self.tokens) {
            (Access::Token, Some(tokens)) => {
                request.bearer_auth(tokens.issue(&[&format!("repository:{repository}:pull,push,delete")]))
            }
            (Access::Basic, _) => request.basic_auth(USER, Some(PASSWORD)),
            _ => request,
        }
    }
}

/// The setting for a login with [`USER`] and [`PASSWORD`].
fn basic(directory: &Path) -> String {
    let path = directory.join("htpasswd");
    fs::write(&path, HTPASSWD).unwrap();
    format!("auth: {{ htpasswd: {{ realm: test, path: {} }} }}", path.display())
}

fn start_distribution(directory: &Path, port: u16, tls: &str, auth: &str, storage: &str) -> ServerProcess {
    let config = format!(
        "version: 0.1
storage:
  filesystem: {{ rootdirectory: {} }}
  delete: {{ enabled: true }}
  {storage}
http:
  addr: 127.0.0.1:{port}
  {tls}
{auth}
",
        directory.join("storage").display()
    );
    let file = directory.join("config.yml");
    fs::write(&file, config).unwrap();
    ServerProcess::start(&program("registry"), &["serve".into(), file.into()], &directory.join("log"), None)
}

/// With TLS, trusts only this authority and presents this certificate with its key.
fn client(tls: Option<(&Authority, &[u8])>) -> reqwest::Client {
    let client = reqwest::Client::builder().no_proxy();
    let client = match tls {
        Some((authority, identity)) => client
            .tls_certs_only([reqwest::Certificate::from_pem(authority.pem().as_bytes()).unwrap()])
            .identity(reqwest::Identity::from_pem(identity).unwrap()),
        None => client,
    };
    client.build().unwrap()
}
