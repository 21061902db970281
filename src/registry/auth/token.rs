//! Tokens from a token service, as of the distribution project's "Token Authentication Specification".

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant, SystemTime},
};

use futures::{
    FutureExt,
    future::{BoxFuture, Shared},
};
use http::{
    HeaderMap, HeaderValue, Method, StatusCode,
    header::{AUTHORIZATION, CONTENT_TYPE},
};
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use url::form_urlencoded;

use crate::model::Retry;
use crate::registry::{
    auth::sensitive,
    client::{Onward, Payload, Wire},
    error::Fault,
    http::retry::retry_after,
    limits::pace::Pace,
};

/// How many seconds a token lives where the service does not say.
const DEFAULT_LIFE: u64 = 60;

/// What is believed of a longer life, a day: clocks can't hold any number.
const LONGEST_LIFE: u64 = 24 * 60 * 60;

/// No answer of a token service is longer.
const LONGEST_ANSWER: usize = 1024 * 1024;

/// So many tokens are kept before the ended ones are looked for, and of the others the half that ends first.
const MANY: usize = 1024;

/// A token for some scopes.
#[derive(Debug)]
pub(in crate::registry) struct Token {
    /// The value of `Authorization`.
    pub header: HeaderValue,
    /// When it was asked for.
    pub begun: Instant,
    ends: Instant,
}

/// What a token service is shown.
#[derive(Clone)]
pub(in crate::registry) enum TokenLogin {
    /// The value of `Authorization`.
    Basic(HeaderValue),
    /// An identity token, exchanged as of the distribution project's "Oauth2 Token Authentication": registries as
    /// Azure's give such to `docker login`, which keeps them as the password of a user `<token>`.
    Identity(SecretString),
}

type Fetch = Shared<BoxFuture<'static, Result<Arc<Token>, Arc<Fault>>>>;

/// A token service as one registry uses it, and the tokens it gave.
pub(in crate::registry) struct TokenService {
    realm: Onward,
    service: Option<String>,
    tokens: Mutex<HashMap<String, Fetch>>,
    pace: Arc<Pace>,
}

impl TokenService {
    /// Nothing is asked yet.
    pub(in crate::registry) fn new(realm: Onward, service: Option<String>) -> Self {
        Self { realm, service, tokens: Mutex::default(), pace: Arc::new(Pace::free()) }
    }

    /// Whether a challenge names this one.
    pub(in crate::registry) fn is(&self, realm: &Onward, service: Option<&str>) -> bool {
        self.realm == *realm && self.service.as_deref() == service
    }

    /// A token that is good for `scopes`: one that is there, or one that is being fetched, or a new one.
    pub(in crate::registry) async fn token(
        &self,
        wire: &Arc<Wire>,
        login: Option<TokenLogin>,
        scopes: &[String],
    ) -> Result<Arc<Token>, Fault> {
        let fetch = {
            let mut tokens = self.tokens.lock().unwrap_or_else(PoisonError::into_inner);
            let key = scopes.join(" ");
            match tokens.get(&key).filter(|fetch| is_good(fetch)) {
                Some(fetch) => fetch.clone(),
                None => {
                    if tokens.len() >= MANY {
                        forget_some(&mut tokens);
                    }
                    let request = self.request(login, scopes);
                    let fetch = detached(fetch(Arc::clone(wire), Arc::clone(&self.pace), request)).boxed().shared();
                    tokens.insert(key, fetch.clone());
                    fetch
                }
            }
        };
        fetch.await.map_err(|fault| {
            let realm = &self.realm.url;
            Fault::Token { service: format!("{}{}", realm.origin().ascii_serialization(), realm.path()), fault }
        })
    }

    /// Ends a pause that it has asked for.
    pub(in crate::registry) fn reset_pauses(&self) {
        self.pace.resume();
    }

    /// Drops a token that was not accepted.
    pub(in crate::registry) fn forget(&self, refused: &Arc<Token>) {
        let mut tokens = self.tokens.lock().unwrap_or_else(PoisonError::into_inner);
        tokens.retain(|_, fetch| !matches!(fetch.peek(), Some(Ok(token)) if Arc::ptr_eq(token, refused)));
    }

    fn request(&self, login: Option<TokenLogin>, scopes: &[String]) -> TokenRequest {
        let service = self.service.as_deref().map(|service| ("service", service));
        let login = match login {
            Some(TokenLogin::Identity(token)) => {
                let scopes = scopes.join(" ");
                let form = [
                    ("grant_type", "refresh_token"),
                    ("client_id", env!("CARGO_PKG_NAME")),
                    ("refresh_token", token.expose_secret()),
                    ("scope", &scopes),
                ];
                let form =
                    form_urlencoded::Serializer::new(String::new()).extend_pairs(form).extend_pairs(service).finish();
                return TokenRequest { to: self.realm.clone(), login: None, form: Some(form.into()) };
            }
            Some(TokenLogin::Basic(header)) => Some(header),
            None => None,
        };
        let mut to = self.realm.clone();
        to.url.query_pairs_mut().extend_pairs(service).extend_pairs(scopes.iter().map(|scope| ("scope", scope)));
        TokenRequest { to, login, form: None }
    }
}

