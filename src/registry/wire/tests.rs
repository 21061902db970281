//! Of what is sent where, and to whom credentials are shown.

use super::super::scripted::{Reply, Server, descriptor, once, password, read, settings, with_login};
use super::*;
use crate::{
    model::{Digest, Retry},
    registry::{Selector, UploadError},
};

fn wire(insecure: &[&str]) -> Wire {
    let insecure = insecure.iter().map(|&name| name.to_owned()).collect();
    Wire::new(Settings { insecure, ..settings() }, &[], 64).unwrap()
}

#[tokio::test]
async fn credentials_stay_behind_when_a_blob_is_elsewhere() {
    let cdn = Server::start(|_| Reply::new(200).body("abc")).await;
    let elsewhere = cdn.url("/bucket/abc?signature=s");
    let registry = Server::start(move |asked| match (asked.header("authorization"), asked.target.as_str()) {
        (None, _) => Reply::new(401).header("WWW-Authenticate", "Basic realm=r"),
        (Some(_), "/again") => Reply::new(307).header("Location", &elsewhere),
        (Some(_), _) => Reply::new(302).header("Location", "/again"),
    })
    .await;
    let repository = registry.repository_with(with_login(password()));
    assert_eq!(read(repository.blob(&descriptor(b"abc"))).await.unwrap(), b"abc");
    assert_eq!(cdn.lines(), ["GET /bucket/abc?signature=s"]);
    assert_eq!(cdn.asked()[0].header("authorization"), None);
    assert_eq!(registry.asked()[2].header("authorization"), Some("Basic dXNlcjpwYXNz"));
}

#[tokio::test]
async fn the_signature_of_a_redirect_is_in_no_error() {
    let cdn = Server::start(|_| Reply::new(403)).await;
    let elsewhere = cdn.url("/bucket/abc?signature=geheim");
    let registry = Server::start(move |_| Reply::new(307).header("Location", &elsewhere)).await;
    let (_, error) = read(registry.repository().blob(&descriptor(b"abc"))).await.unwrap_err();
    assert!(error.to_string().contains(&cdn.address.to_string()), "{error}");
    assert!(!format!("{error} {error:?}").contains("geheim"), "{error:?}");
}

#[tokio::test]
async fn a_registry_that_wants_to_be_left_alone_is() {
    let server = Server::start(|_| Reply::new(429).header("Retry-After", 600)).await;
    let repository = server.repository();
    let told = |error: crate::registry::Error| match error.retry() {
        Retry::After(wait) => assert!(wait > Duration::from_secs(590), "{error}"),
        other => panic!("{other:?}: {error}"),
    };
    told(repository.head(Selector::Tag("1")).await.unwrap_err());
    let error = repository.has_blob(&Digest::sha256(b"abc")).await.unwrap_err();
    assert!(error.to_string().contains("limits requests, and is left alone for 5"), "{error}");
    told(error);
    assert_eq!(server.asked().len(), 1);
}

#[tokio::test]
async fn pulls_that_are_used_up_are_not_asked_for() {
    let manifest = r#"{"schemaVersion":2,"manifests":[]}"#;
    let server = Server::start(move |_| {
        let reply = Reply::new(200).header("Docker-Content-Digest", Digest::sha256(manifest.as_bytes()));
        let reply = reply.header("ratelimit-limit", "100;w=21600");
        reply.header("ratelimit-remaining", "0;w=21600").body(manifest)
    })
    .await;
    let repository = server.repository();
    repository.head(Selector::Tag("1")).await.unwrap();
    repository.manifest(Selector::Tag("1")).await.unwrap();
    let error = repository.manifest(Selector::Tag("2")).await.unwrap_err();
    assert!(matches!(error.retry(), Retry::After(wait) if wait.as_secs().abs_diff(216) < 10), "{error}");
    repository.head(Selector::Tag("2")).await.unwrap();
    let methods: Vec<_> = server.asked().into_iter().map(|asked| asked.method).collect();
    assert_eq!(methods, ["HEAD", "GET", "HEAD"]);
}

#[tokio::test]
async fn redirects_in_a_ring_end() {
    let server = Server::start(|asked| Reply::new(307).header("Location", &asked.target)).await;
    let error = server.repository().manifest(Selector::Tag("1")).await.unwrap_err();
    assert!(error.to_string().contains("redirects"), "{error}");
    assert_eq!((error.retry(), server.asked().len()), (Retry::Later, MOST_REDIRECTS + 1));
}

