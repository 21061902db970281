use super::*;
use crate::{
    model::Retry,
    registry::{
        Backoff, Registries, Settings, TagOrDigest,
        testing::{RecordedRequest, Reply, Server, password, settings, with_login},
    },
};

const TAG: TagOrDigest<'static> = TagOrDigest::Tag("1");

fn authorizations(server: &Server) -> Vec<Option<String>> {
    server.requests().iter().map(|request| request.header("authorization").map(str::to_owned)).collect()
}

fn accepting(
    header: &'static str,
    challenge: Option<&'static str>,
) -> impl Fn(&RecordedRequest) -> Reply + Send + Sync {
    move |request| match (request.header("authorization") == Some(header), challenge) {
        (true, _) => Reply::new(404),
        (false, Some(challenge)) => Reply::new(401).header("WWW-Authenticate", challenge),
        (false, None) => Reply::new(401),
    }
}

#[tokio::test]
async fn sends_a_login_after_the_first_challenge_and_then_at_once() {
    let basic = "Basic dXNlcjpwYXNz";
    for challenge in [Some("Basic realm=\"r\""), None] {
        let server = Server::start(accepting(basic, challenge)).await;
        let repository = server.repository_with(with_login(password()));
        repository.head(TAG).await.unwrap();
        repository.head(TAG).await.unwrap();
        assert_eq!(authorizations(&server), [None, Some(basic.to_owned()), Some(basic.to_owned())], "{challenge:?}");
    }
}

#[tokio::test]
async fn sends_a_static_token_unchanged() {
    let server = Server::start(accepting("Bearer abc", Some("Bearer realm=\"https://nowhere.invalid\""))).await;
    let repository = server.repository_with(with_login(Login::Token(" abc\n".to_owned().into())));
    repository.head(TAG).await.unwrap();
    assert_eq!(authorizations(&server), [None, Some("Bearer abc".to_owned())]);
}

#[tokio::test]
async fn sends_a_rejected_login_once_and_reports_it() {
    let server = Server::start(accepting("another", Some("Basic"))).await;
    let error = server.repository_with(with_login(password())).manifest(TAG).await.unwrap_err();
    assert!(error.to_string().contains("not accepted"), "{error}");
    assert!(!format!("{error} {error:?}").contains("dXNlcjpwYXNz"));
    assert_eq!((error.retry(), server.requests().len()), (Retry::Later, 2));
}

/// Challenges for `bad` name another service each time; everything else wants the login.
fn changing_challenges(login: &'static str) -> impl Fn(&RecordedRequest) -> Reply + Send + Sync {
    let count = std::sync::atomic::AtomicUsize::new(0);
    move |request| {
        let number = count.fetch_add(1, Ordering::Relaxed);
        let host = request.header("host").unwrap_or_default();
        if request.target.starts_with("/token") {
            Reply::new(200).body(r#"{"token":"t"}"#)
        } else if request.target.contains("/bad/") {
            let challenge = format!("Bearer realm=\"http://{host}/token\",service=\"{number}\"");
            Reply::new(401).header("WWW-Authenticate", challenge)
        } else if request.header("authorization") == Some(login) {
            Reply::new(404)
        } else {
            Reply::new(401).header("WWW-Authenticate", "Basic realm=\"r\"")
        }
    }
}

#[tokio::test]
async fn challenges_to_one_repository_do_not_disturb_the_others() {
    let basic = "Basic dXNlcjpwYXNz";
    let server = Server::start(changing_challenges(basic)).await;
    let registries = Registries::new(with_login(password()), &[], 8).unwrap();
    let [good, bad] = ["good/app", "bad/app"].map(|path| registries.repository(&server.address.to_string(), path));
    good.head(TAG).await.unwrap();
    for _ in 0..3 {
        bad.head(TAG).await.unwrap_err();
        let before = server.requests().len();
        good.head(TAG).await.unwrap();
        assert_eq!(authorizations(&server)[before..], [Some(basic.to_owned())]);
    }
}

#[tokio::test]
async fn without_a_login_sends_no_credentials() {
    let server = Server::start(accepting("another", Some("Basic"))).await;
    let error = server.repository().manifest(TAG).await.unwrap_err();
    assert!(error.to_string().contains("no credentials are configured"), "{error}");
    assert_eq!(authorizations(&server), [None]);
}

#[tokio::test]
async fn rejects_a_token_service_without_tls_unless_listed() {
    let server = Server::start(accepting("another", Some("Bearer realm=\"http://auth.invalid/token\""))).await;
    let error = server.repository_with(with_login(password())).head(TAG).await.unwrap_err();
    assert!(error.to_string().contains("without TLS"), "{error}");
    assert_eq!(error.retry(), Retry::Later);
    let listed = Settings {
        insecure: vec!["auth.invalid".to_owned()],
        backoff: Backoff { attempts: 1, ..settings().backoff },
        ..settings()
    };
    let error = server.repository_with(listed).head(TAG).await.unwrap_err();
    assert!(error.to_string().contains("no token from the token service http://auth.invalid/token"), "{error}");
}
