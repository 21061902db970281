//! Authentication at one host: which credentials there are, which scheme the host wants, and what a rejection means.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Instant,
};

use http::{HeaderMap, HeaderValue, StatusCode};
use url::Url;

use crate::{
    model::{EcrRegistry, Login},
    registry::{
        auth::{
            account::Account,
            challenge::{Challenge, challenges, is_insufficient_scope},
            header::login_header,
            login_sources::{ChosenLogin, IDENTITY_TOKEN, LoginSources},
            scheme::{AuthScheme, HostScheme, RequestScheme},
            token::{Token, TokenLogin, TokenService},
        },
        ecr::{AwsSession, EcrLogin, EcrToken},
        fault::Fault,
        http::{request::Endpoint, response::Response, transport::Transport},
    },
};

/// The authentication at a host.
pub(in crate::registry) struct HostAuth {
    login: HostLogin,
    scheme: HostScheme,
    /// Whether the registry accepted the login the last time it was sent.
    login_accepted: AtomicBool,
}

/// The available credentials.
pub(in crate::registry) struct HostLogin {
    pub sources: LoginSources,
    /// After those: AWS credentials for a private registry.
    pub ecr: Option<EcrIdentity>,
}

/// AWS credentials for a private registry.
pub(in crate::registry) struct EcrIdentity {
    pub aws: AwsSession,
    pub registry: EcrRegistry,
    pub login: Arc<EcrLogin>,
}

/// What an error response says of the credentials that were sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::registry) enum AuthRejection {
    /// Nothing.
    None,
    /// The host wants other credentials.
    Challenged,
    /// The token has expired.
    Expired,
    /// The token may have expired.
    MaybeExpired,
}

/// The credentials of one request.
pub(in crate::registry) struct Authorization {
    /// The value of the header, marked as sensitive.
    pub header: HeaderValue,
    source: AuthorizationSource,
}

enum AuthorizationSource {
    Login {
        login: ChosenLogin,
        /// Whether the host had accepted it before.
        accepted_before: bool,
    },
    Token(Arc<Token>),
    Ecr(Arc<EcrToken>),
}

impl HostAuth {
    pub(in crate::registry) fn new(login: HostLogin) -> Self {
        Self { login, scheme: HostScheme::default(), login_accepted: AtomicBool::new(false) }
    }

    /// Ends a pause that the token service has requested.
    pub(in crate::registry) fn end_rate_limit_waits(&self) {
        if let AuthScheme::Token(service) = self.scheme.current() {
            service.end_rate_limit_waits();
        }
    }

    pub(in crate::registry) fn has_login(&self) -> bool {
        self.login.ecr.is_some() || self.login.sources.has_login()
    }

    /// As whom the host is accessed.
    pub(in crate::registry) fn account(&self) -> Account {
        match self.login.sources.account() {
            Account::Anonymous | Account::Without(_) if self.login.ecr.is_some() => Account::Aws,
            account => account,
        }
    }

    /// A fault of the host, with what to do about a refusal if its login is not configured.
    pub(in crate::registry) fn explain(&self, fault: Fault) -> Fault {
        if self.account() == Account::Aws { fault } else { self.login.sources.explain(fault) }
    }

    /// Whether the host has asked for credentials, and there are some.
    pub(in crate::registry) fn is_asked_for_login(&self) -> bool {
        self.login.ecr.is_some()
            || (self.login.sources.has_login() && !matches!(self.scheme.current(), AuthScheme::Unknown))
    }

    /// Whether the host wants tokens of a token service.
    pub(in crate::registry) fn uses_tokens(&self) -> bool {
        matches!(self.scheme.current(), AuthScheme::Token(_))
    }

    /// The credentials for the next request, with a token for `scopes` if the host wants one.
    pub(in crate::registry) async fn authorization(
        &self,
        transport: &Arc<Transport>,
        scopes: &[String],
        own: &RequestScheme,
    ) -> Result<Option<Authorization>, Fault> {
        if let Some(EcrIdentity { aws, registry, login }) = &self.login.ecr {
            // The scheme of ECR is known, which saves the first 401.
            if self.login.sources.is_empty() || self.login.sources.choose(transport).await?.is_none() {
                let token = login.token(aws, registry).await.map_err(Fault::Aws)?;
                return Ok(Some(Authorization {
                    header: token.value.clone(),
                    source: AuthorizationSource::Ecr(token),
                }));
            }
        }
        match self.scheme.of_request(own) {
            AuthScheme::Unknown => Ok(None),
            AuthScheme::Login => {
                let Some(login) = self.login.sources.choose(transport).await? else { return Ok(None) };
                let accepted_before = self.login_accepted.load(Ordering::Relaxed);
                let header = login_header(&login.login)?;
                Ok(Some(Authorization { header, source: AuthorizationSource::Login { login, accepted_before } }))
            }
            AuthScheme::Token(service) => {
                let token = self.token(transport, &service, scopes).await;
                let token = token.inspect_err(|fault| self.forget_unreachable_service(&service, fault))?;
                Ok(Some(Authorization { header: token.value.clone(), source: AuthorizationSource::Token(token) }))
            }
        }
    }

