//! Of what is sent where, and to whom credentials are shown.

use super::*;
use crate::registry::testing::{Reply, Server, descriptor, once, password, read, settings, with_login};
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
        Retry::After(wait) => assert!((50..=60).contains(&wait.as_secs()), "not the ten minutes: {error}"),
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
    let to = Onward::anywhere(Url::parse("http://r.example/v2/").unwrap());
    let refused = wire(&[]).follow(Method::GET, to, headers(), Payload::Empty).await;
    assert!(matches!(refused, Err(Fault::Refused(_))));
    let server = Server::start(|_| Reply::new(200)).await;
    let to = Onward::anywhere(Url::parse(&server.url("/")).unwrap());
    wire(&[]).follow(Method::GET, to, headers(), Payload::Empty).await.unwrap();
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

#[tokio::test]
async fn a_registry_that_asks_for_something_else_each_time_is_given_up() {
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
        let asked = tokio::time::timeout(Duration::from_secs(10), repository.head(Selector::Tag("1"))).await;
        let requests = registry.asked().len();
        let error = asked.unwrap_or_else(|_| panic!("{changes}: {requests} requests, and no end")).unwrap_err();
        assert!(requests <= 6, "{changes}: {requests} requests: {error}");
        assert!(error.to_string().contains("401") || error.to_string().contains("challenge"), "{error}");
        assert_eq!(error.retry(), Retry::Later, "{error}");
    }
}

/// What tests take for an address of the Internet, and for one of a private network.
const PUBLIC: &str = "127.9.9.9:0";
const PRIVATE: &str = "127.8.8.8:0";

#[tokio::test]
async fn nobody_outside_leads_us_to_ourselves() {
    let inside = Server::start(|_| Reply::new(200).body("abc")).await;
    let by_name = inside.url("/").replace("127.0.0.1", "localhost");
    let mapped = inside.url("/").replace("127.0.0.1", "[::ffff:127.0.0.1]");
    for outside in [PUBLIC, PRIVATE] {
        for to in [inside.url("/"), by_name.clone(), mapped.clone(), inside.url("/").replace("127.0.0.1", "0.0.0.0")] {
            let location = to.clone();
            let registry = Server::start_at(outside, move |asked| match asked.method.as_str() {
                "POST" => Reply::new(202).header("Location", &location),
                _ => Reply::new(307).header("Location", &location),
            })
            .await;
            let repository = registry.repository();
            let errors = [
                read(repository.blob(&descriptor(b"abc"))).await.unwrap_err().1,
                repository.manifest(Selector::Tag("1")).await.unwrap_err(),
                repository.head(Selector::Tag("1")).await.unwrap_err(),
                repository.has_blob(&Digest::sha256(b"abc")).await.unwrap_err(),
                match repository.upload(&descriptor(b"abc"), once(b"abc"), |_| ()).await.unwrap_err() {
                    UploadError::Target(error) | UploadError::Source(error) => error,
                },
            ];
            for error in errors {
                assert!(error.to_string().contains("loopback"), "{to}: {error}");
                assert_eq!(error.retry(), Retry::Later, "{error}");
            }
        }
    }
    assert_eq!(inside.lines(), Vec::<String>::new());
}

#[tokio::test]
async fn the_user_says_which_private_hosts_may_be_named_from_outside() {
    let inside = Server::start_at(PRIVATE, |_| Reply::new(200).body("abc")).await;
    let (location, port) = (inside.url("/"), inside.address.port());
    let registry = Server::start_at(PUBLIC, move |_| Reply::new(307).header("Location", &location)).await;
    let private_redirects = |hosts: &[&str]| Settings {
        private_redirects: hosts.iter().map(|&host| host.to_owned()).collect(),
        ..settings()
    };
    for hosts in [&[][..], &["minio.example"], &["127.8.8.8:1"]] {
        let repository = registry.repository_with(private_redirects(hosts));
        let (_, error) = read(repository.blob(&descriptor(b"abc"))).await.unwrap_err();
        assert!(error.to_string().contains("private address 127.8.8.8"), "{error}");
        assert!(error.to_string().contains("privateRedirects"), "{error}");
    }
    assert_eq!(inside.lines(), Vec::<String>::new());
    let exact = format!("127.8.8.8:{port}");
    for hosts in [&[exact.as_str()][..], &["minio.example", "127.8.8.*"]] {
        let repository = registry.repository_with(private_redirects(hosts));
        assert_eq!(read(repository.blob(&descriptor(b"abc"))).await.unwrap(), b"abc");
    }
    // Whoever is inside himself needs no leave.
    let location = inside.url("/");
    let registry = Server::start_at(PRIVATE, move |_| Reply::new(307).header("Location", &location)).await;
    assert_eq!(read(registry.repository().blob(&descriptor(b"abc"))).await.unwrap(), b"abc");
}