struct TokenRequest {
    to: Onward,
    login: Option<HeaderValue>,
    /// What is posted; none where it is a GET.
    form: Option<SecretString>,
}

/// Under way, or come and not ended. A failed one is for those who waited for it; the next comer tries anew.
fn is_good(fetch: &Fetch) -> bool {
    match fetch.peek() {
        None => true,
        Some(Ok(token)) => Instant::now() < token.ends,
        Some(Err(_)) => false,
    }
}

/// What has ended, and what ends first of the rest. What is being fetched stays.
fn forget_some(tokens: &mut HashMap<String, Fetch>) {
    tokens.retain(|_, fetch| is_good(fetch));
    if tokens.len() < MANY {
        return;
    }
    let end = |fetch: &Fetch| fetch.peek().and_then(|fetched| fetched.as_ref().ok()).map(|token| token.ends);
    let mut ends: Vec<Instant> = tokens.values().filter_map(end).collect();
    let Some(last) = ends.len().div_ceil(2).checked_sub(1) else { return };
    let (_, &mut last, _) = ends.select_nth_unstable(last);
    tokens.retain(|_, fetch| end(fetch).is_none_or(|end| end > last));
}

/// Goes on whoever of those who wait for it goes away, so that the next one does not find a request that has stood still.
async fn detached(
    fetch: impl Future<Output = Result<Arc<Token>, Arc<Fault>>> + Send + 'static,
) -> Result<Arc<Token>, Arc<Fault>> {
    let broke = |broken: tokio::task::JoinError| Arc::new(Fault::Malformed(format!("asking broke off: {broken}")));
    tokio::spawn(fetch).await.map_err(broke)?
}

#[derive(Deserialize)]
struct TokenAnswer {
    token: Option<String>,
    access_token: Option<String>,
    expires_in: Option<u64>,
}

async fn fetch(wire: Arc<Wire>, pace: Arc<Pace>, request: TokenRequest) -> Result<Arc<Token>, Arc<Fault>> {
    let TokenRequest { to, login, form } = request;
    let host = to.url.authority().to_owned();
    let turn = pace.turn().await.map_err(|wait| Fault::Throttled { host, wait })?;
    let begun = Instant::now();
    let with_login = login.is_some() || form.is_some();
    let mut answer = match form {
        None => {
            let headers = login.into_iter().map(|login| (AUTHORIZATION, login)).collect();
            wire.follow(Method::GET, to, headers, Payload::Empty).await?
        }
        Some(form) => {
            let form_type = HeaderValue::from_static("application/x-www-form-urlencoded");
            let headers = HeaderMap::from_iter([(CONTENT_TYPE, form_type)]);
            let form = Payload::Bytes(form.expose_secret().to_owned().into());
            wire.follow(Method::POST, to, headers, form).await?
        }
    };
    if matches!(answer.status(), StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE) {
        turn.too_fast(Instant::now(), retry_after(answer.headers(), SystemTime::now()));
    } else {
        turn.went_well();
    }
    if !answer.status().is_success() {
        let refused = answer.status() == StatusCode::UNAUTHORIZED;
        let fault = answer.refusal(with_login).await;
        // Nobody is to be asked twice with a wrong password: accounts get locked.
        return Err(Arc::new(if refused { fault.with_retry(Retry::Later) } else { fault }));
    }
    let body = answer.all(LONGEST_ANSWER).await?;
    let read: TokenAnswer = serde_json::from_slice(&body).map_err(|error| {
        Fault::Malformed(format!("its answer is no JSON with a token, but wrong at {}", place(&error)))
    })?;
    let found = read.token.into_iter().chain(read.access_token).find(|token| !token.is_empty());
    let token = found.ok_or_else(|| Fault::Malformed("its answer has no token in it".to_owned()))?;
    let life = read.expires_in.filter(|&life| life > 0).unwrap_or(DEFAULT_LIFE);
    let life = Duration::from_secs(life.min(LONGEST_LIFE));
    // Renewed before it ends on the way: a tenth earlier, at most half a minute.
    let kept = life.saturating_sub((life / 10).min(Duration::from_secs(30)));
    Ok(Arc::new(Token { header: sensitive(&format!("Bearer {token}"))?, begun, ends: begun + kept }))
}

