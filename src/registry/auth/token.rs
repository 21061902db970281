//! Tokens of token services, as in the distribution project's "Token Authentication Specification". Here because
//! oci-client 0.18 ignores failed token requests, does not share or renew tokens, and can't request two repositories at
//! once.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant, SystemTime},
};

use http::{
    HeaderMap, HeaderValue, Method, StatusCode,
    header::{AUTHORIZATION, CONTENT_TYPE},
};
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use url::form_urlencoded;

use crate::{
    model::Retry,
    registry::{
        auth::{
            cache::{Expiring, FetchError, FetchLimits, RefreshingCache},
            header::sensitive,
        },
        fault::Fault,
        http::{
            headers::retry_after::retry_after,
            request::{Endpoint, Payload},
            transport::Transport,
        },
        limits::rate_limiter::RateLimiter,
    },
};

/// A token's lifetime in seconds if the service does not say.
const DEFAULT_LIFETIME: u64 = 60;

/// Longer lifetimes are cut to this many seconds: clocks can't represent every number.
const MAX_LIFETIME: u64 = 24 * 60 * 60;

/// In bytes.
const MAX_RESPONSE: usize = 1024 * 1024;

/// When this many tokens are cached, the expired ones are removed, or else the half that expires first.
const MAX_TOKENS: usize = 1024;

/// The value of `Authorization`.
pub(in crate::registry) type Token = Expiring<HeaderValue>;

type TokenCache = RefreshingCache<HeaderValue, Arc<Fault>>;

/// What is sent to a token service.
#[derive(Clone)]
pub(in crate::registry) enum TokenLogin {
    /// The value of `Authorization`.
    Basic(HeaderValue),
    /// An identity token, exchanged as in the distribution project's "Oauth2 Token Authentication". Registries such as
    /// Azure's give these to `docker login`, which stores them as the password of the user `<token>`.
    IdentityToken(SecretString),
}

/// A token service as one registry uses it, and its tokens by scope.
pub(in crate::registry) struct TokenService {
    realm: Endpoint,
    service: Option<String>,
    tokens: Mutex<HashMap<String, Arc<TokenCache>>>,
    rate_limiter: Arc<RateLimiter>,
}

impl TokenService {
    pub(in crate::registry) fn new(realm: Endpoint, service: Option<String>) -> Self {
        Self { realm, service, tokens: Mutex::default(), rate_limiter: Arc::new(RateLimiter::adaptive()) }
    }

    /// Whether a challenge names this service.
    pub(in crate::registry) fn is(&self, realm: &Endpoint, service: Option<&str>) -> bool {
        self.realm == *realm && self.service.as_deref() == service
    }

    pub(in crate::registry) fn is_same_as(&self, other: &Self) -> bool {
        self.is(&other.realm, other.service.as_deref())
    }

    /// A token for `scopes`, from the cache or fetched.
    pub(in crate::registry) async fn token(
        &self,
        transport: &Arc<Transport>,
        login: Option<TokenLogin>,
        scopes: &[String],
    ) -> Result<Arc<Token>, Fault> {
        let cache = self.cache(scopes.join(" "));
        let token =
            cache.get(|| fetch(Arc::clone(transport), Arc::clone(&self.rate_limiter), self.request(login, scopes)));
        token.await.map_err(|fault| {
            let realm = &self.realm.url;
            Fault::Token { service: format!("{}{}", realm.origin().ascii_serialization(), realm.path()), fault }
        })
    }

    fn cache(&self, scopes: String) -> Arc<TokenCache> {
        let mut tokens = self.tokens.lock().unwrap_or_else(PoisonError::into_inner);
        if tokens.len() >= MAX_TOKENS && !tokens.contains_key(&scopes) {
            evict(&mut tokens);
        }
        Arc::clone(tokens.entry(scopes).or_insert_with(|| Arc::new(TokenCache::new(FetchLimits::NONE))))
    }

    /// Ends a pause that the service has requested.
    pub(in crate::registry) fn end_rate_limit_waits(&self) {
        self.rate_limiter.resume();
    }

    /// Drops a token that the registry rejected.
    pub(in crate::registry) fn invalidate(&self, rejected: &Arc<Token>) {
        let tokens = self.tokens.lock().unwrap_or_else(PoisonError::into_inner);
        for cache in tokens.values() {
            cache.invalidate(Instant::now(), rejected);
        }
    }

