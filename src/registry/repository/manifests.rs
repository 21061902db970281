//! Reads and writes manifests, and checks for blobs.

use bytes::Bytes;
use http::{
    HeaderMap, HeaderValue, Method, StatusCode,
    header::{ACCEPT, CONTENT_TYPE},
};

use super::{Repository, check_announced};
use crate::{
    model::{Algorithm, Digest},
    registry::{
        client::request::{Permit, Request, Target},
        error::Error,
        fault::Fault,
        http::{request::Payload, response::Response},
        manifest::{ACCEPTED, MAX_MANIFEST, Manifest, TagOrDigest},
    },
};

impl Repository {
    /// The digest of a manifest: one HEAD, and a GET only if the registry omits the digest. None if there is no such
    /// manifest or repository.
    ///
    /// # Errors
    /// When the registry can't be reached, or responds with anything but the manifest or 404.
    pub async fn head(&self, selector: TagOrDigest<'_>) -> Result<Option<Digest>, Error> {
        let path = self.manifest_path(selector);
        let attempt = || async {
            let response = self.send(Method::HEAD, &path, accept(), Payload::Empty).await?;
            match response.status() {
                StatusCode::OK if response.is_html_page() => {
                    Err(Fault::InvalidResponse("the response is a web page instead of a manifest".to_owned()))
                }
                StatusCode::OK => match (response.digest(), selector) {
                    (Some(found), TagOrDigest::Tag(_)) => Ok(Some(found)),
                    (Some(found), TagOrDigest::Digest(expected)) if found.algorithm() == expected.algorithm() => {
                        check_announced(&response, expected).map(|()| Some(found))
                    }
                    _ => Ok(Some(self.fetch_manifest(&path, selector).await?.digest().clone())),
                },
                StatusCode::NOT_FOUND => Ok(None),
                _ => Err(self.fault(response).await),
            }
        };
        let digest = self.client.retry(&self.host, attempt).await;
        digest.map_err(|fault| self.manifest_error("reading the digest of", selector, fault))
    }

    /// A manifest. Its digest is that of its bytes, and equals the requested or announced one.
    ///
    /// # Errors
    /// When it does not exist, can't be read, has another digest, is no manifest, is longer than 4 MiB, or is of the
    /// obsolete schema 1.
    pub async fn manifest(&self, selector: TagOrDigest<'_>) -> Result<Manifest, Error> {
        let path = self.manifest_path(selector);
        let manifest = self.client.retry(&self.host, || self.fetch_manifest(&path, selector)).await;
        manifest.map_err(|fault| self.manifest_error("reading the manifest of", selector, fault))
    }

    async fn fetch_manifest(&self, path: &str, selector: TagOrDigest<'_>) -> Result<Manifest, Fault> {
        let mut response = self.send(Method::GET, path, accept(), Payload::Empty).await?;
        if response.status() != StatusCode::OK {
            return Err(self.fault(response).await);
        }
        let announced = response.digest();
        let content_type = response.header(CONTENT_TYPE.as_str()).map(str::to_owned);
        let bytes = response.read_all(MAX_MANIFEST).await?;
        let expected = match selector {
            TagOrDigest::Digest(requested) => Some(requested.clone()),
            TagOrDigest::Tag(_) => announced,
        };
        let digest = match expected {
            None => Digest::sha256(&bytes),
            Some(expected) => {
                let found = digest_of(&bytes, expected.algorithm());
                if found != expected {
                    return Err(Fault::DigestMismatch { expected, found });
                }
                found
            }
        };
        Manifest::with_digest(bytes, content_type.as_deref(), digest)
    }

