//! Who we are at one host. Here because of what oci-client 0.18 does not do: fetch a token once for all who wait, let
//! it end, renew it on 401, tell what the token service said, ask for two repositories at once.

pub(super) mod challenge;
pub(super) mod credentials;
pub(super) mod token;

use std::{
    sync::{
        Arc, PoisonError, RwLock,
        atomic::{AtomicBool, Ordering},
    },
    time::Instant,
};

use base64::{Engine, prelude::BASE64_STANDARD};
use http::{HeaderMap, HeaderValue, StatusCode, header::WWW_AUTHENTICATE};
use secrecy::ExposeSecret;
use url::Url;

use crate::model::{EcrRegistry, Login};
use crate::registry::{
    auth::challenge::{Challenge, challenges},
    auth::token::{Token, TokenLogin, TokenService},
    client::{Onward, Wire},
    ecr::{Aws, EcrLogin, EcrToken, PublicLogin},
    error::Fault,
    http::response::Response,
};

/// The user whose password is an identity token, as `docker login` has it.
const IDENTITY_TOKEN: &str = "<token>";

/// What a registry host wants to see, and what we have to show.
pub(in crate::registry) struct Auth {
    identity: Identity,
    /// Learned from the first 401; until then nothing is sent.
    wanted: RwLock<Wanted>,
    /// The login was taken by the last answer that says anything of it.
    is_welcome: AtomicBool,
}

/// Who we are there.
pub(in crate::registry) enum Identity {
    /// Nobody in particular.
    Nobody,
    /// As configured.
    Login(Login),
    /// Somebody that AWS knows, at a private registry.
    Ecr {
        /// The way to AWS.
        aws: Aws,
        /// Which registry.
        registry: EcrRegistry,
        /// Its tokens.
        login: Arc<EcrLogin>,
    },
    /// Somebody that AWS may know, at its public registry.
    EcrPublic {
        /// The way to AWS.
        aws: Aws,
        /// Its tokens.
        login: Arc<PublicLogin>,
    },
}

/// What a refusing answer says of what was shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::registry) enum Doubt {
    /// Nothing.
    None,
    /// It asks for something else.
    Challenged,
    /// It has ended.
    Ended,
    /// It may have ended.
    Unsure,
}

#[derive(Clone)]
enum Wanted {
    Nothing,
    Login,
    Token(Arc<TokenService>),
}

/// What goes along with one request.
pub(in crate::registry) struct Presented {
    /// The value of `Authorization`, marked as sensitive.
    pub header: HeaderValue,
    shown: Shown,
}

enum Shown {
    Login {
        /// Whether the host had taken it before.
        was_welcome: bool,
    },
    Token(Arc<Token>),
    Ecr(Arc<EcrToken>),
}

impl Auth {
    /// Nothing is known of the host yet.
    pub(in crate::registry) fn new(identity: Identity) -> Self {
        Self { identity, wanted: RwLock::new(Wanted::Nothing), is_welcome: AtomicBool::new(false) }
    }

    /// Ends a pause that the token service has asked for.
    pub(in crate::registry) fn reset_pauses(&self) {
        if let Wanted::Token(service) = &*self.wanted.read().unwrap_or_else(PoisonError::into_inner) {
            service.reset_pauses();
        }
    }

    /// Whether credentials are configured.
    pub(in crate::registry) fn has_login(&self) -> bool {
        !matches!(self.identity, Identity::Nobody)
    }

