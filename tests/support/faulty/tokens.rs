//! Who may do what.

use std::collections::HashMap;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::json;

use super::{
    super::registry::{Access, PASSWORD, USER},
    fault::Fault,
    http::{Answer, Head},
};

/// The tokens of one registry, and how it knows its users.
pub struct Tokens {
    pub access: Access,
    given: HashMap<String, Vec<String>>,
    count: usize,
    challenges: usize,
}

impl Tokens {
    pub fn new(access: Access) -> Self {
        Self { access, given: HashMap::new(), count: 0, challenges: 0 }
    }

    /// Whether a request may do `action` in a repository.
    pub fn allow(&self, head: &Head, repository: &str, action: &str) -> bool {
        match self.access {
            Access::Anonymous => true,
            Access::Basic => knows(head),
            Access::Token => {
                let scopes = shown(head).and_then(|token| self.given.get(token)).map(Vec::as_slice).unwrap_or_default();
                let granted = scopes.iter().filter_map(|scope| scope.strip_prefix("repository:")?.rsplit_once(':'));
                granted
                    .into_iter()
                    .any(|(name, actions)| name == repository && actions.split(',').any(|it| it == action))
            }
        }
    }

    /// Whether a request may ask for what is about no repository.
    pub fn admit(&self, head: &Head) -> bool {
        match self.access {
            Access::Anonymous => true,
            Access::Basic => knows(head),
            Access::Token => shown(head).is_some_and(|token| self.given.contains_key(token)),
        }
    }

    /// The token that a request shows is good no more.
    pub fn revoke(&mut self, head: &Head) {
        shown(head).and_then(|token| self.given.remove(token));
    }

    /// A 401 of a registry that is found at `host`.
    pub fn challenge(&self, host: &str) -> Answer {
        let answer = Answer::error(401, "UNAUTHORIZED");
        match self.access {
            Access::Anonymous => answer,
            Access::Basic => answer.header("WWW-Authenticate", "Basic realm=\"scripted\""),
            Access::Token => {
                answer.header("WWW-Authenticate", format!("Bearer realm=\"http://{host}/token\",service=\"scripted\""))
            }
        }
    }

    /// A 401 that names a service, or a realm, that none before it named. Every one of them gives tokens.
    pub fn other_challenge(&mut self, host: &str, realm: bool) -> Answer {
        self.challenges += 1;
        let number = self.challenges;
        let challenge = if realm {
            format!("Bearer realm=\"http://{host}/token-{number}\",service=\"scripted\"")
        } else {
            format!("Bearer realm=\"http://{host}/token\",service=\"scripted-{number}\"")
        };
        Answer::error(401, "UNAUTHORIZED").header("WWW-Authenticate", challenge)
    }

    /// What the token service says.
    pub fn token(&mut self, head: &Head, fault: Option<Fault>) -> Answer {
        if self.access != Access::Anonymous && !knows(head) {
            return Answer::error(401, "UNAUTHORIZED");
        }
        self.count += 1;
        let mut token = format!("token-{}", self.count);
        if fault == Some(Fault::EmptyToken) {
            token.clear();
        } else if fault != Some(Fault::BadToken) {
            self.given.insert(token.clone(), head.queried("scope").map(str::to_owned).collect());
        }
        let life = if fault == Some(Fault::ShortToken) { 1 } else { 300 };
        let body = json!({ "token": token, "expires_in": life }).to_string();
        Answer::new(200).header("Content-Type", "application/json").body(body)
    }
}

/// The token that a request shows.
fn shown(head: &Head) -> Option<&str> {
    head.header("authorization")?.strip_prefix("Bearer ")
}

fn knows(head: &Head) -> bool {
    let expected = format!("Basic {}", STANDARD.encode(format!("{USER}:{PASSWORD}")));
    head.header("authorization") == Some(expected.as_str())
}
