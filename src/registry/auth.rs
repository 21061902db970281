//! Who we are at one host. Here because of what oci-client 0.18 does not do: fetch a token once for all who wait, let
//! it end, renew it on 401, tell what the token service said, ask for two repositories at once.

use std::{
    sync::{Arc, PoisonError, RwLock},
    time::Instant,
};

use base64::{Engine, prelude::BASE64_STANDARD};
use http::{HeaderMap, HeaderValue};
use secrecy::ExposeSecret;
use url::Url;

use super::{
    challenge::{Challenge, challenges},
    error::Fault,
    host::is_lenient,
    settings::Login,
    token::{Token, TokenService},
    wire::Wire,
};

/// What a registry host wants to see, and what we have to show.
pub(super) struct Auth {
    login: Option<Login>,
    /// Learned from the first 401; until then nothing is sent.
    wanted: RwLock<Wanted>,
}

#[derive(Clone)]
enum Wanted {
    Nothing,
    Login,
    Token(Arc<TokenService>),
}

/// What goes along with one request.
pub(super) struct Presented {
    /// The value of `Authorization`, marked as sensitive.
    pub header: HeaderValue,
    token: Option<Arc<Token>>,
}

impl Auth {
    /// Nothing is known of the host yet.
    pub(super) fn new(login: Option<Login>) -> Self {
        Self { login, wanted: RwLock::new(Wanted::Nothing) }
    }

    /// Whether credentials are configured.
    pub(super) fn has_login(&self) -> bool {
        self.login.is_some()
    }

    /// What the next request should show, with a token for `scopes` where the host wants one.
    pub(super) async fn present(&self, wire: &Arc<Wire>, scopes: &[String]) -> Result<Option<Presented>, Fault> {
        let wanted = self.wanted.read().unwrap_or_else(PoisonError::into_inner).clone();
        match (wanted, &self.login) {
            (Wanted::Nothing, _) | (Wanted::Login, None) => Ok(None),
            (Wanted::Login, Some(login)) => Ok(Some(Presented { header: login_header(login)?, token: None })),
            (Wanted::Token(service), login) => {
                let token = service.token(wire, basic(login.as_ref())?, scopes).await?;
                Ok(Some(Presented { header: token.header.clone(), token: Some(token) }))
            }
        }
    }

    /// Takes in a 401 to a request begun at `begun` that showed `presented`. Whether it is worth asking again: not
    /// where the same would be shown again.
    pub(super) fn learn(
        &self,
        wire: &Wire,
        headers: &HeaderMap,
        presented: Option<&Presented>,
        begun: Instant,
    ) -> Result<bool, Fault> {
        let offered = challenges(headers);
        let mut wanted = self.wanted.write().unwrap_or_else(PoisonError::into_inner);
        let showed_login = presented.is_some_and(|presented| presented.token.is_none());
        let bearer = offered.iter().find_map(|challenge| match challenge {
            Challenge::Bearer { realm, service } => Some((realm, service)),
            Challenge::Basic => None,
        });
        match (&self.login, bearer) {
            (Some(Login::Token(_)), _) => {
                *wanted = Wanted::Login;
                Ok(!showed_login)
            }
            (_, Some((realm, service))) => {
                let realm = checked_realm(realm, wire)?;
                if let Wanted::Token(known) = &*wanted
                    && known.is(&realm, service.as_deref())
                {
                    // A token that another request has renewed meanwhile, or an old one, is worth another try.
                    return Ok(match presented.and_then(|presented| presented.token.as_ref()) {
                        Some(token) => {
                            known.forget(token);
                            token.begun < begun
                        }
                        None => true,
                    });
                }
                *wanted = Wanted::Token(Arc::new(TokenService::new(realm, service.clone())));
                Ok(true)
            }
            // Basic was asked for, or nothing was said: the only thing left to show is the login.
            (Some(Login::Password { .. }), None) => {
                *wanted = Wanted::Login;
                Ok(!showed_login)
            }
            (None, None) => Ok(false),
        }
    }
}

/// A token service gets credentials and gives such: never over plain HTTP, except where the user has said so.
fn checked_realm(realm: &str, wire: &Wire) -> Result<Url, Fault> {
    let url = Url::parse(realm)
        .map_err(|error| Fault::Malformed(format!("it names a token service that is no URL, {realm:?}: {error}")))?;
    match url.scheme() {
        "https" => Ok(url),
        "http" if is_lenient(&url, wire.insecure()) => Ok(url),
        _ => Err(Fault::Refused(format!(
            "it names the token service {:?}, which would be spoken to without TLS: list that host as insecure if it \
             may be",
            url.host_str().unwrap_or_default()
        ))),
    }
}

fn login_header(login: &Login) -> Result<HeaderValue, Fault> {
    match login {
        Login::Password { username, password } => {
            let pair = format!("{username}:{}", password.expose_secret());
            sensitive(&format!("Basic {}", BASE64_STANDARD.encode(pair)))
        }
        Login::Token(token) => sensitive(&format!("Bearer {}", token.expose_secret().trim())),
    }
}

fn basic(login: Option<&Login>) -> Result<Option<HeaderValue>, Fault> {
    match login {
        Some(login @ Login::Password { .. }) => login_header(login).map(Some),
        Some(Login::Token(_)) | None => Ok(None),
    }
}

/// A header that no `Debug` shows.
pub(super) fn sensitive(text: &str) -> Result<HeaderValue, Fault> {
    let mut header = HeaderValue::from_str(text)
        .map_err(|_| Fault::Refused("the token has characters that can't be sent in a header".to_owned()))?;
    header.set_sensitive(true);
    Ok(header)
}