    /// Pushes a manifest under a tag, or under its digest.
    ///
    /// # Errors
    /// When the registry can't be reached, rejects it, or announces another digest.
    pub async fn put_manifest(&self, selector: TagOrDigest<'_>, manifest: &Manifest) -> Result<(), Error> {
        let path = self.manifest_path(selector);
        let attempt = || async {
            let content_type = HeaderValue::from_str(manifest.media_type()).map_err(|_| {
                Fault::Permanent("its media type has characters that a header can't contain".to_owned())
            })?;
            let headers = HeaderMap::from_iter([(CONTENT_TYPE, content_type)]);
            let response = self.send(Method::PUT, &path, headers, Payload::Bytes(manifest.bytes().clone())).await?;
            if !response.status().is_success() {
                return Err(self.fault(response).await);
            }
            if response.is_html_page() {
                return Err(Fault::InvalidResponse("the response to the push is a web page".to_owned()));
            }
            check_announced(&response, manifest.digest())
        };
        let pushed = self.client.retry(&self.host, attempt).await;
        pushed.map_err(|fault| self.manifest_error("pushing the manifest of", selector, fault))
    }

    /// Whether the repository has a blob.
    ///
    /// # Errors
    /// When the registry can't be reached.
    pub async fn has_blob(&self, digest: &Digest) -> Result<bool, Error> {
        Ok(self.blob_size(digest).await?.is_some())
    }

    /// The length of a blob; None if the repository does not have it, an inner None if the registry does not tell.
    ///
    /// # Errors
    /// When the registry can't be reached.
    pub async fn blob_size(&self, digest: &Digest) -> Result<Option<Option<u64>>, Error> {
        let path = self.blob_path(digest);
        let attempt = || async {
            let response = self.send(Method::HEAD, &path, HeaderMap::new(), Payload::Empty).await?;
            match response.status() {
                StatusCode::OK if response.is_html_page() => {
                    Err(Fault::InvalidResponse("the response is a web page instead of a blob".to_owned()))
                }
                StatusCode::OK => check_announced(&response, digest).map(|()| Some(response.content_length())),
                StatusCode::NOT_FOUND => Ok(None),
                _ => Err(self.fault(response).await),
            }
        };
        let found = self.client.retry(&self.host, attempt).await;
        found.map_err(|fault| self.blob_error("checking for", digest, fault))
    }

    async fn send(&self, method: Method, path: &str, headers: HeaderMap, payload: Payload) -> Result<Response, Fault> {
        let scope = if method == Method::PUT { self.push_scope() } else { self.pull_scope() };
        let target = Target::Path(path, None);
        let request = Request { method, target, headers, scopes: &[scope], permit: Permit::Acquire, payload };
        self.client.send(&self.host, request).await
    }
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
    use crate::{
        model::Retry,
        registry::{
            Registries, Settings,
            testing::{Reply, Server, settings},
        },
    };

    const INDEX: &str = r#"{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[]}"#;

