//! What is sent where, and which hosts receive credentials.

use super::*;
use crate::{
    model::{Digest, Retry},
    registry::{
        Error, Registries, TagOrDigest, UploadError,
        http::transport::MAX_REDIRECTS,
        testing::{Reply, Server, descriptor, password, read_all, settings, single_chunk, with_login},
    },
};

#[tokio::test]
async fn sends_no_credentials_to_another_host_after_a_redirect() {
    let cdn = Server::start(|_| Reply::new(200).body("abc")).await;
    let elsewhere = cdn.url("/bucket/abc?signature=s");
    let registry = Server::start(move |request| match (request.header("authorization"), request.target.as_str()) {
        (None, _) => Reply::new(401).header("WWW-Authenticate", "Basic realm=r"),
        (Some(_), "/again") => Reply::new(307).header("Location", &elsewhere),
        (Some(_), _) => Reply::new(302).header("Location", "/again"),
    })
    .await;
    let repository = registry.repository_with(with_login(password()));
    assert_eq!(read_all(repository.blob(&descriptor(b"abc"))).await.unwrap(), b"abc");
    assert_eq!(cdn.request_lines(), ["GET /bucket/abc?signature=s"]);
    assert_eq!(cdn.requests()[0].header("authorization"), None);
    assert_eq!(registry.requests()[2].header("authorization"), Some("Basic dXNlcjpwYXNz"));
}

#[tokio::test]
async fn shows_no_signature_of_a_redirect() {
    let cdn = Server::start(|_| Reply::new(403)).await;
    let elsewhere = cdn.url("/bucket/abc?signature=geheim");
    let registry = Server::start(move |_| Reply::new(307).header("Location", &elsewhere)).await;
    let (_, error) = read_all(registry.repository().blob(&descriptor(b"abc"))).await.unwrap_err();
    assert!(error.to_string().contains(&cdn.address.to_string()), "{error}");
    assert!(!format!("{error} {error:?}").contains("geheim"), "{error:?}");
}

#[tokio::test]
async fn sends_no_request_before_retry_after() {
    let server = Server::start(|_| Reply::new(429).header("Retry-After", 600)).await;
    let repository = server.repository();
    let assert_retry = |error: Error| match error.retry() {
        Retry::After(wait) => assert!((50..=60).contains(&wait.as_secs()), "not the ten minutes: {error}"),
        other => panic!("{other:?}: {error}"),
    };
    assert_retry(repository.head(TagOrDigest::Tag("1")).await.unwrap_err());
    let error = repository.has_blob(&Digest::sha256(b"abc")).await.unwrap_err();
    assert!(error.to_string().contains("limits requests; retry in 5"), "{error}");
    assert_retry(error);
    assert_eq!(server.requests().len(), 1);
}

#[tokio::test]
async fn reads_no_manifest_while_the_pull_quota_is_used_up() {
    let manifest = r#"{"schemaVersion":2,"manifests":[]}"#;
    let server = Server::start(move |_| {
        let reply = Reply::new(200).header("Docker-Content-Digest", Digest::sha256(manifest.as_bytes()));
        let reply = reply.header("ratelimit-limit", "100;w=21600");
        reply.header("ratelimit-remaining", "0;w=21600").body(manifest)
    })
    .await;
    let repository = server.repository();
    repository.head(TagOrDigest::Tag("1")).await.unwrap();
    repository.manifest(TagOrDigest::Tag("1")).await.unwrap();
    let error = repository.manifest(TagOrDigest::Tag("2")).await.unwrap_err();
    assert!(matches!(error.retry(), Retry::After(wait) if wait.as_secs().abs_diff(216) < 10), "{error}");
    repository.head(TagOrDigest::Tag("2")).await.unwrap();
    let methods: Vec<_> = server.requests().into_iter().map(|request| request.method).collect();
    assert_eq!(methods, ["HEAD", "GET", "HEAD"]);
}

#[tokio::test]
async fn ends_a_redirect_loop() {
    let server = Server::start(|request| Reply::new(307).header("Location", &request.target)).await;
    let error = server.repository().manifest(TagOrDigest::Tag("1")).await.unwrap_err();
    assert!(error.to_string().contains("redirects"), "{error}");
    assert_eq!((error.retry(), server.requests().len()), (Retry::Later, MAX_REDIRECTS + 1));
}

