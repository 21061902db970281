//! Lets one name upload a blob that several have, and the others mount it.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use tokio::sync::{Mutex as AsyncMutex, OwnedMutexGuard};

use crate::model::Digest;

/// Blobs that are remembered; beyond it those that nobody waits for are forgotten, and found again by a request.
const MAX_BLOBS: usize = 50_000;

/// A repository of the target that has the blob; none is known yet.
type Place = Option<String>;

/// Where the blobs of the layout are at the target.
#[derive(Default)]
pub(super) struct BlobTurns {
    places: Mutex<HashMap<Digest, Arc<AsyncMutex<Place>>>>,
}

impl BlobTurns {
    /// Waits until no other name deals with the blob.
    pub async fn take(&self, blob: &Digest) -> OwnedMutexGuard<Place> {
        let place = {
            let mut places = self.places.lock().unwrap_or_else(PoisonError::into_inner);
            if places.len() >= MAX_BLOBS && !places.contains_key(blob) {
                places.retain(|_, place| Arc::strong_count(place) > 1);
            }
            Arc::clone(places.entry(blob.clone()).or_default())
        };
        place.lock_owned().await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_is_remembered_is_bounded() {
        let turns = BlobTurns::default();
        let held = Digest::sha256(b"held");
        let mut place = turns.take(&held).await;
        *place = Some("team/app".to_owned());
        for blob in 0..MAX_BLOBS + 10 {
            drop(turns.take(&Digest::sha256(&blob.to_be_bytes())).await);
        }
        drop(place);
        assert_eq!(turns.take(&held).await.as_deref(), Some("team/app"), "it was in use");
        assert!(turns.places.lock().unwrap().len() < MAX_BLOBS);
    }
}