    /// A token of the token service.
    async fn token(
        &self,
        transport: &Arc<Transport>,
        service: &TokenService,
        scopes: &[String],
    ) -> Result<Arc<Token>, Fault> {
        let sources = &self.login.sources;
        let login = sources.choose(transport).await?;
        let token = service.token(transport, token_login(login.as_ref())?, scopes).await;
        match (token, login) {
            (Err(fault), Some(login)) if fault.is_unauthorized() => match sources.replace(transport, &login).await? {
                Some(other) => service.token(transport, token_login(Some(&other))?, scopes).await,
                // Nobody may have asked for this login: what is public is copied although it has expired.
                None if sources.can_do_without(&login, &fault) => {
                    service.token(transport, None, scopes).await.map_err(|_| fault)
                }
                None => Err(fault),
            },
            (token, _) => token,
        }
        .map_err(|fault| self.explain(fault))
    }

    /// The host accepted the scheme of a request: other requests use it too.
    pub(in crate::registry) fn confirm_scheme(&self, status: StatusCode, own: &mut RequestScheme) {
        self.scheme.confirm(status, own);
    }

    /// If a token service does not respond, the next challenge of the registry names the one to use: it may have moved.
    fn forget_unreachable_service(&self, service: &Arc<TokenService>, fault: &Fault) {
        if fault.is_error_response() {
            return;
        }
        self.scheme.forget(service);
    }

    /// Records whether the host accepted a login. Returns whether it rejected one that it accepted before: then a retry
    /// can help. Never twice in a row, since repeated rejections get accounts locked.
    pub(in crate::registry) fn record_status(&self, status: StatusCode, authorization: Option<&Authorization>) -> bool {
        let Some(&AuthorizationSource::Login { accepted_before, .. }) =
            authorization.map(|authorization| &authorization.source)
        else {
            return false;
        };
        match status {
            StatusCode::UNAUTHORIZED => self.login_accepted.store(false, Ordering::Relaxed),
            StatusCode::NOT_FOUND => self.login_accepted.store(true, Ordering::Relaxed),
            status if status.is_success() => self.login_accepted.store(true, Ordering::Relaxed),
            _ => {}
        }
        status == StatusCode::UNAUTHORIZED && accepted_before
    }

    /// What a status says of the credentials. For an expired token ECR returns 403, as for a forbidden action, and its
    /// public registry 400 (aws/containers-roadmap, issue 2835).
    pub(in crate::registry) fn rejection(
        &self,
        status: StatusCode,
        authorization: Option<&Authorization>,
    ) -> AuthRejection {
        use AuthorizationSource::{Ecr, Token};
        match (status, authorization.map(|authorization| &authorization.source)) {
            (StatusCode::UNAUTHORIZED, Some(Ecr(_))) => AuthRejection::Expired,
            (StatusCode::UNAUTHORIZED, _) => AuthRejection::Challenged,
            (StatusCode::FORBIDDEN, Some(Ecr(_))) => AuthRejection::MaybeExpired,
            (StatusCode::BAD_REQUEST, Some(Token(_))) if self.login.sources.is_public_ecr() => AuthRejection::Expired,
            _ => AuthRejection::None,
        }
    }

    /// Drops an expired token. Whether another one can be fetched now.
    pub(in crate::registry) fn invalidate(&self, authorization: Option<&Authorization>) -> bool {
        match (authorization.map(|authorization| &authorization.source), &self.login.ecr) {
            (Some(AuthorizationSource::Ecr(token)), Some(EcrIdentity { login, .. })) => login.invalidate(token),
            (Some(AuthorizationSource::Token(token)), _) => match self.scheme.current() {
                AuthScheme::Token(service) => {
                    service.invalidate(token);
                    true
                }
                AuthScheme::Unknown | AuthScheme::Login => false,
            },
            _ => false,
        }
    }