#[tokio::test]
async fn who_was_sent_outside_is_not_sent_in_again() {
    let inside = Server::start(|_| Reply::new(200).body("abc")).await;
    let location = inside.url("/");
    let outside = Server::start_at(PUBLIC, move |_| Reply::new(307).header("Location", &location)).await;
    let location = outside.url("/");
    let registry = Server::start(move |_| Reply::new(307).header("Location", &location)).await;
    let (_, error) = read(registry.repository().blob(&descriptor(b"abc"))).await.unwrap_err();
    assert!(error.to_string().contains("loopback"), "{error}");
    assert_eq!(inside.lines(), Vec::<String>::new());
}

#[tokio::test]
async fn a_reset_ends_the_pauses_that_registries_asked_for() {
    let count = std::sync::atomic::AtomicU32::new(0);
    let server = Server::start(move |_| match count.fetch_add(1, std::sync::atomic::Ordering::SeqCst) {
        0 => Reply::new(503).header("Retry-After", 3600),
        _ => Reply::new(404),
    })
    .await;
    let registries = crate::registry::Registries::new(settings(), &[], 64).unwrap();
    let repository = registries.repository(&server.address.to_string(), "team/app");
    for _ in 0..3 {
        assert!(matches!(repository.head(Selector::Tag("1")).await.unwrap_err().retry(), Retry::After(_)));
    }
    assert_eq!(server.asked().len(), 1);
    registries.reset_pauses();
    assert_eq!(repository.head(Selector::Tag("1")).await.unwrap(), None);
}

#[tokio::test]
async fn a_reset_lets_one_pull_be_tried_where_they_are_used_up() {
    let manifest = r#"{"schemaVersion":2,"manifests":[]}"#;
    let left = Arc::new(std::sync::atomic::AtomicU32::new(0));
    let said = Arc::clone(&left);
    let server = Server::start(move |_| {
        let left = said.load(std::sync::atomic::Ordering::SeqCst);
        let reply = Reply::new(200).header("ratelimit-limit", "10;w=3600");
        reply.header("ratelimit-remaining", format!("{left};w=3600")).body(manifest)
    })
    .await;
    let registries = crate::registry::Registries::new(settings(), &[], 64).unwrap();
    let repository = registries.repository(&server.address.to_string(), "team/app");
    let tag = Selector::Tag("1");
    repository.manifest(tag).await.unwrap();
    repository.manifest(tag).await.unwrap_err();
    registries.reset_pauses();
    repository.manifest(tag).await.unwrap();
    repository.manifest(tag).await.unwrap_err();
    assert_eq!(server.asked().len(), 2, "one, and still none is left");
    left.store(5, std::sync::atomic::Ordering::SeqCst);
    registries.reset_pauses();
    for _ in 0..3 {
        repository.manifest(tag).await.unwrap();
    }
}

#[tokio::test]
async fn no_realm_leads_us_to_ourselves() {
    let inside = Server::start(|_| Reply::new(200).body(r#"{"token":"t"}"#)).await;
    for realm in [inside.url("/token"), inside.url("/token").replace("127.0.0.1", "localhost")] {
        let challenge = format!("Bearer realm=\"{realm}\"");
        let registry = Server::start_at(PUBLIC, move |_| Reply::new(401).header("WWW-Authenticate", &challenge)).await;
        let error = registry.repository_with(with_login(password())).head(Selector::Tag("1")).await.unwrap_err();
        assert!(error.to_string().contains("loopback"), "{error}");
        assert_eq!(error.retry(), Retry::Later, "{error}");
    }
    assert_eq!(inside.lines(), Vec::<String>::new());
}

#[tokio::test]
async fn hosts_that_nobody_uses_are_forgotten() {
    let wire = Arc::new(wire(&[]));
    let kept = wire.host("kept.example");
    for number in 0..10_000 {
        wire.host(&format!("r{number}.example"));
    }
    assert!(Arc::ptr_eq(&kept, &wire.host("kept.example")), "it is in use");
    let hosts = wire.hosts.all().len();
    assert!(hosts <= 2_000, "{hosts} are remembered");
}

#[tokio::test]
async fn a_name_is_not_connected_with_where_its_addresses_are_off_limits() {
    let inside = Server::start(|_| Reply::new(200)).await;
    // A name whose text tells nothing would be treated as this one is here.
    let url = Url::parse(&inside.url("/").replace("127.0.0.1", "localhost")).unwrap();
    let wire = wire(&[]);
    for limit in [Limit::Public, Limit::Private, Limit::LinkLocal] {
        let client = wire.ways.to(None).clients.to(&url, false, Some(limit)).unwrap();
        let error = client.execute(reqwest::Request::new(Method::GET, url.clone())).await.unwrap_err();
        let why = off_limits_behind(&error).expect("not for its address");
        assert_eq!(why.reach, Reach::Loopback, "{why}");
    }
    assert_eq!(inside.handshakes() + inside.asked().len(), 0);
}
