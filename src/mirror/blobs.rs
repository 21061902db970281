//! Which blobs are on their way to a target, and where they are known to be there.

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, PoisonError},
};

use tokio::sync::{Mutex, OwnedMutexGuard};

use super::flight::Flight;
use crate::model::Digest;

/// How many blobs are remembered before those that nobody is busy with are dropped: forgetting costs a request at most.
const REMEMBERED: usize = 16_384;

type Turn = Arc<Mutex<Option<Home>>>;

/// Lets one of several images that share a blob bring it, while the others wait and then mount it.
#[derive(Debug, Default)]
pub struct Blobs {
    turns: std::sync::Mutex<HashMap<(String, Digest), Turn>>,
    /// Targets that mount nothing, whatever one waits for.
    unmountable: std::sync::Mutex<HashSet<String>>,
}

/// Where a blob is known to be.
#[derive(Clone, Debug)]
pub struct Home {
    /// The repository.
    pub repository: String,
    /// The image that it was found or brought for.
    pub flight: Arc<Flight>,
}

impl Blobs {
    /// Waits until nobody else is bringing this blob to this target. What is held then is where it is known to be,
    /// to be set by whoever finds or brings it.
    pub async fn turn(&self, target: &str, digest: &Digest) -> OwnedMutexGuard<Option<Home>> {
        let turn = {
            let mut turns = self.turns.lock().unwrap_or_else(PoisonError::into_inner);
            if turns.len() >= REMEMBERED {
                turns.retain(|_, turn| Arc::strong_count(turn) > 1);
            }
            turns.entry((target.to_owned(), digest.clone())).or_default().clone()
        };
        turn.lock_owned().await
    }

    /// Whether it pays to wait for something that this target could mount.
    pub fn may_mount_later(&self, target: &str) -> bool {
        !self.unmountable.lock().unwrap_or_else(PoisonError::into_inner).contains(target)
    }

    /// A target refused to mount even what a manifest of its own refers to.
    pub fn never_mounts(&self, target: &str) {
        self.unmountable.lock().unwrap_or_else(PoisonError::into_inner).insert(target.to_owned());
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
        assert!(first.is_none());
        let second = blobs.turn("default", &digest);
        tokio::pin!(second);
        assert!(futures::poll!(&mut second).is_pending(), "the blob is on its way");
        *first = Some(Home { repository: "library/base".into(), flight: Arc::default() });
        drop(first);
        assert_eq!(second.await.as_ref().map(|home| home.repository.as_str()), Some("library/base"));
        assert!(blobs.turn("other", &digest).await.is_none(), "targets do not share blobs");
    }
}
