//! Which blobs are on their way to a target, and where they are known to be there.

use std::{collections::HashMap, sync::Arc};

use tokio::sync::{Mutex, OwnedMutexGuard};

use crate::model::Digest;

/// How many blobs are remembered before those that nobody is busy with are dropped: forgetting costs a request at most.
const REMEMBERED: usize = 16_384;

type Home = Arc<Mutex<Option<String>>>;

/// Lets one of several images that share a blob bring it, while the others wait and then mount it.
#[derive(Debug, Default)]
pub struct Blobs {
    homes: std::sync::Mutex<HashMap<(String, Digest), Home>>,
}

impl Blobs {
    /// Waits until nobody else is bringing this blob to this target. What is held then is the repository where it was
    /// last seen, to be set by whoever finds or brings it.
    pub async fn turn(&self, target: &str, digest: &Digest) -> OwnedMutexGuard<Option<String>> {
        let home = {
            let mut homes = self.homes.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            if homes.len() >= REMEMBERED {
                homes.retain(|_, home| Arc::strong_count(home) > 1);
            }
            homes.entry((target.to_owned(), digest.clone())).or_default().clone()
        };
        home.lock_owned().await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn one_brings_a_blob_and_the_next_learns_where_it_is() {
        let blobs = Blobs::default();
        let digest = Digest::sha256(b"layer");
        let mut first = blobs.turn("default", &digest).await;
        assert_eq!(*first, None);
        let second = blobs.turn("default", &digest);
        tokio::pin!(second);
        assert!(futures::poll!(&mut second).is_pending(), "the blob is on its way");
        *first = Some("library/base".into());
        drop(first);
        assert_eq!(second.await.as_deref(), Some("library/base"));
        assert_eq!(*blobs.turn("other", &digest).await, None, "targets do not share blobs");
    }
}
