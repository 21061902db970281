//! One repository of a registry: the calls of the distribution specification that a copy needs.

mod pull;
pub(super) mod push;

use std::{fmt, sync::Arc};

use bytes::Bytes;
use http::{
    HeaderMap, HeaderValue, Method, StatusCode,
    header::{ACCEPT, CONTENT_TYPE},
};
use url::form_urlencoded;

use crate::model::{Algorithm, Digest};
use crate::registry::{
    Descriptor, Error, Manifest, Selector, UploadError,
    client::{Payload, Request, To, Wire},
    error::Fault,
    host::Host,
    http::response::Response,
    manifest::{ACCEPTED, LONGEST_MANIFEST},
};

pub use pull::BlobStream;

/// One repository of a registry; a clone is cheap.
#[derive(Clone)]
pub struct Repository {
    pub(in crate::registry) wire: Arc<Wire>,
    pub(in crate::registry) host: Arc<Host>,
    /// The path alone.
    pub(in crate::registry) name: Arc<str>,
    /// Registry and path, for people.
    place: Arc<str>,
}

/// Registry and path.
impl fmt::Display for Repository {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.place)
    }
}

impl Repository {
    /// One of a host that is known.
    pub(in crate::registry) fn at(wire: Arc<Wire>, host: Arc<Host>, name: &str) -> Self {
        let place = format!("{}/{name}", host.authority()).into();
        Self { wire, host, name: name.into(), place }
    }

    pub(in crate::registry) fn new(wire: Arc<Wire>, registry: &str, repository: &str) -> Self {
        let host = wire.host(registry);
        Self { wire, host, name: repository.into(), place: format!("{registry}/{repository}").into() }
    }

    /// Whether its registry is at work, whatever it has to say: one request.
    pub async fn is_up(&self) -> bool {
        let to = To::Path("/v2/", None);
        let (headers, payload) = (HeaderMap::new(), Payload::Empty);
        let request = Request { method: Method::GET, to, headers, scopes: &[], has_room: false, payload };
        let answer = self.wire.send(&self.host, request).await;
        answer.is_ok_and(|response| !response.status().is_server_error())
    }

    /// The digest of a manifest: one HEAD, and a GET only where the registry leaves the digest out; none where there is
    /// no such manifest or repository.
    ///
    /// # Errors
    /// When the registry can't be asked, or answers with anything but the manifest or 404.
    pub async fn head(&self, selector: Selector<'_>) -> Result<Option<Digest>, Error> {
        let path = self.manifest_path(selector);
        let asked = || async {
            let response = self.send(Method::HEAD, &path, accept(), Payload::Empty).await?;
            match response.status() {
                StatusCode::OK if response.is_page() => {
                    Err(Fault::Malformed("a web page came instead of a manifest".to_owned()))
                }
                StatusCode::OK => match (response.digest(), selector) {
                    (Some(found), Selector::Tag(_)) => Ok(Some(found)),
                    (Some(found), Selector::Digest(expected)) if found.algorithm() == expected.algorithm() => {
                        check_announced(&response, expected).map(|()| Some(found))
                    }
                    _ => Ok(Some(self.fetch_manifest(&path, selector).await?.digest().clone())),
                },
                StatusCode::NOT_FOUND => Ok(None),
                _ => Err(self.refusal(response).await),
            }
        };
        self.wire.backoff().run(asked).await.map_err(|fault| self.error("asking for the digest of", selector, fault))
    }

    /// A manifest. Its digest is that of its bytes, and the one that was asked for or announced.
    ///
    /// # Errors
    /// When it is not there, can't be had, has another digest, is no manifest, is longer than 4 MiB, or is of the long
    /// dead schema 1.
    pub async fn manifest(&self, selector: Selector<'_>) -> Result<Manifest, Error> {
        let path = self.manifest_path(selector);
        let fetched = self.wire.backoff().run(|| self.fetch_manifest(&path, selector)).await;
        fetched.map_err(|fault| self.error("reading the manifest of", selector, fault))
    }