    /// Handles the 401 to a request begun at `begun`. Whether to send the request again: not with the same credentials.
    pub(in crate::registry) async fn handle_challenge(
        &self,
        transport: &Arc<Transport>,
        response: &Response,
        authorization: Option<&Authorization>,
        begun: Instant,
        own: &mut RequestScheme,
    ) -> Result<bool, Fault> {
        let offered = challenges(response.headers());
        let known = self.scheme.of_request(own);
        let sent = authorization.and_then(|authorization| match &authorization.source {
            AuthorizationSource::Login { login, .. } => Some(login),
            AuthorizationSource::Token(_) | AuthorizationSource::Ecr(_) => None,
        });
        // Only now, since many images can be had without a login.
        let login = match sent {
            Some(rejected) => self.login.sources.replace(transport, rejected).await?,
            None => self.login.sources.choose(transport).await?,
        };
        let login = login.as_ref().or(sent).map(|login| (&*login.login, sent.is_none() || login.is_other_than(sent)));
        let bearer = offered.iter().find_map(|challenge| match challenge {
            Challenge::Bearer { realm, service } => Some((realm, service)),
            Challenge::Basic => None,
        });
        match (login, bearer, &known) {
            (Some((Login::Token(_), is_unsent)), ..) => {
                self.scheme.learn(AuthScheme::Login, own);
                Ok(is_unsent)
            }
            (_, Some((realm, service)), known) => {
                let realm = checked_realm(realm, transport, response)?;
                match known {
                    AuthScheme::Token(known) if known.is(&realm, service.as_deref()) => {
                        Ok(invalidate_older(known, authorization, begun))
                    }
                    _ => {
                        self.scheme.learn(AuthScheme::Token(Arc::new(TokenService::new(realm, service.clone()))), own);
                        Ok(true)
                    }
                }
            }
            // A server behind the registry may omit the challenge.
            (_, None, AuthScheme::Token(known)) if offered.is_empty() => {
                Ok(invalidate_older(known, authorization, begun))
            }
            // Basic, or no challenge: only the login is left to send.
            (Some((Login::Password { .. }, is_unsent)), None, _) => {
                self.scheme.learn(AuthScheme::Login, own);
                Ok(is_unsent)
            }
            (_, None, _) => Ok(false),
        }
    }
}

/// Drops a rejected token. Whether to fetch another one: not if the rejected one was fetched for this request.
fn invalidate_older(service: &TokenService, authorization: Option<&Authorization>, begun: Instant) -> bool {
    match authorization.map(|authorization| &authorization.source) {
        Some(AuthorizationSource::Token(token)) => {
            service.invalidate(token);
            token.requested_at < begun
        }
        _ => true,
    }
}

/// Whether another token may be accepted although this one is new: not if its scope is insufficient.
pub(in crate::registry) fn can_be_renewed(headers: &HeaderMap, authorization: Option<&Authorization>) -> bool {
    authorization.is_some_and(|authorization| matches!(authorization.source, AuthorizationSource::Token(_)))
        && !is_insufficient_scope(headers)
}

/// A token service receives credentials and returns credentials: over plain HTTP only if the configuration allows it
/// and the registry uses plain HTTP too.
fn checked_realm(realm: &str, transport: &Transport, response: &Response) -> Result<Endpoint, Fault> {
    let url = Url::parse(realm).map_err(|error| {
        Fault::InvalidResponse(format!("the URL of the token service is invalid, {realm:?}: {error}"))
    })?;
    match url.scheme() {
        "https" => Ok(transport.referred(response, url)),
        "http" if response.url().scheme() == "http" && transport.allows_plain_http(&url) => {
            Ok(transport.referred(response, url))
        }
        "http" if transport.allows_plain_http(&url) => Err(Fault::Permanent(format!(
            "the registry uses TLS and its token service {:?} does not: no credentials are sent there",
            url.host_str().unwrap_or_default()
        ))),
        _ => Err(Fault::Permanent(format!(
            "the token service {:?} would be used without TLS: list that host as insecure to allow it",
            url.host_str().unwrap_or_default()
        ))),
    }
}

/// The credentials for a token service.
fn token_login(login: Option<&ChosenLogin>) -> Result<Option<TokenLogin>, Fault> {
    match login.map(|login| &*login.login) {
        Some(Login::Password { username, password }) if username == IDENTITY_TOKEN => {
            Ok(Some(TokenLogin::IdentityToken(password.clone())))
        }
        Some(login @ Login::Password { .. }) => login_header(login).map(TokenLogin::Basic).map(Some),
        Some(Login::Token(_)) | None => Ok(None),
    }
}

#[cfg(test)]
mod tests;
