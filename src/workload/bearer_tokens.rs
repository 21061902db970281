//! Whether the bearer of a token may use an endpoint: the API server is asked who it is (TokenReview) and whether RBAC
//! allows the path (SubjectAccessReview).

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use k8s_openapi::api::{
    authentication::v1::{TokenReview, TokenReviewSpec, UserInfo},
    authorization::v1::{NonResourceAttributes, SubjectAccessReview, SubjectAccessReviewSpec},
};
use kube::{Api, Client, api::PostParams};
use secrecy::{ExposeSecret as _, SecretString};
use sha2::{Digest as _, Sha256};
use tokio::{sync::Semaphore, time::timeout};

use super::{api::status, client::describe};
use crate::model::TokenVerdict;

/// Both reviews together.
const DEADLINE: Duration = Duration::from_secs(5);
/// How long a verdict is kept: a removed right, or a deleted account, counts after this at the latest.
const LIFETIME: Duration = Duration::from_secs(10);
/// When so many verdicts are kept, those that have expired are dropped, or else all.
const MAX_VERDICTS: usize = 256;
/// Callers without a valid token must not flood the API server.
const CONCURRENT_REVIEWS: usize = 4;
/// In bytes; those of the API server have some 1,200.
const LONGEST_TOKEN: usize = 16 * 1024;

/// Asks the API server about bearer tokens, and keeps its verdicts for some seconds.
pub struct BearerTokens {
    client: Client,
    verdicts: Mutex<HashMap<Key, (Instant, TokenVerdict)>>,
    reviews: Semaphore,
}

/// The token's hash with path and verb; never the token itself.
type Key = [u8; 32];

impl BearerTokens {
    /// Asks by this client.
    pub fn new(client: Client) -> Self {
        Self { client, verdicts: Mutex::default(), reviews: Semaphore::new(CONCURRENT_REVIEWS) }
    }

    /// Whether the bearer of `token` may use `verb` (an HTTP method in lower case) on `path`, within 5 s.
    pub async fn verdict(&self, token: &SecretString, verb: &str, path: &str) -> TokenVerdict {
        if token.expose_secret().len() > LONGEST_TOKEN {
            return TokenVerdict::Invalid;
        }
        let key = key(token, verb, path);
        if let Some(known) = self.known(&key, Instant::now()) {
            return known;
        }
        let verdict = timeout(DEADLINE, async {
            // Acquiring fails only if the semaphore is closed, which never happens.
            let _permit = self.reviews.acquire().await;
            self.ask(token, verb, path).await
        });
        match verdict.await {
            Ok(Ok(verdict)) => {
                self.keep(key, Instant::now(), verdict.clone());
                verdict
            }
            Ok(Err(problem)) => TokenVerdict::Unknown(problem),
            Err(_) => TokenVerdict::Unknown(format!("the API server did not answer within {} s", DEADLINE.as_secs())),
        }
    }

    fn known(&self, key: &Key, now: Instant) -> Option<TokenVerdict> {
        let verdicts = self.verdicts.lock().unwrap_or_else(PoisonError::into_inner);
        let (at, verdict) = verdicts.get(key)?;
        (now.saturating_duration_since(*at) < LIFETIME).then(|| verdict.clone())
    }

    fn keep(&self, key: Key, now: Instant, verdict: TokenVerdict) {
        let mut verdicts = self.verdicts.lock().unwrap_or_else(PoisonError::into_inner);
        if verdicts.len() >= MAX_VERDICTS {
            verdicts.retain(|_, (at, _)| now.saturating_duration_since(*at) < LIFETIME);
        }
        if verdicts.len() >= MAX_VERDICTS {
            verdicts.clear();
        }
        verdicts.insert(key, (now, verdict));
    }