    async fn fetch_manifest(&self, path: &str, selector: Selector<'_>) -> Result<Manifest, Fault> {
        let mut response = self.send(Method::GET, path, accept(), Payload::Empty).await?;
        if response.status() != StatusCode::OK {
            return Err(self.refusal(response).await);
        }
        let announced = response.digest();
        let content_type = response.header(CONTENT_TYPE.as_str()).map(str::to_owned);
        let bytes = response.all(LONGEST_MANIFEST).await?;
        let expected = match selector {
            Selector::Digest(asked) => Some(asked.clone()),
            Selector::Tag(_) => announced,
        };
        let digest = match expected {
            None => Digest::sha256(&bytes),
            Some(expected) => {
                let found = digest_of(&bytes, expected.algorithm());
                if found != expected {
                    return Err(Fault::Digest { expected, found });
                }
                found
            }
        };
        Manifest::of(bytes, content_type.as_deref(), digest)
    }

    /// Whether the repository has a blob.
    ///
    /// # Errors
    /// When the registry can't be asked.
    pub async fn has_blob(&self, digest: &Digest) -> Result<bool, Error> {
        let path = self.blob_path(digest);
        let asked = || async {
            let response = self.send(Method::HEAD, &path, HeaderMap::new(), Payload::Empty).await?;
            match response.status() {
                StatusCode::OK if response.is_page() => {
                    Err(Fault::Malformed("a web page came instead of a blob".to_owned()))
                }
                StatusCode::OK => check_announced(&response, digest).map(|()| true),
                StatusCode::NOT_FOUND => Ok(false),
                _ => Err(self.refusal(response).await),
            }
        };
        self.wire.backoff().run(asked).await.map_err(|fault| self.blob_error("asking for", digest, fault))
    }

    /// The bytes of a blob, to be read under a place or a [`Room`](super::Room). A broken connection is taken up where it
    /// broke; the last bytes come only after size and digest of the whole were found right.
    pub fn blob(&self, descriptor: &Descriptor) -> BlobStream {
        pull::stream(self.clone(), descriptor.clone())
    }

    /// Asks the registry to take a blob over from its repository `from`; false where it does not, be it that it can't,
    /// or that we may not.
    ///
    /// # Errors
    /// When the registry can't be asked.
    pub async fn mount(&self, digest: &Digest, from: &str) -> Result<bool, Error> {
        push::mount(self, digest, from).await.map_err(|fault| self.blob_error("mounting", digest, fault))
    }

    /// Sends a blob in one streamed request, under a place or a [`Room`](super::Room). `progress` is told the length of
    /// every piece handed to the connection. Never tried again, since the stream is spent: the caller does that.
    ///
    /// # Errors
    /// Which side broke, and how.
    pub async fn upload(
        &self,
        descriptor: &Descriptor,
        body: BlobStream,
        progress: impl Fn(u64) + Send + Sync + 'static,
    ) -> Result<(), UploadError> {
        push::upload(self, descriptor, body, progress).await
    }

    /// Stores a manifest under a tag, or under its digest.
    ///
    /// # Errors
    /// When the registry can't be reached, refuses it, or says that it understood another digest.
    pub async fn put_manifest(&self, selector: Selector<'_>, manifest: &Manifest) -> Result<(), Error> {
        let path = self.manifest_path(selector);
        let sent = || async {
            let content_type = HeaderValue::from_str(manifest.media_type())
                .map_err(|_| Fault::Refused("its media type can't be sent in a header".to_owned()))?;
            let headers = HeaderMap::from_iter([(CONTENT_TYPE, content_type)]);
            let response = self.send(Method::PUT, &path, headers, Payload::Bytes(manifest.bytes().clone())).await?;
            if !response.status().is_success() {
                return Err(self.refusal(response).await);
            }
            if response.is_page() {
                return Err(Fault::Malformed("a web page came where a manifest was to be stored".to_owned()));
            }
            check_announced(&response, manifest.digest())
        };
        self.wire.backoff().run(sent).await.map_err(|fault| self.error("storing the manifest of", selector, fault))
    }