    /// What the next request should show, with a token for `scopes` where the host wants one.
    pub(in crate::registry) async fn present(
        &self,
        wire: &Arc<Wire>,
        scopes: &[String],
    ) -> Result<Option<Presented>, Fault> {
        // What ECR wants is known, so that the first request need not be refused.
        if let Identity::Ecr { aws, registry, login } = &self.identity {
            let token = login.token(aws, registry).await.map_err(Fault::Aws)?;
            return Ok(Some(Presented { header: token.value.clone(), shown: Shown::Ecr(token) }));
        }
        let wanted = self.wanted.read().unwrap_or_else(PoisonError::into_inner).clone();
        match (wanted, &self.identity) {
            (Wanted::Login, Identity::Login(login)) => {
                let was_welcome = self.is_welcome.load(Ordering::Relaxed);
                Ok(Some(Presented { header: login_header(login)?, shown: Shown::Login { was_welcome } }))
            }
            (Wanted::Nothing | Wanted::Login, _) => Ok(None),
            (Wanted::Token(service), identity) => {
                let token = service.token(wire, token_login(identity).await?, scopes).await;
                let token = token.inspect_err(|fault| self.doubt_service(&service, fault))?;
                Ok(Some(Presented { header: token.header.clone(), shown: Shown::Token(token) }))
            }
        }
    }

    /// Where no token service answers, the registry is asked anew which one it wants: it may have moved, or never have
    /// been there.
    fn doubt_service(&self, service: &Arc<TokenService>, fault: &Fault) {
        if fault.is_refusal() {
            return;
        }
        let mut wanted = self.wanted.write().unwrap_or_else(PoisonError::into_inner);
        if matches!(&*wanted, Wanted::Token(known) if Arc::ptr_eq(known, service)) {
            *wanted = Wanted::Nothing;
        }
    }

    /// Takes in how a request ended that showed `presented`. Whether it was refused although the same login was taken
    /// before: then another try can help. Never twice in a row, since a login that is shown too often gets locked.
    pub(in crate::registry) fn note(&self, status: StatusCode, presented: Option<&Presented>) -> bool {
        let Some(&Shown::Login { was_welcome }) = presented.map(|presented| &presented.shown) else { return false };
        match status {
            StatusCode::UNAUTHORIZED => self.is_welcome.store(false, Ordering::Relaxed),
            StatusCode::NOT_FOUND => self.is_welcome.store(true, Ordering::Relaxed),
            status if status.is_success() => self.is_welcome.store(true, Ordering::Relaxed),
            _ => {}
        }
        status == StatusCode::UNAUTHORIZED && was_welcome
    }

    /// What a refusing answer says of what was shown. Of a token that has ended ECR says 403, as of what is forbidden,
    /// and its public registry 400 (aws/containers-roadmap, issue 2835).
    pub(in crate::registry) fn doubt(&self, status: StatusCode, presented: Option<&Presented>) -> Doubt {
        match (status, &self.identity, presented.map(|presented| &presented.shown)) {
            (StatusCode::UNAUTHORIZED, Identity::Ecr { .. }, Some(Shown::Ecr(_))) => Doubt::Ended,
            (StatusCode::UNAUTHORIZED, ..) => Doubt::Challenged,
            (StatusCode::FORBIDDEN, Identity::Ecr { .. }, Some(Shown::Ecr(_))) => Doubt::Unsure,
            (StatusCode::BAD_REQUEST, Identity::EcrPublic { .. }, Some(Shown::Token(_))) => Doubt::Ended,
            _ => Doubt::None,
        }
    }

    /// Drops a token that has ended. Whether another one can be had now.
    pub(in crate::registry) fn forget(&self, presented: Option<&Presented>) -> bool {
        match (presented.map(|presented| &presented.shown), &self.identity) {
            (Some(Shown::Ecr(token)), Identity::Ecr { login, .. }) => login.forget(token),
            (Some(Shown::Token(token)), _) => match &*self.wanted.read().unwrap_or_else(PoisonError::into_inner) {
                Wanted::Token(service) => {
                    service.forget(token);
                    true
                }
                Wanted::Nothing | Wanted::Login => false,
            },
            _ => false,
        }
    }

