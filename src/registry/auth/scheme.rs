//! Which authentication scheme a host wants. It changes only when a new one is confirmed, so that a registry that
//! challenges one repository differently each time does not disturb requests to the others.

use std::sync::{Arc, PoisonError, RwLock};

use http::StatusCode;

use super::token::TokenService;

/// What a host wants to be sent.
#[derive(Clone, Default)]
pub(super) enum AuthScheme {
    /// No challenge has been received yet: no credentials are sent.
    #[default]
    Unknown,
    Login,
    Token(Arc<TokenService>),
}

/// The scheme that the challenges to one request named, if it is not the host's.
#[derive(Default)]
pub(in crate::registry) struct RequestScheme(Option<AuthScheme>);

/// The scheme of a host.
#[derive(Default)]
pub(super) struct HostScheme(RwLock<Known>);

#[derive(Default)]
struct Known {
    scheme: AuthScheme,
    /// The last other scheme that a challenge named. It becomes the host's when another challenge names it too.
    candidate: AuthScheme,
}

impl AuthScheme {
    fn is_same_as(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Login, Self::Login) => true,
            (Self::Token(one), Self::Token(other)) => one.is_same_as(other),
            _ => false,
        }
    }
}

impl HostScheme {
    pub(super) fn current(&self) -> AuthScheme {
        self.0.read().unwrap_or_else(PoisonError::into_inner).scheme.clone()
    }

    /// The scheme that a request uses.
    pub(super) fn of_request(&self, own: &RequestScheme) -> AuthScheme {
        own.0.clone().unwrap_or_else(|| self.current())
    }

    /// Uses `new` for the request that was challenged, and for the host if it had none or an earlier challenge named the
    /// same.
    pub(super) fn learn(&self, new: AuthScheme, own: &mut RequestScheme) {
        let mut known = self.0.write().unwrap_or_else(PoisonError::into_inner);
        if known.scheme.is_same_as(&new) {
            own.0 = None;
        } else if matches!(known.scheme, AuthScheme::Unknown) || known.candidate.is_same_as(&new) {
            *known = Known { scheme: new, candidate: AuthScheme::Unknown };
            own.0 = None;
        } else {
            known.candidate = new.clone();
            own.0 = Some(new);
        }
    }

    /// If the host accepted the scheme of a request, other requests use it too.
    pub(super) fn confirm(&self, status: StatusCode, own: &mut RequestScheme) {
        if (status.is_success() || status == StatusCode::NOT_FOUND)
            && let Some(accepted) = own.0.take()
        {
            self.0.write().unwrap_or_else(PoisonError::into_inner).scheme = accepted;
        }
    }

    /// Waits for the next challenge, unless another scheme than that service's has been learned meanwhile.
    pub(super) fn forget(&self, service: &Arc<TokenService>) {
        let mut known = self.0.write().unwrap_or_else(PoisonError::into_inner);
        if matches!(&known.scheme, AuthScheme::Token(current) if Arc::ptr_eq(current, service)) {
            known.scheme = AuthScheme::Unknown;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::http::request::Endpoint;

    fn token(service: &str) -> AuthScheme {
        let realm = Endpoint::trusted("https://auth.example/token".parse().unwrap());
        AuthScheme::Token(Arc::new(TokenService::new(realm, Some(service.to_owned()))))
    }

    fn assert_uses(host: &HostScheme, own: &RequestScheme, scheme: &AuthScheme) {
        assert!(host.of_request(own).is_same_as(scheme));
    }

    #[test]
    fn the_first_challenge_decides_for_the_host() {
        let (host, mut own) = (HostScheme::default(), RequestScheme::default());
        host.learn(token("a"), &mut own);
        assert_uses(&host, &RequestScheme::default(), &token("a"));
    }

    #[test]
    fn another_scheme_is_the_requests_own_until_it_is_accepted_or_named_twice() {
        let host = HostScheme::default();
        host.learn(AuthScheme::Login, &mut RequestScheme::default());
        for service in ["a", "b", "c"] {
            let mut own = RequestScheme::default();
            host.learn(token(service), &mut own);
            assert_uses(&host, &own, &token(service));
            host.confirm(StatusCode::UNAUTHORIZED, &mut own);
            assert_uses(&host, &RequestScheme::default(), &AuthScheme::Login);
        }
        host.learn(token("c"), &mut RequestScheme::default());
        assert_uses(&host, &RequestScheme::default(), &token("c"));
        let mut own = RequestScheme::default();
        host.learn(token("d"), &mut own);
        host.confirm(StatusCode::OK, &mut own);
        assert_uses(&host, &RequestScheme::default(), &token("d"));
    }
}