    /// One request with the right to write where it writes.
    async fn send(&self, method: Method, path: &str, headers: HeaderMap, payload: Payload) -> Result<Response, Fault> {
        let scope = if method == Method::PUT { self.push_scope() } else { self.pull_scope() };
        let request = Request { method, to: To::Path(path, None), headers, scopes: &[scope], has_room: false, payload };
        self.wire.send(&self.host, request).await
    }

    /// The path alone.
    pub(in crate::registry) fn name(&self) -> &str {
        &self.name
    }

    pub(in crate::registry) async fn refusal(&self, response: Response) -> Fault {
        let with_login = self.host.auth.has_login() && self.host.has(response.url());
        response.refusal(with_login).await
    }

    pub(in crate::registry) fn pull_scope(&self) -> String {
        format!("repository:{}:pull", self.name)
    }

    pub(in crate::registry) fn push_scope(&self) -> String {
        format!("repository:{}:pull,push", self.name)
    }

    pub(in crate::registry) fn blob_path(&self, digest: &Digest) -> String {
        format!("/v2/{}/blobs/{digest}", self.name)
    }

    fn manifest_path(&self, selector: Selector<'_>) -> String {
        format!("/v2/{}/manifests/{selector}", self.name)
    }

    fn error(&self, doing: &str, selector: Selector<'_>, fault: Fault) -> Error {
        let separator = match selector {
            Selector::Tag(_) => ':',
            Selector::Digest(_) => '@',
        };
        Error::new(format!("{doing} {self}{separator}{selector}"), fault)
    }

    pub(in crate::registry) fn blob_error(&self, doing: &str, digest: &Digest, fault: Fault) -> Error {
        Error::new(format!("{doing} the blob {digest} of {self}"), fault)
    }
}

/// A registry that says which digest it has or stored must name the right one; another algorithm says nothing.
pub(in crate::registry) fn check_announced(response: &Response, expected: &Digest) -> Result<(), Fault> {
    match response.digest() {
        Some(found) if found.algorithm() == expected.algorithm() && found != *expected => {
            Err(Fault::Digest { expected: expected.clone(), found })
        }
        _ => Ok(()),
    }
}

/// `key=value&…`, percent-encoded.
pub(in crate::registry) fn query(pairs: &[(&str, &str)]) -> String {
    form_urlencoded::Serializer::new(String::new()).extend_pairs(pairs).finish()
}

fn accept() -> HeaderMap {
    HeaderMap::from_iter([(ACCEPT, HeaderValue::from_static(ACCEPTED))])
}