    /// Takes in a 401 to a request begun at `begun` that showed `presented`. Whether it is worth asking again: not
    /// where the same would be shown again.
    pub(in crate::registry) fn learn(
        &self,
        wire: &Wire,
        response: &Response,
        presented: Option<&Presented>,
        begun: Instant,
    ) -> Result<bool, Fault> {
        let offered = challenges(response.headers());
        let mut wanted = self.wanted.write().unwrap_or_else(PoisonError::into_inner);
        let showed_login = presented.is_some_and(|presented| matches!(presented.shown, Shown::Login { .. }));
        let bearer = offered.iter().find_map(|challenge| match challenge {
            Challenge::Bearer { realm, service } => Some((realm, service)),
            Challenge::Basic => None,
        });
        match (&self.identity, bearer, &*wanted) {
            (Identity::Login(Login::Token(_)), ..) => {
                *wanted = Wanted::Login;
                Ok(!showed_login)
            }
            (_, Some((realm, service)), known) => {
                let realm = checked_realm(realm, wire, response)?;
                match known {
                    Wanted::Token(known) if known.is(&realm, service.as_deref()) => {
                        Ok(is_outdated(known, presented, begun))
                    }
                    _ => {
                        *wanted = Wanted::Token(Arc::new(TokenService::new(realm, service.clone())));
                        Ok(true)
                    }
                }
            }
            // A server behind the registry may have forgotten how to ask.
            (_, None, Wanted::Token(known)) if offered.is_empty() => Ok(is_outdated(known, presented, begun)),
            // Basic was asked for, or nothing was said: the only thing left to show is the login.
            (Identity::Login(Login::Password { .. }), None, _) => {
                *wanted = Wanted::Login;
                Ok(!showed_login)
            }
            (_, None, _) => Ok(false),
        }
    }
}

/// Forgets a token that was refused. Whether another is worth a try: not when the refused one was fetched for this very
/// request.
fn is_outdated(service: &TokenService, presented: Option<&Presented>, begun: Instant) -> bool {
    match presented.map(|presented| &presented.shown) {
        Some(Shown::Token(token)) => {
            service.forget(token);
            token.begun < begun
        }
        _ => true,
    }
}

/// Whether another token may be taken where this one, however new, was not: not where it is good for too little, as the
/// distribution project's "Token Authentication Specification" has it said.
pub(in crate::registry) fn may_be_renewed(headers: &HeaderMap, presented: Option<&Presented>) -> bool {
    let says_too_little = |value: &HeaderValue| value.to_str().is_ok_and(|text| text.contains("insufficient_scope"));
    presented.is_some_and(|presented| matches!(presented.shown, Shown::Token(_)))
        && !headers.get_all(WWW_AUTHENTICATE).iter().any(says_too_little)
}

