//! The cluster authorizes the callers of the endpoints that act.

use std::sync::Arc;

use futures::{FutureExt as _, future::BoxFuture};
use secrecy::SecretString;

use crate::{
    config::OperationsAuthorization,
    model::TokenVerdict,
    report::CallerAuthorization,
    workload::{BearerTokens, Client},
};

struct ByCluster(BearerTokens);

impl CallerAuthorization for ByCluster {
    fn verdict<'a>(&'a self, token: &'a SecretString, verb: &'a str, path: &'a str) -> BoxFuture<'a, TokenVerdict> {
        self.0.verdict(token, verb, path).boxed()
    }
}

/// None: everybody may call them.
pub fn authorization(setting: OperationsAuthorization, client: &Client) -> Option<Arc<dyn CallerAuthorization>> {
    match setting {
        OperationsAuthorization::None => None,
        OperationsAuthorization::Kubernetes => Some(Arc::new(ByCluster(BearerTokens::new(client.clone())))),
    }
}
