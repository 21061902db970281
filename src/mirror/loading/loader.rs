//! Loads all names of a layout.

use std::{sync::Arc, time::Duration};

use futures::{StreamExt as _, stream};
use tokio::sync::Semaphore;

use super::{
    blob_turns::BlobTurns,
    names::{RepositoryNames, Unusable, by_repository},
    outcome::{LoadEvent, Loaded, OnEvent},
    repository_load::{CONCURRENT_NAMES, RepositoryLoad, destination},
    settings::LoadSettings,
};
use crate::{
    model::{Failure, FailureKind, Retry, Status, Target},
    registry::{LayoutError, LayoutSource, Store},
};

/// Loads a layout into a target.
pub struct Loader {
    layout: LayoutSource,
    store: Store,
    target: Arc<Target>,
    settings: LoadSettings,
}

impl Loader {
    /// `store` is that of `target`.
    pub fn new(layout: LayoutSource, store: Store, target: Arc<Target>, settings: LoadSettings) -> Self {
        Self { layout, store, target, settings }
    }

    /// Loads every name. What is wrong with one of them is told by its [`LoadEvent::Loaded`]. `on_event` is called from many
    /// tasks, and must not block.
    ///
    /// # Errors
    /// When the layout's index can't be read, or has no names.
    pub async fn load(&self, on_event: Arc<dyn Fn(LoadEvent<'_>) + Send + Sync>) -> Result<(), LayoutError> {
        let (repositories, unusable) = by_repository(self.layout.entries().await?);
        let names = repositories.values().map(RepositoryNames::len).sum::<usize>() + unusable.len();
        if names == 0 {
            let path = self.layout.path().to_owned();
            let reason =
                "has no images: its index.json names none; write them into it, for example with `sync`".to_owned();
            return Err(LayoutError::Unusable { path, reason });
        }
        on_event(LoadEvent::Names(names));
        for name in unusable {
            on_event(LoadEvent::Loaded(&not_loaded(name)));
        }
        let (blobs, permits) = (BlobTurns::default(), Semaphore::new(CONCURRENT_NAMES));
        let (blobs, permits, on_event) = (&blobs, &permits, &on_event);
        stream::iter(&repositories)
            .map(|(name, names)| async move {
                if self.settings.dry_pull {
                    self.tell(name, names, on_event);
                    return;
                }
                let load = RepositoryLoad {
                    layout: &self.layout,
                    store: &self.store,
                    target: &self.target,
                    name,
                    repository: self.store.repository(name),
                    settings: &self.settings,
                    blobs,
                    permits,
                    on_event,
                    lacking: tokio::sync::Mutex::default(),
                };
                load.load(names).await;
            })
            .buffer_unordered(CONCURRENT_NAMES)
            .for_each(|()| async {})
            .await;
        self.store.cancel_unused_uploads();
        Ok(())
    }

    fn tell(&self, repository: &str, names: &RepositoryNames, on_event: &OnEvent) {
        for name in names.all() {
            on_event(LoadEvent::Loaded(&Loaded {
                name: name.text.clone(),
                destination: Some(destination(&self.target, repository, name)),
                status: Status::WouldPull,
                referrers: None,
                bytes: 0,
                took: Duration::ZERO,
            }));
        }
    }
}

fn not_loaded(Unusable { text, reason }: Unusable) -> Loaded {
    let failure = Failure { kind: FailureKind::Source, message: reason, retry: Retry::Later };
    let (status, took) = (Status::Failed(failure), Duration::ZERO);
    Loaded { name: text, destination: None, status, referrers: None, bytes: 0, took }
}