#[tokio::test]
async fn credentials_stay_behind_when_an_upload_goes_elsewhere() {
    let store = Server::start(|_| Reply::new(201)).await;
    let elsewhere = store.url("/up");
    let registry = Server::start(move |asked| match asked.header("authorization") {
        None => Reply::new(401).header("WWW-Authenticate", "Basic"),
        Some(_) => Reply::new(202).header("Location", &elsewhere),
    })
    .await;
    let repository = registry.repository_with(with_login(password()));
    repository.upload(&descriptor(b"abc"), once(b"abc"), |_| ()).await.unwrap();
    assert_eq!(store.asked()[0].header("authorization"), None);
    assert_eq!(store.asked()[0].body, b"abc");
}

#[tokio::test]
async fn a_blob_that_met_a_401_can_be_sent_again() {
    let registry = Server::start(move |asked| match asked.method.as_str() {
        "POST" => Reply::new(202).header("Location", "/up"),
        _ => Reply::new(401).header("WWW-Authenticate", "Basic"),
    })
    .await;
    let repository = registry.repository_with(with_login(password()));
    // The second time with the login, which has just been taken when the upload began.
    for expected in [Retry::Soon, Retry::Soon] {
        let Err(UploadError::Target(error)) = repository.upload(&descriptor(b"abc"), once(b"abc"), |_| ()).await else {
            panic!("taken")
        };
        assert_eq!(error.retry(), expected);
    }
    assert_eq!(registry.asked()[3].header("authorization"), Some("Basic dXNlcjpwYXNz"));
}

#[tokio::test]
async fn a_tls_server_in_trouble_is_not_taken_for_a_plain_one() {
    let server = Server::start(|_| Reply::new(400)).await;
    let repository = server.repository();
    for handshakes in 1..3 {
        repository.head(Selector::Tag("1")).await.unwrap_err();
        assert_eq!(server.handshakes(), handshakes);
    }
}

#[tokio::test]
async fn nothing_secret_goes_in_the_clear() {
    let headers = || HeaderMap::from_iter([(AUTHORIZATION, HeaderValue::from_static("Basic x"))]);
    let url = Url::parse("http://r.example/v2/").unwrap();
    let refused = wire(&[]).follow(Method::GET, url, headers(), Payload::Empty).await;
    assert!(matches!(refused, Err(Fault::Refused(_))));
    let server = Server::start(|_| Reply::new(200)).await;
    let url = Url::parse(&server.url("/")).unwrap();
    wire(&[]).follow(Method::GET, url, headers(), Payload::Empty).await.unwrap();
}

#[tokio::test]
async fn one_host_is_one_host_for_all_its_repositories() {
    let server = Server::start(|_| Reply::new(404)).await;
    let registries = crate::registry::Registries::new(settings(), &[], 64).unwrap();
    let digest = Digest::sha256(b"a");
    let address = server.address.to_string();
    let repositories: Vec<_> = (0..8).map(|n| registries.repository(&address, &format!("a{n}"))).collect();
    let asked = repositories.iter().map(|repository| repository.has_blob(&digest));
    assert_eq!(futures::future::try_join_all(asked).await.unwrap(), [false; 8]);
    assert_eq!((server.handshakes(), server.asked().len()), (1, 8));
}

#[tokio::test]
async fn where_plain_http_is_set_no_tls_is_tried() {
    let server = Server::start(|_| Reply::new(404)).await;
    let address = server.address.to_string();
    let access = RegistryAccess { registry: address.clone(), plain_http: true, ..RegistryAccess::default() };
    let registries = crate::registry::Registries::new(settings(), &[access], 64).unwrap();
    let beside = registries.beside(settings());
    for registries in [registries, beside] {
        registries.repository(&address, "a").head(Selector::Tag("1")).await.unwrap();
    }
    assert_eq!((server.handshakes(), server.asked().len()), (0, 2));
}

#[tokio::test]
async fn where_tls_is_set_nothing_else_is_tried() {
    let server = Server::start(|_| Reply::new(404)).await;
    let address = server.address.to_string();
    let access = RegistryAccess { registry: address.clone(), skip_verify: true, ..RegistryAccess::default() };
    let registries = crate::registry::Registries::new(settings(), &[access], 64).unwrap();
    let error = registries.repository(&address, "a").head(Selector::Tag("1")).await.unwrap_err();
    assert!(error.to_string().contains("plainHTTP"), "{error}");
    assert!(server.asked().is_empty() && server.handshakes() > 0);
}
