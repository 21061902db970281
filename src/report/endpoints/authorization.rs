//! Lets only those callers act whom the cluster knows and allows to.

use std::sync::Arc;

use axum::{
    extract::{Request, State},
    http::{HeaderMap, Method, StatusCode, header},
    middleware::Next,
    response::Response,
};
use futures::future::BoxFuture;
use secrecy::SecretString;
use serde::Serialize;

use super::answers::json;
use crate::model::TokenVerdict;

/// Decides who may use the endpoints that act.
pub trait CallerAuthorization: Send + Sync + 'static {
    /// What is known of the bearer of `token`, who wants to use `verb` (an HTTP method in lower case) on `path`. Has a
    /// deadline of its own.
    fn verdict<'a>(&'a self, token: &'a SecretString, verb: &'a str, path: &'a str) -> BoxFuture<'a, TokenVerdict>;
}

#[derive(Serialize)]
struct Refusal {
    message: String,
}

/// Passes a request on if its bearer may act. Methods that never act are passed on too: the endpoint refuses them.
pub(super) async fn guard(
    State(authorization): State<Arc<dyn CallerAuthorization>>,
    request: Request,
    next: Next,
) -> Response {
    let verb = match *request.method() {
        Method::GET => "get",
        Method::POST => "post",
        _ => return next.run(request).await,
    };
    let path = request.uri().path().to_owned();
    let Some(token) = bearer_token(request.headers()) else {
        return unauthorized(format!(
            "{path} needs a token: send the header `Authorization: Bearer TOKEN`, with TOKEN as from `kubectl create token \
             SERVICEACCOUNT`"
        ));
    };
    match authorization.verdict(&token, verb, &path).await {
        TokenVerdict::Allowed => next.run(request).await,
        TokenVerdict::Invalid => {
            unauthorized("the cluster does not know this token: it has expired, or is of another cluster".to_owned())
        }
        TokenVerdict::Denied { user } => {
            tracing::warn!(user, verb, path, "refused: the user may not do this");
            refuse(
                StatusCode::FORBIDDEN,
                format!(
                    "{user} may not {verb} {path}: grant {{nonResourceURLs: [{path}], verbs: [{verb}]}} by a ClusterRole"
                ),
            )
        }
        TokenVerdict::Unknown(problem) => {
            tracing::warn!(
                error = problem,
                verb,
                path,
                "refused: the API server can't be asked about the caller's token"
            );
            let message = "the API server can't be asked about this token; the log of k8s-copycat says why";
            refuse(StatusCode::SERVICE_UNAVAILABLE, message.to_owned())
        }
    }
}

/// The name of the scheme is case-insensitive (RFC 9110, section 11.1).
fn bearer_token(headers: &HeaderMap) -> Option<SecretString> {
    let (scheme, token) = headers.get(header::AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    let token = token.trim();
    (scheme.eq_ignore_ascii_case("bearer") && !token.is_empty()).then(|| token.into())
}

fn unauthorized(message: String) -> Response {
    let mut response = refuse(StatusCode::UNAUTHORIZED, message);
    response.headers_mut().insert(header::WWW_AUTHENTICATE, header::HeaderValue::from_static("Bearer"));
    response
}

fn refuse(status: StatusCode, message: String) -> Response {
    json(status, &Refusal { message })
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret as _;

    use super::*;

    #[test]
    fn a_bearer_token_is_read_from_its_header_alone() {
        let token = |value: &str| {
            let headers = HeaderMap::from_iter([(header::AUTHORIZATION, value.parse().unwrap())]);
            bearer_token(&headers).map(|token| token.expose_secret().to_owned())
        };
        assert_eq!(token("Bearer abc").as_deref(), Some("abc"));
        assert_eq!(token("bearer  abc ").as_deref(), Some("abc"));
        for value in ["Basic abc", "Bearer", "Bearer ", "abc", ""] {
            assert_eq!(token(value), None, "{value:?}");
        }
        assert!(bearer_token(&HeaderMap::new()).is_none());
    }
}
