//! Parts that were looked at: images share layers, and each is looked at once in a repository.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use tokio::sync::OnceCell;

use super::content::PartState;
use crate::model::Digest;

/// Of about a thousand images with sixty parts each; then they are forgotten, which costs requests and nothing else.
const MAX_PARTS: usize = 100_000;

type Key = (String, String, Digest);

/// By target, repository and digest.
#[derive(Default)]
pub(super) struct KnownParts(Mutex<HashMap<Key, Arc<OnceCell<PartState>>>>);

impl KnownParts {
    /// The state of a part, looked at by the first who asks; `is_first`.
    pub async fn state(
        &self,
        target: &str,
        repository: &str,
        digest: &Digest,
        look: impl Future<Output = PartState>,
    ) -> (PartState, bool) {
        let cell = {
            let mut parts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            if parts.len() >= MAX_PARTS {
                parts.clear();
            }
            Arc::clone(parts.entry((target.to_owned(), repository.to_owned(), digest.clone())).or_default())
        };
        let mut is_first = false;
        let state = cell.get_or_init(|| {
            is_first = true;
            look
        });
        let state = state.await.clone();
        (state, is_first)
    }
}
