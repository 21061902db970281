//! Authentication and authorization.

use std::collections::HashMap;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::json;

use super::{
    super::registry::{Access, PASSWORD, USER},
    fault::Fault,
    http::{RequestHead, Response},
};

/// The tokens of one registry, and its kind of authentication.
pub struct Tokens {
    pub access: Access,
    issued: HashMap<String, Vec<String>>,
    count: usize,
    challenges: usize,
}

impl Tokens {
    pub fn new(access: Access) -> Self {
        Self { access, issued: HashMap::new(), count: 0, challenges: 0 }
    }

    /// Whether a request may do `action` in a repository.
    pub fn allows(&self, head: &RequestHead, repository: &str, action: &str) -> bool {
        match self.access {
            Access::Anonymous => true,
            Access::Basic => has_valid_basic_auth(head),
            Access::Token => {
                let scopes =
                    bearer_token(head).and_then(|token| self.issued.get(token)).map(Vec::as_slice).unwrap_or_default();
                let granted = scopes.iter().filter_map(|scope| scope.strip_prefix("repository:")?.rsplit_once(':'));
                granted
                    .into_iter()
                    .any(|(name, actions)| name == repository && actions.split(',').any(|it| it == action))
            }
        }
    }

    /// Whether a request without repository is authenticated.
    pub fn has_valid_login(&self, head: &RequestHead) -> bool {
        match self.access {
            Access::Anonymous => true,
            Access::Basic => has_valid_basic_auth(head),
            Access::Token => bearer_token(head).is_some_and(|token| self.issued.contains_key(token)),
        }
    }

    /// Invalidates the token of a request.
    pub fn revoke(&mut self, head: &RequestHead) {
        bearer_token(head).and_then(|token| self.issued.remove(token));
    }

    /// The 401 of a registry at `host`.
    pub fn challenge(&self, host: &str) -> Response {
        let response = Response::error(401, "UNAUTHORIZED");
        match self.access {
            Access::Anonymous => response,
            Access::Basic => response.header("WWW-Authenticate", "Basic realm=\"scripted\""),
            Access::Token => response
                .header("WWW-Authenticate", format!("Bearer realm=\"http://{host}/token\",service=\"scripted\"")),
        }
    }

    /// A 401 with a new service or realm. Each of them issues tokens.
    pub fn other_challenge(&mut self, host: &str, realm: bool) -> Response {
        self.challenges += 1;
        let number = self.challenges;
        let challenge = if realm {
            format!("Bearer realm=\"http://{host}/token-{number}\",service=\"scripted\"")
        } else {
            format!("Bearer realm=\"http://{host}/token\",service=\"scripted-{number}\"")
        };
        Response::error(401, "UNAUTHORIZED").header("WWW-Authenticate", challenge)
    }

    /// The response of the token service.
    pub fn token(&mut self, head: &RequestHead, fault: Option<Fault>) -> Response {
        if self.access != Access::Anonymous && !has_valid_basic_auth(head) {
            return Response::error(401, "UNAUTHORIZED");
        }
        self.count += 1;
        let mut token = format!("token-{}", self.count);
        if fault == Some(Fault::EmptyToken) {
            token.clear();
        } else if fault != Some(Fault::InvalidToken) {
            self.issued.insert(token.clone(), head.query_values("scope").map(str::to_owned).collect());
        }
        let lifetime = if fault == Some(Fault::ShortLivedToken) { 1 } else { 300 };
        let body = json!({ "token": token, "expires_in": lifetime }).to_string();
        Response::new(200).header("Content-Type", "application/json").body(body)
    }
}

fn bearer_token(head: &RequestHead) -> Option<&str> {
    head.header("authorization")?.strip_prefix("Bearer ")
}

fn has_valid_basic_auth(head: &RequestHead) -> bool {
    let expected = format!("Basic {}", STANDARD.encode(format!("{USER}:{PASSWORD}")));
    head.header("authorization") == Some(expected.as_str())
}