    fn request(&self, login: Option<TokenLogin>, scopes: &[String]) -> TokenRequest {
        let service = self.service.as_deref().map(|service| ("service", service));
        let login = match login {
            Some(TokenLogin::IdentityToken(token)) => {
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
    to: Endpoint,
    login: Option<HeaderValue>,
    /// Sent by POST; None: a GET.
    form: Option<SecretString>,
}

/// Removes the tokens that have expired, or else the half that expires first. Those in use are kept.
fn evict(tokens: &mut HashMap<String, Arc<TokenCache>>) {
    let now = Instant::now();
    let is_in_use = |cache: &Arc<TokenCache>| Arc::strong_count(cache) > 1 || cache.is_fetching();
    tokens.retain(|_, cache| is_in_use(cache) || cache.expires_at().is_some_and(|expiry| now < expiry));
    if tokens.len() < MAX_TOKENS {
        return;
    }
    let mut expiries: Vec<Instant> = tokens.values().filter_map(|cache| cache.expires_at()).collect();
    let Some(last) = expiries.len().div_ceil(2).checked_sub(1) else { return };
    let (_, &mut last, _) = expiries.select_nth_unstable(last);
    tokens.retain(|_, cache| is_in_use(cache) || cache.expires_at().is_none_or(|expiry| expiry > last));
}

impl FetchError for Arc<Fault> {
    fn aborted(reason: String) -> Self {
        Self::new(Fault::InvalidResponse(format!("the token request was aborted: {reason}")))
    }
}

#[derive(Deserialize)]
struct TokenResponse {
    token: Option<String>,
    access_token: Option<String>,
    expires_in: Option<u64>,
}

async fn fetch(
    transport: Arc<Transport>,
    rate_limiter: Arc<RateLimiter>,
    request: TokenRequest,
) -> Result<Token, Arc<Fault>> {
    let TokenRequest { to, login, form } = request;
    let host = to.url.authority().to_owned();
    let slot = rate_limiter.acquire().await.map_err(|wait| Fault::RateLimited { host, wait })?;
    let requested_at = Instant::now();
    let with_login = login.is_some() || form.is_some();
    let mut response = match form {
        None => {
            let headers = login.into_iter().map(|login| (AUTHORIZATION, login)).collect();
            transport.follow(Method::GET, to, headers, Payload::Empty).await?
        }
        Some(form) => {
            let form_type = HeaderValue::from_static("application/x-www-form-urlencoded");
            let headers = HeaderMap::from_iter([(CONTENT_TYPE, form_type)]);
            let form = Payload::Bytes(form.expose_secret().to_owned().into());
            transport.follow(Method::POST, to, headers, form).await?
        }
    };
    if matches!(response.status(), StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE) {
        slot.throttled(Instant::now(), retry_after(response.headers(), SystemTime::now()));
    } else {
        slot.succeeded();
    }
    if !response.status().is_success() {
        let is_unauthorized = response.status() == StatusCode::UNAUTHORIZED;
        let fault = response.into_fault(with_login).await;
        // Repeating a wrong password gets accounts locked.
        return Err(Arc::new(if is_unauthorized { fault.with_retry(Retry::Later) } else { fault }));
    }
    let body = response.read_all(MAX_RESPONSE).await?;
    let parsed: TokenResponse = serde_json::from_slice(&body).map_err(|error| {
        Fault::InvalidResponse(format!("the response is no JSON with a token: error at {}", position(&error)))
    })?;
    let found = parsed.token.into_iter().chain(parsed.access_token).find(|token| !token.is_empty());
    let token = found.ok_or_else(|| Fault::InvalidResponse("the response contains no token".to_owned()))?;
    let lifetime = parsed.expires_in.filter(|&seconds| seconds > 0).unwrap_or(DEFAULT_LIFETIME);
    let lifetime = Duration::from_secs(lifetime.min(MAX_LIFETIME));
    // A tenth earlier, at most half a minute, so that no token expires on its way.
    let usable = lifetime.saturating_sub((lifetime / 10).min(Duration::from_secs(30)));
    Ok(Token::until(sensitive(&format!("Bearer {token}"))?, requested_at, requested_at + usable))
}

/// Without the text around it, which may be a token.
fn position(error: &serde_json::Error) -> String {
    format!("line {}, column {}", error.line(), error.column())
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;
    use crate::{
        model::{Digest, Login},
        registry::{
            Registries, Repository, TagOrDigest,
            http::hosts::HostConfigs,
            testing::{RecordedRequest, Reply, Server, password, settings, with_login},
        },
    };

    const TAG: TagOrDigest<'static> = TagOrDigest::Tag("1");

    /// An empty registry that accepts the tokens for which `accepts` is true.
    async fn registry(service: &Server, accepts: impl Fn(&str) -> bool + Send + Sync + 'static) -> Server {
        let challenge = format!("Bearer realm=\"{}\",service=\"r\"", service.url("/token?tenant=1"));
        Server::start(move |request| match request.header("authorization") {
            Some(header) if accepts(header) => Reply::new(404),
            _ => Reply::new(401).header("WWW-Authenticate", &challenge),
        })
        .await
    }

    /// Returns the tokens t1, t2, and so on.
    fn counting(rest: &'static str) -> impl Fn(&RecordedRequest) -> Reply + Send + Sync {
        let count = AtomicU32::new(0);
        move |_| {
            let number = count.fetch_add(1, Ordering::SeqCst) + 1;
            Reply::new(200).body(format!("{{\"token\":\"t{number}\"{rest}}}"))
        }
    }

    #[tokio::test]
    async fn posts_an_identity_token() {
        let service = Server::start(|request| match String::from_utf8_lossy(&request.body) {
            form if form.contains("refresh_token=a%26b") => Reply::new(200).body(r#"{"access_token":"t"}"#),
            _ => Reply::new(401).body(r#"{"errors":[{"code":"UNAUTHORIZED","message":"no"}]}"#),
        })
        .await;
        let registry = registry(&service, |header| header == "Bearer t").await;
        let login =
            |password: &str| Login::Password { username: "<token>".to_owned(), password: password.to_owned().into() };
        registry.repository_with(with_login(login("a&b"))).head(TAG).await.unwrap();
        let request = &service.requests()[0];
        assert_eq!((request.method.as_str(), request.target.as_str()), ("POST", "/token?tenant=1"));
        assert_eq!(request.header("content-type"), Some("application/x-www-form-urlencoded"));
        assert_eq!(request.header("authorization"), None);
        let form = "grant_type=refresh_token&client_id=k8s-copycat&refresh_token=a%26b\
                    &scope=repository%3Ateam%2Fapp%3Apull&service=r";
        assert_eq!(request.body, form.as_bytes());
        let error = registry.repository_with(with_login(login("geheim"))).head(TAG).await.unwrap_err();
        assert!(error.to_string().contains("not accepted") && !format!("{error:?}").contains("geheim"), "{error}");
    }

    #[tokio::test]
    async fn concurrent_requests_share_one_token_request() {
        let service =
            Server::start(|_| Reply::new(200).body(r#"{"token":"t"}"#).after(Duration::from_millis(50))).await;
        let registry = registry(&service, |header| header == "Bearer t").await;
        let repository = registry.repository();
        let heads = (0..8).map(|_| repository.head(TAG));
        assert_eq!(futures::future::try_join_all(heads).await.unwrap(), vec![None; 8]);
        assert_eq!(service.request_lines(), ["GET /token?tenant=1&service=r&scope=repository%3Ateam%2Fapp%3Apull"]);
        assert_eq!(service.requests()[0].header("authorization"), None);
        repository.head(TAG).await.unwrap();
        assert_eq!(registry.requests().last().unwrap().header("authorization"), Some("Bearer t"));
        assert_eq!(service.requests().len(), 1);
    }

    #[tokio::test]
    async fn requests_the_scopes_needed_and_sends_the_login_to_the_token_service_only() {
        let service = Server::start(|_| Reply::new(200).body(r#"{"token":"","access_token":"t"}"#)).await;
        let registry = registry(&service, |header| header == "Bearer t").await;
        let repository = registry.repository_with(with_login(password()));
        assert!(!repository.mount(&Digest::sha256(b"a"), "base").await.unwrap());
        let push = "repository%3Ateam%2Fapp%3Apull%2Cpush";
        assert_eq!(
            service.request_lines(),
            [format!("GET /token?tenant=1&service=r&scope={push}&scope=repository%3Abase%3Apull")]
        );
        assert_eq!(service.requests()[0].header("authorization"), Some("Basic dXNlcjpwYXNz"));
        assert!(
            registry.requests().iter().all(|request| request.header("authorization") != Some("Basic dXNlcjpwYXNz"))
        );
    }

    #[tokio::test]
    async fn renews_a_rejected_token_and_a_fresh_one_once_more() {
        let service = Server::start(counting("")).await;
        let refused = Arc::new(Mutex::new(Vec::<String>::new()));
        let out = Arc::clone(&refused);
        let registry = registry(&service, move |header| !out.lock().unwrap().iter().any(|old| old == header)).await;
        let repository = registry.repository();
        repository.head(TAG).await.unwrap();
        assert_eq!(service.requests().len(), 1);
        refused.lock().unwrap().push("Bearer t1".to_owned());
        repository.head(TAG).await.unwrap();
        assert_eq!(service.requests().len(), 2);
        refused.lock().unwrap().extend(["t2", "t3", "t4"].map(|token| format!("Bearer {token}")));
        let error = repository.head(TAG).await.unwrap_err();
        assert_eq!((error.retry(), service.requests().len()), (Retry::Later, 4));
    }

    #[tokio::test]
    async fn a_401_without_a_challenge_sends_no_login_to_the_registry() {
        let service = Server::start(counting("")).await;
        let challenge = format!("Bearer realm=\"{}\"", service.url("/token"));
        let registry = Server::start(move |request| match request.header("authorization") {
            Some("Bearer t2") => Reply::new(404),
            None => Reply::new(401).header("WWW-Authenticate", &challenge),
            Some(_) => Reply::new(401),
        })
        .await;
        let repository = registry.repository_with(with_login(password()));
        repository.head(TAG).await.unwrap();
        let sent: Vec<_> = registry
            .requests()
            .iter()
            .filter_map(|request| request.header("authorization").map(str::to_owned))
            .collect();
        assert_eq!(sent, ["Bearer t1", "Bearer t2"]);
    }

    #[tokio::test]
    async fn a_token_expires_after_expires_in() {
        for (rest, fetched) in [(r#","expires_in":1"#, 2), (r#","expires_in":18446744073709551615"#, 1), ("", 1)] {
            let service = Server::start(counting(rest)).await;
            let registry = registry(&service, |_| true).await;
            let repository = registry.repository();
            repository.head(TAG).await.unwrap();
            tokio::time::sleep(Duration::from_millis(950)).await;
            repository.head(TAG).await.unwrap();
            assert_eq!(service.requests().len(), fetched, "{rest}");
            assert_eq!(registry.requests().len(), 3, "{rest}");
        }
    }

    #[tokio::test]
    async fn quotes_the_error_of_the_token_service() {
        for (reply, expected_text, retry) in [
            (Reply::new(503), "503", Retry::Soon),
            (Reply::new(403).body("account closed"), "account closed", Retry::Later),
            (Reply::new(401).body("incorrect password"), "incorrect password", Retry::Later),
            (Reply::new(200).body("{}"), "contains no token", Retry::Soon),
            (Reply::new(200).body(r#"{"token":""}"#), "contains no token", Retry::Soon),
            (Reply::new(200).body("<html>geheim"), "no JSON", Retry::Soon),
            (Reply::new(200).body(r#"{"token":"a\nb"}"#), "a header can't contain", Retry::Later),
        ] {
            let service = Server::start(move |_| reply.clone()).await;
            let registry = registry(&service, |_| false).await;
            let error = registry.repository().head(TAG).await.unwrap_err();
            let expected = format!("no token from the token service {}", service.url("/token"));
            let text = error.to_string();
            assert!(text.contains(&expected) && text.contains(expected_text) && !text.contains("geheim"), "{error}");
            assert_eq!(error.retry(), retry, "{error}");
            assert_eq!(service.requests().len(), if retry == Retry::Soon { 3 } else { 1 }, "{error}");
        }
    }

    #[tokio::test]
    async fn removes_expired_tokens() {
        let service = Server::start(|_| Reply::new(200).body(r#"{"token":"t","expires_in":1}"#)).await;
        let hosts = Arc::new(HostConfigs::new(&[]).unwrap());
        let transport = Arc::new(Transport::new(hosts, None, None, Vec::new(), &[]));
        let realm = Endpoint::trusted(url::Url::parse(&service.url("/token")).unwrap());
        let tokens = TokenService::new(realm, None);
        for number in 0..MAX_TOKENS {
            tokens.token(&transport, None, &[number.to_string()]).await.unwrap();
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
        tokens.token(&transport, None, &["last".to_owned()]).await.unwrap();
        assert_eq!(tokens.tokens.lock().unwrap().len(), 1);
    }

    #[tokio::test]
    async fn repositories_of_a_registry_share_tokens_and_registries_do_not() {
        let service = Server::start(counting("")).await;
        let (one, other) = (registry(&service, |_| true).await, registry(&service, |_| true).await);
        let registries = Registries::new(settings(), &[], 64).unwrap();
        let at = |server: &Server| -> Repository { registries.repository(&server.address.to_string(), "team/app") };
        for server in [&one, &one, &other] {
            at(server).head(TAG).await.unwrap();
        }
        assert_eq!(service.requests().len(), 2);
        assert_eq!(one.requests().len(), 3);
    }
}
