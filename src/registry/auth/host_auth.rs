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
            scheme::{AuthScheme, HostScheme, RequestScheme},
            token::{Token, TokenLogin, TokenService},
        },
        ecr::{AwsSession, EcrLogin, EcrToken, PublicLogin},
        fault::Fault,
        http::{request::Endpoint, response::Response, transport::Transport},
    },
};

/// The user name of an identity token, as `docker login` stores it.
const IDENTITY_TOKEN: &str = "<token>";

/// The authentication at a host.
pub(in crate::registry) struct HostAuth {
    login: HostLogin,
    scheme: HostScheme,
    /// Whether the registry accepted the login the last time it was sent.
    login_accepted: AtomicBool,
}

/// The available credentials.
pub(in crate::registry) enum HostLogin {
    Anonymous,
    /// From the configuration.
    Login(Login),
    /// AWS credentials for a private registry.
    Ecr {
        aws: AwsSession,
        registry: EcrRegistry,
        login: Arc<EcrLogin>,
    },
    /// AWS credentials, if there are any, for the public registry.
    EcrPublic {
        aws: AwsSession,
        login: Arc<PublicLogin>,
    },
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
        !matches!(self.login, HostLogin::Anonymous)
    }

    /// As whom the host is accessed.
    pub(in crate::registry) fn account(&self) -> Account {
        match &self.login {
            HostLogin::Anonymous => Account::Anonymous,
            HostLogin::Login(Login::Password { username, .. }) if username == IDENTITY_TOKEN => Account::Token,
            HostLogin::Login(Login::Password { username, .. }) => Account::User(username.clone()),
            HostLogin::Login(Login::Token(_)) => Account::Token,
            HostLogin::Ecr { .. } => Account::Aws,
            HostLogin::EcrPublic { .. } => Account::AwsOrAnonymous,
        }
    }

    /// Whether the host has asked for credentials, and there are some.
    pub(in crate::registry) fn is_asked_for_login(&self) -> bool {
        match &self.login {
            HostLogin::Anonymous => false,
            HostLogin::Ecr { .. } => true,
            HostLogin::Login(_) | HostLogin::EcrPublic { .. } => !matches!(self.scheme.current(), AuthScheme::Unknown),
        }
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
        // The scheme of ECR is known, which saves the first 401.
        if let HostLogin::Ecr { aws, registry, login } = &self.login {
            let token = login.token(aws, registry).await.map_err(Fault::Aws)?;
            return Ok(Some(Authorization { header: token.value.clone(), source: AuthorizationSource::Ecr(token) }));
        }
        let scheme = self.scheme.of_request(own);
        match (scheme, &self.login) {
            (AuthScheme::Login, HostLogin::Login(login)) => {
                let accepted_before = self.login_accepted.load(Ordering::Relaxed);
                let source = AuthorizationSource::Login { accepted_before };
                Ok(Some(Authorization { header: login_header(login)?, source }))
            }
            (AuthScheme::Unknown | AuthScheme::Login, _) => Ok(None),
            (AuthScheme::Token(service), login) => {
                let token = service.token(transport, token_login(login).await?, scopes).await;
                let token = token.inspect_err(|fault| self.forget_unreachable_service(&service, fault))?;
                Ok(Some(Authorization { header: token.value.clone(), source: AuthorizationSource::Token(token) }))
            }
        }
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
        let Some(&AuthorizationSource::Login { accepted_before }) =
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
        match (status, &self.login, authorization.map(|authorization| &authorization.source)) {
            (StatusCode::UNAUTHORIZED, HostLogin::Ecr { .. }, Some(Ecr(_))) => AuthRejection::Expired,
            (StatusCode::UNAUTHORIZED, ..) => AuthRejection::Challenged,
            (StatusCode::FORBIDDEN, HostLogin::Ecr { .. }, Some(Ecr(_))) => AuthRejection::MaybeExpired,
            (StatusCode::BAD_REQUEST, HostLogin::EcrPublic { .. }, Some(Token(_))) => AuthRejection::Expired,
            _ => AuthRejection::None,
        }
    }

    /// Drops an expired token. Whether another one can be fetched now.
    pub(in crate::registry) fn invalidate(&self, authorization: Option<&Authorization>) -> bool {
        match (authorization.map(|authorization| &authorization.source), &self.login) {
            (Some(AuthorizationSource::Ecr(token)), HostLogin::Ecr { login, .. }) => login.invalidate(token),
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
    pub(in crate::registry) fn handle_challenge(
        &self,
        transport: &Transport,
        response: &Response,
        authorization: Option<&Authorization>,
        begun: Instant,
        own: &mut RequestScheme,
    ) -> Result<bool, Fault> {
        let offered = challenges(response.headers());
        let known = self.scheme.of_request(own);
        let sent_login = authorization
            .is_some_and(|authorization| matches!(authorization.source, AuthorizationSource::Login { .. }));
        let bearer = offered.iter().find_map(|challenge| match challenge {
            Challenge::Bearer { realm, service } => Some((realm, service)),
            Challenge::Basic => None,
        });
        match (&self.login, bearer, &known) {
            (HostLogin::Login(Login::Token(_)), ..) => {
                self.scheme.learn(AuthScheme::Login, own);
                Ok(!sent_login)
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
            (HostLogin::Login(Login::Password { .. }), None, _) => {
                self.scheme.learn(AuthScheme::Login, own);
                Ok(!sent_login)
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
async fn token_login(login: &HostLogin) -> Result<Option<TokenLogin>, Fault> {
    match login {
        HostLogin::Login(Login::Password { username, password }) if username == IDENTITY_TOKEN => {
            Ok(Some(TokenLogin::IdentityToken(password.clone())))
        }
        HostLogin::Login(login @ Login::Password { .. }) => login_header(login).map(TokenLogin::Basic).map(Some),
        HostLogin::EcrPublic { aws, login } => {
            let basic = login.basic(aws).await.map_err(Fault::Aws)?;
            Ok(basic.map(TokenLogin::Basic))
        }
        HostLogin::Login(Login::Token(_)) | HostLogin::Anonymous | HostLogin::Ecr { .. } => Ok(None),
    }
}

#[cfg(test)]
mod tests {
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
            assert_eq!(
                authorizations(&server),
                [None, Some(basic.to_owned()), Some(basic.to_owned())],
                "{challenge:?}"
            );
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
}