/// A token service gets credentials and gives such: never over plain HTTP, except where the user has said so, and the
/// registry speaks nothing else either.
fn checked_realm(realm: &str, wire: &Wire, response: &Response) -> Result<Onward, Fault> {
    let url = Url::parse(realm)
        .map_err(|error| Fault::Malformed(format!("it names a token service that is no URL, {realm:?}: {error}")))?;
    match url.scheme() {
        "https" => Ok(wire.onward(response, url)),
        "http" if response.url().scheme() == "http" && wire.may_be_plain(&url) => Ok(wire.onward(response, url)),
        "http" if wire.may_be_plain(&url) => Err(Fault::Refused(format!(
            "it speaks TLS and names the token service {:?}, which does not: credentials don't go there",
            url.host_str().unwrap_or_default()
        ))),
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

/// What a token service is shown.
async fn token_login(identity: &Identity) -> Result<Option<TokenLogin>, Fault> {
    match identity {
        Identity::Login(Login::Password { username, password }) if username == IDENTITY_TOKEN => {
            Ok(Some(TokenLogin::Identity(password.clone())))
        }
        Identity::Login(login @ Login::Password { .. }) => login_header(login).map(TokenLogin::Basic).map(Some),
        Identity::EcrPublic { aws, login } => {
            let basic = login.basic(aws).await.map_err(Fault::Aws)?;
            Ok(basic.map(TokenLogin::Basic))
        }
        Identity::Login(Login::Token(_)) | Identity::Nobody | Identity::Ecr { .. } => Ok(None),
    }
}

/// A header that no `Debug` shows.
pub(in crate::registry) fn sensitive(text: &str) -> Result<HeaderValue, Fault> {
    let mut header = HeaderValue::from_str(text)
        .map_err(|_| Fault::Refused("the token has characters that can't be sent in a header".to_owned()))?;
    header.set_sensitive(true);
    Ok(header)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::{
        Selector,
        testing::{Asked, Reply, Server, password, settings, with_login},
    };
    use crate::{
        model::Retry,
        registry::{Backoff, Settings},
    };

    const TAG: Selector<'static> = Selector::Tag("1");

    fn sent(server: &Server) -> Vec<Option<String>> {
        server.asked().iter().map(|asked| asked.header("authorization").map(str::to_owned)).collect()
    }

    fn wanting(header: &'static str, challenge: Option<&'static str>) -> impl Fn(&Asked) -> Reply + Send + Sync {
        move |asked| match (asked.header("authorization") == Some(header), challenge) {
            (true, _) => Reply::new(404),
            (false, Some(challenge)) => Reply::new(401).header("WWW-Authenticate", challenge),
            (false, None) => Reply::new(401),
        }
    }

    #[tokio::test]
    async fn a_login_is_shown_once_it_was_asked_for_and_then_at_once() {
        let basic = "Basic dXNlcjpwYXNz";
        for challenge in [Some("Basic realm=\"r\""), None] {
            let server = Server::start(wanting(basic, challenge)).await;
            let repository = server.repository_with(with_login(password()));
            repository.head(TAG).await.unwrap();
            repository.head(TAG).await.unwrap();
            assert_eq!(sent(&server), [None, Some(basic.to_owned()), Some(basic.to_owned())], "{challenge:?}");
        }
    }

    #[test]
    fn what_is_shown_is_shown_to_nobody_else() {
        for login in [password(), Login::Token("dXNlcjpwYXNz".to_owned().into())] {
            let header = login_header(&login).unwrap();
            assert!(!format!("{login:?} {header:?}").contains("dXNlcjpwYXNz"));
        }
    }

    #[tokio::test]
    async fn a_static_token_is_sent_as_it_is() {
        let server = Server::start(wanting("Bearer abc", Some("Bearer realm=\"https://nowhere.invalid\""))).await;
        let repository = server.repository_with(with_login(Login::Token(" abc\n".to_owned().into())));
        repository.head(TAG).await.unwrap();
        assert_eq!(sent(&server), [None, Some("Bearer abc".to_owned())]);
    }

    #[tokio::test]
    async fn a_refused_login_is_shown_once_and_told() {
        let server = Server::start(wanting("another", Some("Basic"))).await;
        let error = server.repository_with(with_login(password())).manifest(TAG).await.unwrap_err();
        assert!(error.to_string().contains("not accepted"), "{error}");
        assert!(!format!("{error} {error:?}").contains("dXNlcjpwYXNz"));
        assert_eq!((error.retry(), server.asked().len()), (Retry::Later, 2));
    }

    #[tokio::test]
    async fn without_a_login_nothing_is_shown() {
        let server = Server::start(wanting("another", Some("Basic"))).await;
        let error = server.repository().manifest(TAG).await.unwrap_err();
        assert!(error.to_string().contains("no credentials are configured"), "{error}");
        assert_eq!(sent(&server), [None]);
    }

    #[tokio::test]
    async fn a_token_service_in_the_clear_is_refused_unless_listed() {
        let server = Server::start(wanting("another", Some("Bearer realm=\"http://auth.invalid/token\""))).await;
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
}
