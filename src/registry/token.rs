//! Tokens from a token service, as of the distribution project's "Token Authentication Specification".

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use futures::{
    FutureExt,
    future::{BoxFuture, Shared},
};
use http::{HeaderValue, Method, header::AUTHORIZATION};
use serde::Deserialize;
use url::Url;

use super::{
    auth::sensitive,
    error::Fault,
    wire::{Payload, Wire},
};

/// How many seconds a token lives where the service does not say.
const DEFAULT_LIFE: u64 = 60;

/// What is believed of a longer life, a day: clocks can't hold any number.
const LONGEST_LIFE: u64 = 24 * 60 * 60;

/// No answer of a token service is longer.
const LONGEST_ANSWER: usize = 1024 * 1024;

/// So many tokens are kept before the ended ones are looked for.
const MANY: usize = 256;

/// A token for some scopes.
#[derive(Debug)]
pub(super) struct Token {
    /// The value of `Authorization`.
    pub header: HeaderValue,
    /// When it was asked for.
    pub begun: Instant,
    ends: Instant,
}

type Fetch = Shared<BoxFuture<'static, Result<Arc<Token>, Arc<Fault>>>>;

/// A token service as one registry uses it, and the tokens it gave.
pub(super) struct TokenService {
    realm: Url,
    service: Option<String>,
    tokens: Mutex<HashMap<String, Fetch>>,
}

impl TokenService {
    /// Nothing is asked yet.
    pub(super) fn new(realm: Url, service: Option<String>) -> Self {
        Self { realm, service, tokens: Mutex::default() }
    }

    /// Whether a challenge names this one.
    pub(super) fn is(&self, realm: &Url, service: Option<&str>) -> bool {
        self.realm == *realm && self.service.as_deref() == service
    }

    /// A token that is good for `scopes`: one that is there, or one that is being fetched, or a new one.
    pub(super) async fn token(
        &self,
        wire: &Arc<Wire>,
        login: Option<HeaderValue>,
        scopes: &[String],
    ) -> Result<Arc<Token>, Fault> {
        let fetch = {
            let mut tokens = self.tokens.lock().unwrap_or_else(PoisonError::into_inner);
            let key = scopes.join(" ");
            match tokens.get(&key).filter(|fetch| is_good(fetch)) {
                Some(fetch) => fetch.clone(),
                None => {
                    if tokens.len() >= MANY {
                        tokens.retain(|_, fetch| is_good(fetch));
                    }
                    let fetch = fetch(Arc::clone(wire), self.url(scopes), login).boxed().shared();
                    tokens.insert(key, fetch.clone());
                    fetch
                }
            }
        };
        fetch.await.map_err(|fault| {
            let path = self.realm.path();
            Fault::Token { service: format!("{}{path}", self.realm.origin().ascii_serialization()), fault }
        })
    }

    /// Drops a token that was not accepted.
    pub(super) fn forget(&self, refused: &Arc<Token>) {
        let mut tokens = self.tokens.lock().unwrap_or_else(PoisonError::into_inner);
        tokens.retain(|_, fetch| !matches!(fetch.peek(), Some(Ok(token)) if Arc::ptr_eq(token, refused)));
    }

    fn url(&self, scopes: &[String]) -> Url {
        let mut url = self.realm.clone();
        {
            let mut query = url.query_pairs_mut();
            if let Some(service) = &self.service {
                query.append_pair("service", service);
            }
            for scope in scopes {
                query.append_pair("scope", scope);
            }
        }
        url
    }
}

/// Under way, or come and not ended. A failed one is for those who waited for it; the next comer tries anew.
fn is_good(fetch: &Fetch) -> bool {
    match fetch.peek() {
        None => true,
        Some(Ok(token)) => Instant::now() < token.ends,
        Some(Err(_)) => false,
    }
}

#[derive(Deserialize)]
struct TokenAnswer {
    token: Option<String>,
    access_token: Option<String>,
    expires_in: Option<u64>,
}

async fn fetch(wire: Arc<Wire>, url: Url, login: Option<HeaderValue>) -> Result<Arc<Token>, Arc<Fault>> {
    let begun = Instant::now();
    let with_login = login.is_some();
    let headers = login.into_iter().map(|login| (AUTHORIZATION, login)).collect();
    let mut answer = wire.follow(Method::GET, url, headers, Payload::Empty).await?;
    if !answer.status().is_success() {
        return Err(Arc::new(answer.refusal(with_login).await));
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