    fn tag() -> TagOrDigest<'static> {
        TagOrDigest::Tag("1.2")
    }

    #[tokio::test]
    async fn reads_a_digest_with_one_head_and_probes_the_scheme_once() {
        let digest = Digest::sha256(b"m");
        let announced = digest.clone();
        let server = Server::start(move |_| Reply::new(200).header("Docker-Content-Digest", &announced)).await;
        let repository = server.repository();
        assert_eq!(repository.head(tag()).await.unwrap(), Some(digest.clone()));
        assert_eq!(repository.head(TagOrDigest::Digest(&digest)).await.unwrap(), Some(digest.clone()));
        let lines = ["HEAD /v2/team/app/manifests/1.2".to_owned(), format!("HEAD /v2/team/app/manifests/{digest}")];
        assert_eq!(server.request_lines(), lines);
        assert_eq!(server.handshakes(), 1);
        let request = &server.requests()[0];
        for media_type in crate::registry::manifest::KNOWN {
            assert!(request.header("accept").unwrap().contains(media_type), "{media_type}");
        }
        assert_eq!(request.header("accept-encoding"), Some("identity"));
        assert!(request.header("user-agent").unwrap().starts_with("k8s-copycat/"));
    }

    #[tokio::test]
    async fn accepts_an_announced_digest_of_another_algorithm() {
        let mut hasher = Algorithm::Sha512.hasher();
        hasher.update(INDEX.as_bytes());
        let digest = hasher.finish();
        let other = Digest::sha256(INDEX.as_bytes());
        let server = Server::start(move |_| Reply::new(200).body(INDEX).header("Docker-Content-Digest", &other)).await;
        let found = server.repository().head(TagOrDigest::Digest(&digest)).await.unwrap();
        assert_eq!(found, Some(digest));
    }

    #[tokio::test]
    async fn rejects_another_digest_than_the_requested() {
        let other = Digest::sha256(b"other");
        let server = Server::start(move |_| Reply::new(200).header("Docker-Content-Digest", &other)).await;
        server.repository().head(TagOrDigest::Digest(&Digest::sha256(b"asked"))).await.unwrap_err();
    }

    #[tokio::test]
    async fn returns_none_for_a_missing_manifest() {
        let server = Server::start(|_| Reply::new(404)).await;
        assert_eq!(server.repository().head(tag()).await.unwrap(), None);
    }

    #[tokio::test]
    async fn a_head_without_a_digest_is_followed_by_a_get() {
        let server = Server::start(|_| Reply::new(200).body(INDEX)).await;
        let found = server.repository().head(tag()).await.unwrap();
        assert_eq!(found, Some(Digest::sha256(INDEX.as_bytes())));
        assert_eq!(server.requests().len(), 2);
    }

    #[tokio::test]
    async fn keeps_the_bytes_of_a_manifest() {
        let server = Server::start(|_| Reply::new(200).body(INDEX)).await;
        let manifest = server.repository().manifest(tag()).await.unwrap();
        assert_eq!(manifest.bytes(), INDEX);
        assert_eq!(manifest.media_type(), "application/vnd.oci.image.index.v1+json");
    }

    #[tokio::test]
    async fn rejects_a_manifest_with_another_digest() {
        let wrong = Digest::sha256(b"other");
        let announced = wrong.clone();
        let server =
            Server::start(move |_| Reply::new(200).body(INDEX).header("Docker-Content-Digest", &announced)).await;
        for selector in [tag(), TagOrDigest::Digest(&wrong)] {
            let error = server.repository().manifest(selector).await.unwrap_err();
            assert!(error.to_string().contains(wrong.hex()), "{error}");
        }
    }

    #[tokio::test]
    async fn retries_after_a_web_page_with_200() {
        let server = Server::start(|_| Reply::new(200).body("<html>Sign in</html>")).await;
        let error = server.repository().manifest(tag()).await.unwrap_err();
        assert!(error.to_string().contains("no manifest"), "{error}");
        assert_eq!(error.retry(), Retry::Soon);
        assert_eq!(server.requests().len(), 3);
    }

    #[tokio::test]
    async fn rejects_an_endless_manifest() {
        let server = Server::start(|_| Reply::new(200).body(vec![b' '; MAX_MANIFEST + 1]).chunked()).await;
        let error = server.repository().manifest(tag()).await.unwrap_err();
        assert!(error.to_string().contains("longer than"), "{error}");
        assert_eq!(error.retry(), Retry::Later);
    }

    #[tokio::test]
    async fn retries_temporary_errors() {
        for status in [408, 429, 500, 502, 503, 504] {
            let server = Server::start(move |_| Reply::new(status)).await;
            let error = server.repository().manifest(tag()).await.unwrap_err();
            assert_eq!((error.retry(), server.requests().len()), (Retry::Soon, 3), "{status}");
        }
        for status in [400, 403, 404, 405, 501] {
            let server = Server::start(move |_| Reply::new(status)).await;
            let error = server.repository().manifest(tag()).await.unwrap_err();
            assert_eq!((error.retry(), server.requests().len()), (Retry::Later, 1), "{status}");
        }
    }

    #[tokio::test]
    async fn returns_a_long_retry_after_to_the_caller() {
        let server = Server::start(|_| Reply::new(429).header("Retry-After", 3600)).await;
        let error = server.repository().manifest(tag()).await.unwrap_err();
        assert_eq!(
            (error.retry(), server.requests().len()),
            (Retry::After(Duration::from_secs(60)), 1),
            "a probe is due then"
        );
        let server = Server::start(|_| Reply::new(429).header("Retry-After", 240)).await;
        let error = server.repository().manifest(tag()).await.unwrap_err();
        assert_eq!((error.retry(), server.requests().len()), (Retry::After(Duration::from_secs(240)), 1));
    }

    #[tokio::test]
    async fn reconnects_after_a_broken_connection() {
        let count = std::sync::atomic::AtomicU32::new(0);
        let server = Server::start(move |_| {
            let reply = Reply::new(200).body(INDEX);
            if count.fetch_add(1, std::sync::atomic::Ordering::SeqCst) < 2 { reply.cut(5) } else { reply }
        })
        .await;
        assert_eq!(server.repository().manifest(tag()).await.unwrap().bytes(), INDEX);
    }

    #[tokio::test]
    async fn times_out_on_a_silent_registry() {
        let server = Server::start(|_| Reply::new(200).after(Duration::from_secs(3600))).await;
        let impatient = Settings { request_timeout: Some(Duration::from_millis(20)), ..settings() };
        let error = server.repository_with(impatient.clone()).head(tag()).await.unwrap_err();
        assert!(error.to_string().contains("nothing received for"), "{error}");
        let server = Server::start(|_| Reply::new(200).body(INDEX).stall(3)).await;
        let error = server.repository_with(impatient).manifest(tag()).await.unwrap_err();
        assert!(error.to_string().contains("nothing received for"), "{error}");
    }

    #[tokio::test]
    async fn names_an_unreachable_registry() {
        let server = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = server.local_addr().unwrap().to_string();
        drop(server);
        let registries = Registries::new(settings(), &[], 64).unwrap();
        let error = registries.repository(&address, "a").head(tag()).await.unwrap_err();
        assert!(error.to_string().contains(&address) && error.to_string().contains("refused"), "{error}");
        assert_eq!(error.retry(), Retry::Soon);
    }

    #[tokio::test]
    async fn pushes_a_manifest_unchanged() {
        let server = Server::start(|_| Reply::new(201)).await;
        let manifest = Manifest::new(INDEX.into(), None).unwrap();
        server.repository().put_manifest(TagOrDigest::Digest(manifest.digest()), &manifest).await.unwrap();
        let request = &server.requests()[0];
        assert_eq!(request.line(), format!("PUT /v2/team/app/manifests/{}", manifest.digest()));
        assert_eq!(request.header("content-type"), Some(manifest.media_type()));
        assert_eq!(request.body, INDEX.as_bytes());
    }

    #[tokio::test]
    async fn rejects_another_digest_announced_after_a_push() {
        let other = Digest::sha256(b"other");
        let server = Server::start(move |_| Reply::new(201).header("Docker-Content-Digest", &other)).await;
        let manifest = Manifest::new(INDEX.into(), None).unwrap();
        let error = server.repository().put_manifest(tag(), &manifest).await.unwrap_err();
        assert!(error.to_string().contains(manifest.digest().hex()), "{error}");
    }

    #[tokio::test]
    async fn checks_for_blobs() {
        let here = Digest::sha256(b"here");
        let path = format!("/v2/team/app/blobs/{here}");
        let server = Server::start(move |request| Reply::new(if request.target == path { 200 } else { 404 })).await;
        let repository = server.repository();
        assert!(repository.has_blob(&here).await.unwrap());
        assert!(!repository.has_blob(&Digest::sha256(b"gone")).await.unwrap());
    }

    #[tokio::test]
    async fn does_not_take_a_web_page_for_a_blob() {
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