fn digest_of(bytes: &Bytes, algorithm: Algorithm) -> Digest {
    let mut hasher = algorithm.hasher();
    hasher.update(bytes);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::model::Retry;
    use crate::registry::testing::{Reply, Server, settings};

    const INDEX: &str = r#"{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[]}"#;

    fn tag() -> Selector<'static> {
        Selector::Tag("1.2")
    }

    #[tokio::test]
    async fn a_digest_costs_one_head_and_a_scheme_is_found_out_once() {
        let digest = Digest::sha256(b"m");
        let announced = digest.clone();
        let server = Server::start(move |_| Reply::new(200).header("Docker-Content-Digest", &announced)).await;
        let repository = server.repository();
        assert_eq!(repository.head(tag()).await.unwrap(), Some(digest.clone()));
        assert_eq!(repository.head(Selector::Digest(&digest)).await.unwrap(), Some(digest.clone()));
        let lines = ["HEAD /v2/team/app/manifests/1.2".to_owned(), format!("HEAD /v2/team/app/manifests/{digest}")];
        assert_eq!(server.lines(), lines);
        assert_eq!(server.handshakes(), 1);
        let asked = &server.asked()[0];
        for media_type in crate::registry::manifest::KNOWN {
            assert!(asked.header("accept").unwrap().contains(media_type), "{media_type}");
        }
        assert_eq!(asked.header("accept-encoding"), Some("identity"));
        assert!(asked.header("user-agent").unwrap().starts_with("k8s-copycat/"));
    }

    #[tokio::test]
    async fn a_digest_of_another_algorithm_is_no_contradiction() {
        let mut hasher = Algorithm::Sha512.hasher();
        hasher.update(INDEX.as_bytes());
        let digest = hasher.finish();
        let other = Digest::sha256(INDEX.as_bytes());
        let server = Server::start(move |_| Reply::new(200).body(INDEX).header("Docker-Content-Digest", &other)).await;
        let found = server.repository().head(Selector::Digest(&digest)).await.unwrap();
        assert_eq!(found, Some(digest));
    }

    #[tokio::test]
    async fn another_digest_than_the_one_asked_for_is_an_error() {
        let other = Digest::sha256(b"other");
        let server = Server::start(move |_| Reply::new(200).header("Docker-Content-Digest", &other)).await;
        server.repository().head(Selector::Digest(&Digest::sha256(b"asked"))).await.unwrap_err();
    }

    #[tokio::test]
    async fn a_missing_manifest_is_no_error() {
        let server = Server::start(|_| Reply::new(404)).await;
        assert_eq!(server.repository().head(tag()).await.unwrap(), None);
    }

    #[tokio::test]
    async fn a_head_without_digest_is_made_up_for_by_a_get() {
        let server = Server::start(|_| Reply::new(200).body(INDEX)).await;
        let found = server.repository().head(tag()).await.unwrap();
        assert_eq!(found, Some(Digest::sha256(INDEX.as_bytes())));
        assert_eq!(server.asked().len(), 2);
    }

    #[tokio::test]
    async fn a_manifest_keeps_its_bytes() {
        let server = Server::start(|_| Reply::new(200).body(INDEX)).await;
        let manifest = server.repository().manifest(tag()).await.unwrap();
        assert_eq!(manifest.bytes(), INDEX);
        assert_eq!(manifest.media_type(), "application/vnd.oci.image.index.v1+json");
    }

    #[tokio::test]
    async fn a_manifest_with_another_digest_is_refused() {
        let wrong = Digest::sha256(b"other");
        let announced = wrong.clone();
        let server =
            Server::start(move |_| Reply::new(200).body(INDEX).header("Docker-Content-Digest", &announced)).await;
        for selector in [tag(), Selector::Digest(&wrong)] {
            let error = server.repository().manifest(selector).await.unwrap_err();
            assert!(error.to_string().contains(wrong.hex()), "{error}");
        }
    }

    #[tokio::test]
    async fn a_web_page_with_200_is_asked_for_again_and_then_an_error() {
        let server = Server::start(|_| Reply::new(200).body("<html>Sign in</html>")).await;
        let error = server.repository().manifest(tag()).await.unwrap_err();
        assert!(error.to_string().contains("no manifest"), "{error}");
        assert_eq!(error.retry(), Retry::Soon);
        assert_eq!(server.asked().len(), 3);
    }

    #[tokio::test]
    async fn an_endless_manifest_is_refused() {
        let server = Server::start(|_| Reply::new(200).body(vec![b' '; LONGEST_MANIFEST + 1]).chunked()).await;
        let error = server.repository().manifest(tag()).await.unwrap_err();
        assert!(error.to_string().contains("longer than"), "{error}");
        assert_eq!(error.retry(), Retry::Later);
    }

    #[tokio::test]
    async fn what_passes_by_itself_is_asked_again() {
        for status in [408, 429, 500, 502, 503, 504] {
            let server = Server::start(move |_| Reply::new(status)).await;
            let error = server.repository().manifest(tag()).await.unwrap_err();
            assert_eq!((error.retry(), server.asked().len()), (Retry::Soon, 3), "{status}");
        }
        for status in [400, 403, 404, 405, 501] {
            let server = Server::start(move |_| Reply::new(status)).await;
            let error = server.repository().manifest(tag()).await.unwrap_err();
            assert_eq!((error.retry(), server.asked().len()), (Retry::Later, 1), "{status}");
        }
    }

    #[tokio::test]
    async fn a_long_wait_that_the_registry_asks_for_is_the_callers() {
        let server = Server::start(|_| Reply::new(429).header("Retry-After", 3600)).await;
        let error = server.repository().manifest(tag()).await.unwrap_err();
        assert_eq!(
            (error.retry(), server.asked().len()),
            (Retry::After(Duration::from_secs(60)), 1),
            "it is probed then"
        );
        let server = Server::start(|_| Reply::new(429).header("Retry-After", 240)).await;
        let error = server.repository().manifest(tag()).await.unwrap_err();
        assert_eq!((error.retry(), server.asked().len()), (Retry::After(Duration::from_secs(240)), 1));
    }

    #[tokio::test]
    async fn a_broken_connection_is_made_anew() {
        let count = std::sync::atomic::AtomicU32::new(0);
        let server = Server::start(move |_| {
            let reply = Reply::new(200).body(INDEX);
            if count.fetch_add(1, std::sync::atomic::Ordering::SeqCst) < 2 { reply.cut(5) } else { reply }
        })
        .await;
        assert_eq!(server.repository().manifest(tag()).await.unwrap().bytes(), INDEX);
    }

    #[tokio::test]
    async fn a_silent_registry_is_given_up() {
        let server = Server::start(|_| Reply::new(200).after(Duration::from_secs(3600))).await;
        let impatient = crate::registry::Settings { request_timeout: Some(Duration::from_millis(20)), ..settings() };
        let error = server.repository_with(impatient.clone()).head(tag()).await.unwrap_err();
        assert!(error.to_string().contains("nothing came within"), "{error}");
        let server = Server::start(|_| Reply::new(200).body(INDEX).stall(3)).await;
        let error = server.repository_with(impatient).manifest(tag()).await.unwrap_err();
        assert!(error.to_string().contains("nothing came within"), "{error}");
    }

    #[tokio::test]
    async fn a_registry_that_is_not_there_is_named() {
        let server = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = server.local_addr().unwrap().to_string();
        drop(server);
        let registries = crate::registry::Registries::new(settings(), &[], 64).unwrap();
        let error = registries.repository(&address, "a").head(tag()).await.unwrap_err();
        assert!(error.to_string().contains(&address) && error.to_string().contains("refused"), "{error}");
        assert_eq!(error.retry(), Retry::Soon);
    }

    #[tokio::test]
    async fn a_manifest_is_stored_as_it_is_without_a_location() {
        let server = Server::start(|_| Reply::new(201)).await;
        let manifest = Manifest::new(INDEX.into(), None).unwrap();
        server.repository().put_manifest(Selector::Digest(manifest.digest()), &manifest).await.unwrap();
        let asked = &server.asked()[0];
        assert_eq!(asked.line(), format!("PUT /v2/team/app/manifests/{}", manifest.digest()));
        assert_eq!(asked.header("content-type"), Some(manifest.media_type()));
        assert_eq!(asked.body, INDEX.as_bytes());
    }

    #[tokio::test]
    async fn a_registry_that_understood_another_manifest_is_not_believed() {
        let other = Digest::sha256(b"other");
        let server = Server::start(move |_| Reply::new(201).header("Docker-Content-Digest", &other)).await;
        let manifest = Manifest::new(INDEX.into(), None).unwrap();
        let error = server.repository().put_manifest(tag(), &manifest).await.unwrap_err();
        assert!(error.to_string().contains(manifest.digest().hex()), "{error}");
    }

    #[tokio::test]
    async fn blobs_are_there_or_not() {
        let here = Digest::sha256(b"here");
        let path = format!("/v2/team/app/blobs/{here}");
        let server = Server::start(move |asked| Reply::new(if asked.target == path { 200 } else { 404 })).await;
        let repository = server.repository();
        assert!(repository.has_blob(&here).await.unwrap());
        assert!(!repository.has_blob(&Digest::sha256(b"gone")).await.unwrap());
    }

    #[tokio::test]
    async fn a_web_page_is_not_taken_for_a_blob() {
        let other = Digest::sha256(b"other");
        for reply in [
            Reply::new(200).header("Content-Type", "text/html; charset=utf-8"),
            Reply::new(200).header("Docker-Content-Digest", other),
        ] {
            let server = Server::start(move |_| reply.clone()).await;
            server.repository().has_blob(&Digest::sha256(b"here")).await.unwrap_err();
        }
    }
}