#[tokio::test]
async fn sends_no_credentials_when_an_upload_goes_to_another_host() {
    let store = Server::start(|_| Reply::new(201)).await;
    let elsewhere = store.url("/up");
    let registry = Server::start(move |request| match request.header("authorization") {
        None => Reply::new(401).header("WWW-Authenticate", "Basic"),
        Some(_) => Reply::new(202).header("Location", &elsewhere),
    })
    .await;
    let repository = registry.repository_with(with_login(password()));
    repository.upload(&descriptor(b"abc"), single_chunk(b"abc"), |_| ()).await.unwrap();
    assert_eq!(store.requests()[0].header("authorization"), None);
    assert_eq!(store.requests()[0].body, b"abc");
}

#[tokio::test]
async fn an_upload_that_met_a_401_is_retryable() {
    let registry = Server::start(move |request| match request.method.as_str() {
        "POST" => Reply::new(202).header("Location", "/up"),
        _ => Reply::new(401).header("WWW-Authenticate", "Basic"),
    })
    .await;
    let repository = registry.repository_with(with_login(password()));
    // The second time with the login, which has just been taken when the upload began.
    for expected in [Retry::Soon, Retry::Soon] {
        let Err(UploadError::Target(error)) =
            repository.upload(&descriptor(b"abc"), single_chunk(b"abc"), |_| ()).await
        else {
            panic!("taken")
        };
        assert_eq!(error.retry(), expected);
    }
    assert_eq!(registry.requests()[3].header("authorization"), Some("Basic dXNlcjpwYXNz"));
}

#[tokio::test]
async fn does_not_take_a_failing_tls_server_for_plain_http() {
    let server = Server::start(|_| Reply::new(400)).await;
    let repository = server.repository();
    for handshakes in 1..3 {
        repository.head(TagOrDigest::Tag("1")).await.unwrap_err();
        assert_eq!(server.handshakes(), handshakes);
    }
}

#[tokio::test]
async fn repositories_share_what_was_learned_about_their_host() {
    let server = Server::start(|_| Reply::new(404)).await;
    let registries = Registries::new(settings(), &[], 64).unwrap();
    let digest = Digest::sha256(b"a");
    let address = server.address.to_string();
    let repositories: Vec<_> = (0..8).map(|n| registries.repository(&address, &format!("a{n}"))).collect();
    let checks = repositories.iter().map(|repository| repository.has_blob(&digest));
    assert_eq!(futures::future::try_join_all(checks).await.unwrap(), [false; 8]);
    assert_eq!((server.handshakes(), server.requests().len()), (1, 8));
}

#[tokio::test]
async fn plain_http_true_tries_no_tls() {
    let server = Server::start(|_| Reply::new(404)).await;
    let address = server.address.to_string();
    let access = RegistryAccess { registry: address.clone(), plain_http: true, ..RegistryAccess::default() };
    let registries = Registries::new(settings(), &[access], 64).unwrap();
    let other = registries.with_settings(settings());
    for registries in [registries, other] {
        registries.repository(&address, "a").head(TagOrDigest::Tag("1")).await.unwrap();
    }
    assert_eq!((server.handshakes(), server.requests().len()), (0, 2));
}

#[tokio::test]
async fn tls_settings_exclude_plain_http() {
    let server = Server::start(|_| Reply::new(404)).await;
    let address = server.address.to_string();
    let access = RegistryAccess { registry: address.clone(), skip_verify: true, ..RegistryAccess::default() };
    let registries = Registries::new(settings(), &[access], 64).unwrap();
    let error = registries.repository(&address, "a").head(TagOrDigest::Tag("1")).await.unwrap_err();
    assert!(error.to_string().contains("plainHTTP"), "{error}");
    assert!(server.requests().is_empty() && server.handshakes() > 0);
}