/// Without the text around it, which may be a token.
fn place(error: &serde_json::Error) -> String {
    format!("line {}, column {}", error.line(), error.column())
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;
    use crate::model::{Digest, Login};
    use crate::registry::{
        Registries, Repository, Selector,
        http::addresses::Limit,
        testing::{Asked, Reply, Server, password, settings, with_login},
    };

    const TAG: Selector<'static> = Selector::Tag("1");

    /// A registry that takes the tokens that `good` likes, and has nothing.
    async fn registry(service: &Server, good: impl Fn(&str) -> bool + Send + Sync + 'static) -> Server {
        let challenge = format!("Bearer realm=\"{}\",service=\"r\"", service.url("/token?tenant=1"));
        Server::start(move |asked| match asked.header("authorization") {
            Some(header) if good(header) => Reply::new(404),
            _ => Reply::new(401).header("WWW-Authenticate", &challenge),
        })
        .await
    }

    /// Gives t1, t2, and so on.
    fn counting(rest: &'static str) -> impl Fn(&Asked) -> Reply + Send + Sync {
        let count = AtomicU32::new(0);
        move |_| {
            let number = count.fetch_add(1, Ordering::SeqCst) + 1;
            Reply::new(200).body(format!("{{\"token\":\"t{number}\"{rest}}}"))
        }
    }

    #[tokio::test]
    async fn an_identity_token_is_posted() {
        let service = Server::start(|asked| match String::from_utf8_lossy(&asked.body) {
            form if form.contains("refresh_token=a%26b") => Reply::new(200).body(r#"{"access_token":"t"}"#),
            _ => Reply::new(401).body(r#"{"errors":[{"code":"UNAUTHORIZED","message":"no"}]}"#),
        })
        .await;
        let registry = registry(&service, |header| header == "Bearer t").await;
        let login =
            |password: &str| Login::Password { username: "<token>".to_owned(), password: password.to_owned().into() };
        registry.repository_with(with_login(login("a&b"))).head(TAG).await.unwrap();
        let asked = &service.asked()[0];
        assert_eq!((asked.method.as_str(), asked.target.as_str()), ("POST", "/token?tenant=1"));
        assert_eq!(asked.header("content-type"), Some("application/x-www-form-urlencoded"));
        assert_eq!(asked.header("authorization"), None);
        let form = "grant_type=refresh_token&client_id=k8s-copycat&refresh_token=a%26b\
                    &scope=repository%3Ateam%2Fapp%3Apull&service=r";
        assert_eq!(asked.body, form.as_bytes());
        let error = registry.repository_with(with_login(login("geheim"))).head(TAG).await.unwrap_err();
        assert!(error.to_string().contains("not accepted") && !format!("{error:?}").contains("geheim"), "{error}");
    }

    #[tokio::test]
    async fn a_token_is_fetched_once_for_all_who_wait() {
        let service =
            Server::start(|_| Reply::new(200).body(r#"{"token":"t"}"#).after(Duration::from_millis(50))).await;
        let registry = registry(&service, |header| header == "Bearer t").await;
        let repository = registry.repository();
        let heads = (0..8).map(|_| repository.head(TAG));
        assert_eq!(futures::future::try_join_all(heads).await.unwrap(), vec![None; 8]);
        assert_eq!(service.lines(), ["GET /token?tenant=1&service=r&scope=repository%3Ateam%2Fapp%3Apull"]);
        assert_eq!(service.asked()[0].header("authorization"), None);
        repository.head(TAG).await.unwrap();
        assert_eq!(registry.asked().last().unwrap().header("authorization"), Some("Bearer t"));
        assert_eq!(service.asked().len(), 1);
    }

    #[tokio::test]
    async fn rights_are_asked_for_as_they_are_needed_and_the_login_goes_to_the_service_alone() {
        let service = Server::start(|_| Reply::new(200).body(r#"{"token":"","access_token":"t"}"#)).await;
        let registry = registry(&service, |header| header == "Bearer t").await;
        let repository = registry.repository_with(with_login(password()));
        assert!(!repository.mount(&Digest::sha256(b"a"), "base").await.unwrap());
        let push = "repository%3Ateam%2Fapp%3Apull%2Cpush";
        assert_eq!(
            service.lines(),
            [format!("GET /token?tenant=1&service=r&scope={push}&scope=repository%3Abase%3Apull")]
        );
        assert_eq!(service.asked()[0].header("authorization"), Some("Basic dXNlcjpwYXNz"));
        assert!(registry.asked().iter().all(|asked| asked.header("authorization") != Some("Basic dXNlcjpwYXNz")));
    }

    #[tokio::test]
    async fn a_token_that_the_registry_no_longer_takes_is_renewed_and_a_new_one_once_more() {
        let service = Server::start(counting("")).await;
        let refused = Arc::new(Mutex::new(Vec::<String>::new()));
        let out = Arc::clone(&refused);
        let registry = registry(&service, move |header| !out.lock().unwrap().iter().any(|old| old == header)).await;
        let repository = registry.repository();
        repository.head(TAG).await.unwrap();
        assert_eq!(service.asked().len(), 1);
        refused.lock().unwrap().push("Bearer t1".to_owned());
        repository.head(TAG).await.unwrap();
        assert_eq!(service.asked().len(), 2);
        refused.lock().unwrap().extend(["t2", "t3", "t4"].map(|token| format!("Bearer {token}")));
        let error = repository.head(TAG).await.unwrap_err();
        assert_eq!((error.retry(), service.asked().len()), (Retry::Later, 4));
    }

    #[tokio::test]
    async fn a_refusal_without_a_challenge_does_not_bring_the_login_to_the_registry() {
        let service = Server::start(counting("")).await;
        let challenge = format!("Bearer realm=\"{}\"", service.url("/token"));
        let registry = Server::start(move |asked| match asked.header("authorization") {
            Some("Bearer t2") => Reply::new(404),
            None => Reply::new(401).header("WWW-Authenticate", &challenge),
            Some(_) => Reply::new(401),
        })
        .await;
        let repository = registry.repository_with(with_login(password()));
        repository.head(TAG).await.unwrap();
        let sent: Vec<_> =
            registry.asked().iter().filter_map(|asked| asked.header("authorization").map(str::to_owned)).collect();
        assert_eq!(sent, ["Bearer t1", "Bearer t2"]);
    }

    #[tokio::test]
    async fn a_token_ends_when_it_was_said_to() {
        for (rest, fetched) in [(r#","expires_in":1"#, 2), (r#","expires_in":18446744073709551615"#, 1), ("", 1)] {
            let service = Server::start(counting(rest)).await;
            let registry = registry(&service, |_| true).await;
            let repository = registry.repository();
            repository.head(TAG).await.unwrap();
            tokio::time::sleep(Duration::from_millis(950)).await;
            repository.head(TAG).await.unwrap();
            assert_eq!(service.asked().len(), fetched, "{rest}");
            assert_eq!(registry.asked().len(), 3, "{rest}");
        }
    }

    #[tokio::test]
    async fn what_a_token_service_says_is_told() {
        for (reply, told, retry) in [
            (Reply::new(503), "503", Retry::Soon),
            (Reply::new(403).body("account closed"), "account closed", Retry::Later),
            (Reply::new(401).body("incorrect password"), "incorrect password", Retry::Later),
            (Reply::new(200).body("{}"), "no token in it", Retry::Soon),
            (Reply::new(200).body(r#"{"token":""}"#), "no token in it", Retry::Soon),
            (Reply::new(200).body("<html>geheim"), "no JSON", Retry::Soon),
            (Reply::new(200).body(r#"{"token":"a\nb"}"#), "can't be sent", Retry::Later),
        ] {
            let service = Server::start(move |_| reply.clone()).await;
            let registry = registry(&service, |_| false).await;
            let error = registry.repository().head(TAG).await.unwrap_err();
            let expected = format!("no token from the token service {}", service.url("/token"));
            let text = error.to_string();
            assert!(text.contains(&expected) && text.contains(told) && !text.contains("geheim"), "{error}");
            assert_eq!(error.retry(), retry, "{error}");
            assert_eq!(service.asked().len(), if retry == Retry::Soon { 3 } else { 1 }, "{error}");
        }
    }

    #[tokio::test]
    async fn many_tokens_do_not_pile_up() {
        let service = Server::start(|_| Reply::new(200).body(r#"{"token":"t","expires_in":1}"#)).await;
        let wire = Arc::new(Wire::new(settings(), &[], 64).unwrap());
        let realm = Onward { url: url::Url::parse(&service.url("/token")).unwrap(), limit: Limit::Anywhere };
        let tokens = TokenService::new(realm, None);
        for number in 0..MANY {
            tokens.token(&wire, None, &[number.to_string()]).await.unwrap();
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
        tokens.token(&wire, None, &["last".to_owned()]).await.unwrap();
        assert_eq!(tokens.tokens.lock().unwrap().len(), 1);
    }

    #[tokio::test]
    async fn tokens_are_shared_by_the_repositories_of_a_registry_and_not_between_registries() {
        let service = Server::start(counting("")).await;
        let (one, other) = (registry(&service, |_| true).await, registry(&service, |_| true).await);
        let registries = Registries::new(settings(), &[], 64).unwrap();
        let at = |server: &Server| -> Repository { registries.repository(&server.address.to_string(), "team/app") };
        for server in [&one, &one, &other] {
            at(server).head(TAG).await.unwrap();
        }
        assert_eq!(service.asked().len(), 2);
        assert_eq!(one.asked().len(), 3);
    }
}