    async fn ask(&self, token: &SecretString, verb: &str, path: &str) -> Result<TokenVerdict, String> {
        let review = TokenReview {
            spec: TokenReviewSpec { token: token.expose_secret().to_owned(), ..TokenReviewSpec::default() },
            ..TokenReview::default()
        };
        let reviews: Api<TokenReview> = Api::all(self.client.clone());
        let answer = reviews.create(&PostParams::default(), &review).await;
        let answer = answer.map_err(|error| refusal(&error, "authentication.k8s.io", "tokenreviews"))?;
        let answer = answer.status.unwrap_or_default();
        let user = match answer.user {
            Some(user) if answer.authenticated == Some(true) => user,
            _ => return Ok(TokenVerdict::Invalid),
        };
        let name = user.username.clone().unwrap_or_default();
        let reviews: Api<SubjectAccessReview> = Api::all(self.client.clone());
        let answer = reviews.create(&PostParams::default(), &access_review(user, verb, path)).await;
        let answer = answer.map_err(|error| refusal(&error, "authorization.k8s.io", "subjectaccessreviews"))?;
        match answer.status.is_some_and(|status| status.allowed) {
            true => Ok(TokenVerdict::Allowed),
            false => Ok(TokenVerdict::Denied { user: name }),
        }
    }
}

fn access_review(user: UserInfo, verb: &str, path: &str) -> SubjectAccessReview {
    let extra: Option<BTreeMap<_, _>> = user.extra.map(|extra| extra.into_iter().collect());
    SubjectAccessReview {
        spec: SubjectAccessReviewSpec {
            user: user.username,
            uid: user.uid,
            groups: user.groups,
            extra,
            non_resource_attributes: Some(NonResourceAttributes {
                path: Some(path.to_owned()),
                verb: Some(verb.to_owned()),
            }),
            ..SubjectAccessReviewSpec::default()
        },
        ..SubjectAccessReview::default()
    }
}

/// Why a review was not made, with the rule that the program itself lacks.
fn refusal(error: &kube::Error, group: &str, resource: &str) -> String {
    match status(error) {
        Some(403) => format!(
            "{}; add {{apiGroups: [{group}], resources: [{resource}], verbs: [create]}} to a ClusterRole of this program",
            describe(error)
        ),
        _ => describe(error),
    }
}

fn key(token: &SecretString, verb: &str, path: &str) -> Key {
    let mut hash = Sha256::new();
    for part in [verb, path, token.expose_secret()] {
        hash.update(part.len().to_le_bytes());
        hash.update(part);
    }
    hash.finalize().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tokens() -> BearerTokens {
        let config = kube::Config::new("http://127.0.0.1:9".parse().unwrap());
        BearerTokens::new(Client::try_from(config).unwrap())
    }

    #[tokio::test]
    async fn a_verdict_is_kept_for_some_seconds_for_one_token_path_and_verb() {
        let (tokens, now) = (tokens(), Instant::now());
        let token = SecretString::from("secret");
        let asked = key(&token, "post", "/force-reconcile");
        tokens.keep(asked, now, TokenVerdict::Allowed);
        assert_eq!(tokens.known(&asked, now + LIFETIME / 2), Some(TokenVerdict::Allowed));
        assert_eq!(tokens.known(&asked, now + LIFETIME), None);
        for other in [
            key(&token, "get", "/force-reconcile"),
            key(&token, "post", "/reset-cooldown"),
            key(&SecretString::from("Secret"), "post", "/force-reconcile"),
        ] {
            assert_eq!(tokens.known(&other, now), None);
        }
    }

    #[tokio::test]
    async fn the_number_of_kept_verdicts_is_bounded() {
        let (tokens, now) = (tokens(), Instant::now());
        for number in 0..MAX_VERDICTS + 10 {
            let token = SecretString::from(number.to_string());
            tokens.keep(key(&token, "post", "/"), now, TokenVerdict::Invalid);
        }
        assert!(tokens.verdicts.lock().unwrap().len() <= MAX_VERDICTS);
    }

    #[tokio::test]
    async fn an_api_server_that_cannot_be_asked_gives_no_verdict_to_keep() {
        let tokens = tokens();
        let token = SecretString::from("secret");
        let verdict = tokens.verdict(&token, "post", "/force-reconcile").await;
        assert!(matches!(&verdict, TokenVerdict::Unknown(problem) if !problem.contains("secret")), "{verdict:?}");
        assert!(tokens.verdicts.lock().unwrap().is_empty());
    }

    #[tokio::test]
    async fn an_endless_token_is_not_passed_on() {
        let token = SecretString::from("x".repeat(LONGEST_TOKEN + 1));
        assert_eq!(tokens().verdict(&token, "post", "/force-reconcile").await, TokenVerdict::Invalid);
    }
}