#[tokio::test]
async fn gives_up_on_a_registry_that_changes_its_challenge_each_time() {
    // Another service, another realm, and both with a 403 of the same kind in between.
    let service = Server::start(|_| Reply::new(200).body(r#"{"token":"t"}"#)).await;
    let realm = service.url("/token");
    for changes in ["service", "realm", "login"] {
        let count = std::sync::atomic::AtomicU32::new(0);
        let realm = realm.clone();
        let registry = Server::start(move |_| {
            let number = count.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
            let challenge = match changes {
                "service" => format!("Bearer realm=\"{realm}\",service=\"s{number}\""),
                "realm" => format!("Bearer realm=\"{realm}?n={number}\",service=\"s\""),
                _ if number.is_multiple_of(2) => "Basic".to_owned(),
                _ => format!("Bearer realm=\"{realm}\",service=\"s\""),
            };
            Reply::new(401).header("WWW-Authenticate", challenge)
        })
        .await;
        let repository = registry.repository_with(with_login(password()));
        let result = tokio::time::timeout(Duration::from_secs(10), repository.head(TagOrDigest::Tag("1"))).await;
        let requests = registry.requests().len();
        let error = result.unwrap_or_else(|_| panic!("{changes}: {requests} requests, and no end")).unwrap_err();
        assert!(requests <= 6, "{changes}: {requests} requests: {error}");
        assert!(error.to_string().contains("401") || error.to_string().contains("challenge"), "{error}");
        assert_eq!(error.retry(), Retry::Later, "{error}");
    }
}

/// Loopback addresses that tests take for a public and a private one.
const PUBLIC: &str = "127.9.9.9:0";
const PRIVATE: &str = "127.8.8.8:0";

#[tokio::test]
async fn follows_no_redirect_from_outside_to_loopback() {
    let inside = Server::start(|_| Reply::new(200).body("abc")).await;
    let by_name = inside.url("/").replace("127.0.0.1", "localhost");
    let mapped = inside.url("/").replace("127.0.0.1", "[::ffff:127.0.0.1]");
    for outside in [PUBLIC, PRIVATE] {
        for to in [inside.url("/"), by_name.clone(), mapped.clone(), inside.url("/").replace("127.0.0.1", "0.0.0.0")] {
            let location = to.clone();
            let registry = Server::start_at(outside, move |request| match request.method.as_str() {
                "POST" => Reply::new(202).header("Location", &location),
                _ => Reply::new(307).header("Location", &location),
            })
            .await;
            let repository = registry.repository();
            let errors = [
                read_all(repository.blob(&descriptor(b"abc"))).await.unwrap_err().1,
                repository.manifest(TagOrDigest::Tag("1")).await.unwrap_err(),
                repository.head(TagOrDigest::Tag("1")).await.unwrap_err(),
                repository.has_blob(&Digest::sha256(b"abc")).await.unwrap_err(),
                match repository.upload(&descriptor(b"abc"), single_chunk(b"abc"), |_| ()).await.unwrap_err() {
                    UploadError::Target(error) | UploadError::Source(error) => error,
                },
            ];
            for error in errors {
                assert!(error.to_string().contains("loopback"), "{to}: {error}");
                assert_eq!(error.retry(), Retry::Later, "{error}");
            }
        }
    }
    assert_eq!(inside.request_lines(), Vec::<String>::new());
}

#[tokio::test]
async fn follows_redirects_to_private_hosts_in_private_redirects() {
    let inside = Server::start_at(PRIVATE, |_| Reply::new(200).body("abc")).await;
    let (location, port) = (inside.url("/"), inside.address.port());
    let registry = Server::start_at(PUBLIC, move |_| Reply::new(307).header("Location", &location)).await;
    let private_redirects = |hosts: &[&str]| Settings {
        private_redirects: hosts.iter().map(|&host| host.to_owned()).collect(),
        ..settings()
    };
    for hosts in [&[][..], &["minio.example"], &["127.8.8.8:1"]] {
        let repository = registry.repository_with(private_redirects(hosts));
        let (_, error) = read_all(repository.blob(&descriptor(b"abc"))).await.unwrap_err();
        assert!(error.to_string().contains("private address 127.8.8.8"), "{error}");
        assert!(error.to_string().contains("privateRedirects"), "{error}");
    }
    assert_eq!(inside.request_lines(), Vec::<String>::new());
    let exact = format!("127.8.8.8:{port}");
    for hosts in [&[exact.as_str()][..], &["minio.example", "127.8.8.*"]] {
        let repository = registry.repository_with(private_redirects(hosts));
        assert_eq!(read_all(repository.blob(&descriptor(b"abc"))).await.unwrap(), b"abc");
    }
    // A private registry may redirect to private hosts.
    let location = inside.url("/");
    let registry = Server::start_at(PRIVATE, move |_| Reply::new(307).header("Location", &location)).await;
    assert_eq!(read_all(registry.repository().blob(&descriptor(b"abc"))).await.unwrap(), b"abc");
}

#[tokio::test]
async fn follows_no_redirect_back_inside() {
    let inside = Server::start(|_| Reply::new(200).body("abc")).await;
    let location = inside.url("/");
    let outside = Server::start_at(PUBLIC, move |_| Reply::new(307).header("Location", &location)).await;
    let location = outside.url("/");
    let registry = Server::start(move |_| Reply::new(307).header("Location", &location)).await;
    let (_, error) = read_all(registry.repository().blob(&descriptor(b"abc"))).await.unwrap_err();
    assert!(error.to_string().contains("loopback"), "{error}");
    assert_eq!(inside.request_lines(), Vec::<String>::new());
}

#[tokio::test]
async fn end_rate_limit_waits_ends_retry_after() {
    let count = std::sync::atomic::AtomicU32::new(0);
    let server = Server::start(move |_| match count.fetch_add(1, std::sync::atomic::Ordering::SeqCst) {
        0 => Reply::new(503).header("Retry-After", 3600),
        _ => Reply::new(404),
    })
    .await;
    let registries = Registries::new(settings(), &[], 64).unwrap();
    let repository = registries.repository(&server.address.to_string(), "team/app");
    for _ in 0..3 {
        assert!(matches!(repository.head(TagOrDigest::Tag("1")).await.unwrap_err().retry(), Retry::After(_)));
    }
    assert_eq!(server.requests().len(), 1);
    registries.end_rate_limit_waits();
    assert_eq!(repository.head(TagOrDigest::Tag("1")).await.unwrap(), None);
}

#[tokio::test]
async fn end_rate_limit_waits_tries_one_pull_of_a_used_up_quota() {
    let manifest = r#"{"schemaVersion":2,"manifests":[]}"#;
    let left = Arc::new(std::sync::atomic::AtomicU32::new(0));
    let said = Arc::clone(&left);
    let server = Server::start(move |_| {
        let left = said.load(std::sync::atomic::Ordering::SeqCst);
        let reply = Reply::new(200).header("ratelimit-limit", "10;w=3600");
        reply.header("ratelimit-remaining", format!("{left};w=3600")).body(manifest)
    })
    .await;
    let registries = Registries::new(settings(), &[], 64).unwrap();
    let repository = registries.repository(&server.address.to_string(), "team/app");
    let tag = TagOrDigest::Tag("1");
    repository.manifest(tag).await.unwrap();
    repository.manifest(tag).await.unwrap_err();
    registries.end_rate_limit_waits();
    repository.manifest(tag).await.unwrap();
    repository.manifest(tag).await.unwrap_err();
    assert_eq!(server.requests().len(), 2, "one, and still none is left");
    left.store(5, std::sync::atomic::Ordering::SeqCst);
    registries.end_rate_limit_waits();
    for _ in 0..3 {
        repository.manifest(tag).await.unwrap();
    }
}

#[tokio::test]
async fn uses_no_token_service_on_loopback_named_from_outside() {
    let inside = Server::start(|_| Reply::new(200).body(r#"{"token":"t"}"#)).await;
    for realm in [inside.url("/token"), inside.url("/token").replace("127.0.0.1", "localhost")] {
        let challenge = format!("Bearer realm=\"{realm}\"");
        let registry = Server::start_at(PUBLIC, move |_| Reply::new(401).header("WWW-Authenticate", &challenge)).await;
        let error = registry.repository_with(with_login(password())).head(TagOrDigest::Tag("1")).await.unwrap_err();
        assert!(error.to_string().contains("loopback"), "{error}");
        assert_eq!(error.retry(), Retry::Later, "{error}");
    }
    assert_eq!(inside.request_lines(), Vec::<String>::new());
}

#[tokio::test]
async fn removes_unused_hosts() {
    let client = Client::new(settings(), &[], 64).unwrap();
    let kept = client.host("kept.example", "a");
    for number in 0..10_000 {
        client.host(&format!("r{number}.example"), "a");
    }
    assert!(Arc::ptr_eq(&kept, &client.host("kept.example", "a")), "it is in use");
    let hosts = client.hosts.all().len();
    assert!(hosts <= 2_000, "{hosts} are remembered");
}
