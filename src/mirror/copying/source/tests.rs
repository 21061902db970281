use std::sync::atomic::{AtomicUsize, Ordering};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use futures::{FutureExt as _, future::BoxFuture};

use super::*;
use crate::{
    model::{Login, PullLogins, Retry},
    registry::testing::{RecordedRequest, Reply, Server, settings},
};

const TAG: TagOrDigest<'static> = TagOrDigest::Tag("1");

/// The pull secrets of each namespace, and how often they were read.
#[derive(Default)]
struct Secrets {
    namespaces: Vec<(&'static str, PullLogins)>,
    reads: AtomicUsize,
}

impl Secrets {
    /// Each namespace with its users.
    fn of(namespaces: &[(&'static str, &[&str])]) -> Self {
        let login = |namespace: &str, user: &str| PullLogin {
            namespace: namespace.to_owned(),
            secret: format!("of-{user}"),
            login: Login::Password { username: user.to_owned(), password: "geheim".to_owned().into() },
        };
        let logins = |namespace: &str, users: &[&str]| PullLogins {
            logins: users.iter().map(|user| login(namespace, user)).collect(),
            ..PullLogins::default()
        };
        let namespaces = namespaces.iter().map(|(namespace, users)| (*namespace, logins(namespace, users)));
        Self { namespaces: namespaces.collect(), reads: AtomicUsize::new(0) }
    }

    fn refs(&self) -> Vec<Arc<PullSecretRefs>> {
        let refs = |namespace: &str| PullSecretRefs {
            namespace: namespace.to_owned(),
            service_account: None,
            secrets: vec!["any".to_owned()],
        };
        self.namespaces.iter().map(|(namespace, _)| Arc::new(refs(namespace))).collect()
    }
}

impl PullSecrets for Secrets {
    fn logins<'a>(&'a self, refs: &'a PullSecretRefs, _: &'a Reference) -> BoxFuture<'a, PullLogins> {
        self.reads.fetch_add(1, Ordering::SeqCst);
        let found = self.namespaces.iter().find(|(namespace, _)| *namespace == refs.namespace);
        let found = found.map(|(_, logins)| logins.clone()).unwrap_or_default();
        async move { found }.boxed()
    }
}

/// A registry that answers each user with a status; others get 401.
async fn registry(users: &'static [(&'static str, u16)]) -> Server {
    Server::start(|request| {
        let login = request.header("authorization").and_then(|header| header.strip_prefix("Basic "));
        let login = login.map(|login| String::from_utf8(STANDARD.decode(login).unwrap()).unwrap());
        let user = login.as_deref().and_then(|login| login.split(':').next()).unwrap_or_default();
        match users.iter().find(|(known, _)| *known == user) {
            Some((_, 200)) => Reply::new(200).body(r#"{"schemaVersion":2,"manifests":[]}"#),
            Some((_, status)) => Reply::new(*status),
            None => Reply::new(401).header("WWW-Authenticate", "Basic"),
        }
    })
    .await
}

/// The users of the requests to the registry, without those before its first challenge.
fn users(server: &Server) -> Vec<String> {
    let login = |header: &str| String::from_utf8(STANDARD.decode(header.strip_prefix("Basic ")?).unwrap()).ok();
    let requests = server.requests();
    let logins = requests.iter().filter_map(|request| login(request.header("authorization")?));
    logins.map(|login| login.split(':').next().unwrap().to_owned()).collect()
}

fn source(server: &Server, secrets: &Arc<Secrets>) -> Source {
    let registries = Registries::new(settings(), &[], 8).unwrap();
    let sources = Sources { registries, pull_secrets: Some(Arc::<Secrets>::clone(secrets)) };
    let image: Reference = format!("{}/team/app:1", server.address).parse().unwrap();
    sources.source(&image, &secrets.refs())
}

#[tokio::test]
async fn logins_are_tried_in_turn_and_the_first_that_opens_the_image_is_kept() {
    let server = registry(&[("forbidden", 403), ("elsewhere", 404), ("right", 200), ("late", 200)]).await;
    let secrets =
        Arc::new(Secrets::of(&[("a", &["wrong", "forbidden"]), ("b", &["elsewhere", "right"]), ("c", &["late"])]));
    let source = source(&server, &secrets);
    assert_eq!(secrets.reads.load(Ordering::SeqCst), 0, "nothing is read before the source is needed");
    assert!(source.head(TAG).await.unwrap().is_some());
    assert_eq!(secrets.reads.load(Ordering::SeqCst), 2, "no more is read than is needed");
    let mut tried = users(&server);
    tried.dedup();
    assert_eq!(tried, ["wrong", "forbidden", "elsewhere", "right"]);
    let before = users(&server).len();
    source.manifest(TAG).await.unwrap();
    assert!(source.is_up().await);
    assert_eq!(users(&server)[before..], ["right", "right"]);
}

#[tokio::test]
async fn the_configured_access_is_the_last() {
    let server = registry(&[("", 200)]).await;
    let secrets = Arc::new(Secrets::of(&[("a", &["wrong"])]));
    let source = source(&server, &secrets);
    // A public image needs no login: the registry never asks for one.
    source.manifest(TAG).await.unwrap();
    assert_eq!(users(&server), [""; 0]);

    let server = Server::start(|request| match request.header("authorization") {
        Some(_) => Reply::new(403),
        None if request.target == "/v2/" => Reply::new(401).header("WWW-Authenticate", "Basic"),
        None => Reply::new(404),
    })
    .await;
    let error = self::source(&server, &secrets).manifest(TAG).await.unwrap_err();
    assert!(error.to_string().contains("anonymous: not found"), "{error}");
}

#[tokio::test]
async fn a_registry_that_fails_is_not_asked_with_the_next_login() {
    for status in [500, 503] {
        let server = Server::start(move |request| match request.header("authorization") {
            Some(_) => Reply::new(status),
            None => Reply::new(401).header("WWW-Authenticate", "Basic"),
        })
        .await;
        let secrets = Arc::new(Secrets::of(&[("a", &["first", "second"])]));
        let error = source(&server, &secrets).head(TAG).await.unwrap_err();
        assert!(error.to_string().contains("with pull secret a/of-first"), "{error}");
        assert_ne!(error.retry(), Retry::Later, "{error}");
        assert!(!users(&server).contains(&"second".to_owned()), "{status}");
    }
}

#[tokio::test]
async fn a_login_with_a_used_up_quota_or_a_malformed_one_does_not_end_the_search() {
    let server = registry(&[("malformed", 400), ("limited", 429), ("right", 200)]).await;
    let secrets = Arc::new(Secrets::of(&[("a", &["malformed", "limited"]), ("b", &["right"])]));
    assert!(source(&server, &secrets).head(TAG).await.unwrap().is_some());

    let server = registry(&[("1", 429), ("2", 429), ("3", 429), ("4", 429), ("5", 200)]).await;
    let secrets = Arc::new(Secrets::of(&[("a", &["1", "2", "3", "4", "5"])]));
    let error = source(&server, &secrets).head(TAG).await.unwrap_err();
    assert_ne!(error.retry(), Retry::Later, "{error}");
    assert!(!users(&server).contains(&"5".to_owned()), "a registry that limits everybody is left alone");
}

#[tokio::test]
async fn a_login_that_a_token_service_rejected_is_not_sent_for_other_images() {
    let server = Server::start(|request| {
        let host = request.header("host").unwrap_or_default();
        match (request.target.starts_with("/token"), request.header("authorization")) {
            (true, Some(_)) => Reply::new(401),
            (true, None) => Reply::new(200).body(r#"{"token":"anonymous"}"#),
            (false, Some(_)) => Reply::new(200).body(r#"{"schemaVersion":2,"manifests":[]}"#),
            (false, None) => Reply::new(401)
                .header("WWW-Authenticate", format!("Bearer realm=\"http://{host}/token\",service=\"s\"")),
        }
    })
    .await;
    let secrets = Arc::new(Secrets::of(&[("a", &["wrong"])]));
    let registries = Registries::new(settings(), &[], 8).unwrap();
    let sources = Sources { registries, pull_secrets: Some(Arc::<Secrets>::clone(&secrets)) };
    for name in ["one", "two", "three"] {
        let image: Reference = format!("{}/team/{name}:1", server.address).parse().unwrap();
        assert!(sources.source(&image, &secrets.refs()).head(TAG).await.unwrap().is_some());
    }
    let requests = server.requests();
    let is_rejected =
        |request: &&RecordedRequest| request.target.starts_with("/token") && request.header("authorization").is_some();
    assert_eq!(requests.iter().filter(is_rejected).count(), 1);
}

#[tokio::test]
async fn an_error_names_what_was_tried_and_what_could_not_be() {
    let server = registry(&[("elsewhere", 404), ("forbidden", 403)]).await;
    let mut secrets = Secrets::of(&[("a", &["wrong", "elsewhere"]), ("b", &["forbidden", "forbidden"])]);
    secrets.namespaces[1].1.problems.push("secret b/lost does not exist".to_owned());
    let secrets = Arc::new(secrets);
    let source = source(&server, &secrets);
    let error = source.head(TAG).await.unwrap_err();
    let text = error.to_string();
    let tried = "tried pull secret a/of-wrong: denied, pull secret a/of-elsewhere: not found, pull secret b/of-forbidden: \
                 denied, anonymous: denied; secret b/lost does not exist";
    assert!(text.ends_with(tried), "{text}");
    assert!(!text.contains("geheim") && !format!("{error:?}").contains("geheim"));
    assert_eq!(error.retry(), Retry::Later);

    let wrong = |users: Vec<String>| users.iter().filter(|user| *user == "wrong").count();
    let before = wrong(users(&server));
    let error = source.manifest(TAG).await.unwrap_err();
    assert!(error.is_not_found(), "an account that may read the repository knows best: {error}");
    assert_eq!(wrong(users(&server)), before, "a rejected login is not sent again");
}

#[tokio::test]
async fn what_is_found_nowhere_is_missing_and_told_with_what_was_tried() {
    let server = registry(&[("", 404), ("anna", 404)]).await;
    let secrets = Arc::new(Secrets::of(&[("a", &["anna"])]));
    let source = source(&server, &secrets);
    assert!(source.tried().await.is_none());
    assert_eq!(source.head(TAG).await.unwrap(), None);
    let (tried, is_incomplete) = source.tried().await.unwrap();
    assert_eq!(
        (tried.as_str(), is_incomplete),
        ("tried pull secret a/of-anna: not found, anonymous: not found", false)
    );
}

#[tokio::test]
async fn after_an_outage_of_the_api_server_the_image_is_tried_again_soon() {
    let server = registry(&[]).await;
    let unread = PullLogins {
        problems: vec!["secret a/s can't be read: the API server did not answer within 10 s".to_owned()],
        is_incomplete: true,
        ..PullLogins::default()
    };
    let secrets = Arc::new(Secrets { namespaces: vec![("a", unread)], reads: AtomicUsize::new(0) });
    let error = source(&server, &secrets).head(TAG).await.unwrap_err();
    assert_eq!(error.retry(), Retry::Soon, "{error}");
    assert!(error.to_string().ends_with("did not answer within 10 s"), "{error}");
}

#[tokio::test]
async fn concurrent_questions_try_each_login_once() {
    let server = registry(&[("right", 200)]).await;
    let secrets = Arc::new(Secrets::of(&[("a", &["wrong", "right"])]));
    let source = source(&server, &secrets);
    let heads = futures::future::join_all((0..8).map(|_| source.head(TAG))).await;
    assert!(heads.into_iter().all(|head| head.unwrap().is_some()));
    assert_eq!(secrets.reads.load(Ordering::SeqCst), 1);
    assert_eq!(users(&server).iter().filter(|user| *user == "wrong").count(), 1);
}

#[tokio::test]
async fn the_number_of_logins_is_bounded() {
    let server = registry(&[]).await;
    let names: Vec<String> = (0..MAX_LOGINS + 10).map(|number| format!("user{number}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let secrets = Arc::new(Secrets::of(&[("a", &names)]));
    source(&server, &secrets).head(TAG).await.unwrap_err();
    assert_eq!(users(&server).len(), MAX_LOGINS);
}
