//! Loads the names of one repository: contents, then referrers, then tags.

use std::{collections::HashSet, sync::Arc};

use futures::{StreamExt as _, stream};
use tokio::sync::{Mutex, Semaphore};

use super::{
    blob_turns::BlobTurns,
    content::ContentCopy,
    list_order::in_order,
    name_load::NameLoad,
    names::{Name, RepositoryNames},
    outcome::OnEvent,
    referrer_list::{ReferrerList, tags_below},
    settings::LoadSettings,
};
use crate::{
    model::{Destination, Failure, FailureKind, ReferrerOutcome, Retry, Status, Target},
    registry::{Contents, LayoutSource, Manifest, ManifestRef, Store, StoreRepository},
};

/// Names of a layout that are loaded at once.
pub(super) const CONCURRENT_NAMES: usize = 4;

/// One repository of the layout, and of the target.
pub(super) struct RepositoryLoad<'a> {
    pub layout: &'a LayoutSource,
    pub store: &'a Store,
    pub target: &'a Arc<Target>,
    pub name: &'a str,
    pub repository: StoreRepository,
    pub settings: &'a LoadSettings,
    pub blobs: &'a BlobTurns,
    /// Names of all repositories at once.
    pub permits: &'a Semaphore,
    pub on_event: &'a OnEvent,
    /// The tags of lists, and of subjects of cosign's tags, that were not loaded.
    pub lacking: Mutex<HashSet<String>>,
}

impl RepositoryLoad<'_> {
    pub async fn load(&self, names: &RepositoryNames) {
        let has_referrers = !names.lists.is_empty() || !names.digest_tags.is_empty();
        let waiting: Vec<NameLoad<'_>> = stream::iter(&names.images)
            .map(|name| self.begin_image(name, has_referrers))
            .buffer_unordered(CONCURRENT_NAMES)
            .filter_map(|waiting| async { waiting })
            .collect()
            .await;
        for list in self.lists_in_order(&names.lists).await {
            self.load_list(list).await;
        }
        let tags = stream::iter(&names.digest_tags).map(|name| self.load_digest_tag(name));
        tags.buffer_unordered(CONCURRENT_NAMES).for_each(|()| async {}).await;
        let tags = stream::iter(waiting).map(|image| self.put_image(image));
        tags.buffer_unordered(CONCURRENT_NAMES).for_each(|()| async {}).await;
    }

    /// Copies an image, and puts it unless its referrers have to come before: then it is returned, and is at the target by its
    /// digest.
    async fn begin_image<'n>(&self, name: &'n Name, has_referrers: bool) -> Option<NameLoad<'n>> {
        let _permit = self.permits.acquire().await;
        let image = self.start(name);
        let result = async {
            let content = self.content(&image);
            if let Some(status) = image.mend_if_there(&content, self.settings).await? {
                return Ok(Some(status));
            }
            image.progress.begin();
            let manifest = content.manifest(&name.digest, &name.media_type).await?;
            if self.settings.dry_run {
                content.copy_contents(&manifest).await?;
                return Ok(Some(Status::WouldCopy(name.digest.clone())));
            }
            if has_referrers {
                content.push(ManifestRef::Child(&name.digest), &manifest).await?;
                return Ok(None);
            }
            image.put(&content, &manifest).await.map(Some)
        };
        match result.await {
            Ok(None) => Some(image),
            Ok(Some(status)) => {
                image.end(Ok(status), None);
                None
            }
            Err(failure) => {
                image.end(Err(failure), None);
                None
            }
        }
    }

    /// Puts an image whose referrers were loaded.
    async fn put_image(&self, image: NameLoad<'_>) {
        let _permit = self.permits.acquire().await;
        let result = async {
            let content = self.content(&image);
            let manifest = content.manifest(&image.name.digest, &image.name.media_type).await?;
            self.has_its_referrers(&manifest).await?;
            image.put(&content, &manifest).await
        };
        let result = result.await;
        image.end(result, None);
    }

    async fn has_its_referrers(&self, manifest: &Manifest) -> Result<(), Failure> {
        if !self.settings.referrers_required {
            return Ok(());
        }
        let children = match manifest.contents() {
            Ok(Contents::Index { manifests }) => manifests,
            Ok(Contents::Image { .. }) | Err(_) => Vec::new(),
        };
        let lacking = self.lacking.lock().await;
        let mut subjects = std::iter::once(manifest.digest()).chain(children.iter().map(|child| &child.digest));
        match subjects.find(|subject| lacking.contains(&subject.referrers_tag())) {
            None => Ok(()),
            Some(subject) => {
                let message = format!("a required referrer of {subject} was not loaded");
                Err(Failure { kind: FailureKind::Referrer, message, retry: Retry::Soon })
            }
        }
    }

    async fn lists_in_order<'n>(&self, lists: &'n [Name]) -> Vec<&'n Name> {
        let mut tags = Vec::with_capacity(lists.len());
        for list in lists {
            // What is wrong with it is told when it is loaded.
            let manifest = self.layout.read_manifest(&list.digest, &list.media_type).await;
            let below = manifest.map(|manifest| tags_below(&manifest).collect()).unwrap_or_default();
            tags.push((list.tag.as_deref().unwrap_or_default(), below));
        }
        in_order(&tags).into_iter().filter_map(|at| lists.get(at)).collect()
    }

    async fn load_list(&self, name: &Name) {
        let _permit = self.permits.acquire().await;
        let list = self.start(name);
        let result = async {
            let content = self.content(&list);
            let manifest = content.manifest(&name.digest, &name.media_type).await?;
            let tag = name.tag.as_deref().unwrap_or_default();
            list.progress.begin();
            ReferrerList { tag, manifest: &manifest }.load(&content).await
        };
        let (result, outcome) = match result.await {
            Ok(outcome) => (self.list_status(name, &outcome), Some(outcome)),
            Err(failure) => (Err(failure), None),
        };
        if result.is_err() {
            self.lacks(name).await;
        }
        list.end(result, outcome);
    }

    fn list_status(&self, name: &Name, outcome: &ReferrerOutcome) -> Result<Status, Failure> {
        if let Some(first) = outcome.failures.first() {
            let count = outcome.failed;
            let word = if count == 1 { "referrer was" } else { "referrers were" };
            let retry = if outcome.is_worth_a_retry { Retry::Soon } else { Retry::Later };
            let message = format!("{count} {word} not loaded: {first}");
            return Err(Failure { kind: FailureKind::Referrer, message, retry });
        }
        let digest = name.digest.clone();
        Ok(match (outcome.copied, self.settings.dry_run) {
            (0, _) => Status::AlreadyThere(digest),
            (_, true) => Status::WouldCopy(digest),
            (_, false) => Status::Copied(digest),
        })
    }

    async fn load_digest_tag(&self, name: &Name) {
        let _permit = self.permits.acquire().await;
        let tag = self.start(name);
        let result = async {
            let content = self.content(&tag);
            if let Some(status) = tag.mend_if_there(&content, self.settings).await? {
                return Ok(status);
            }
            tag.progress.begin();
            let manifest = content.manifest(&name.digest, &name.media_type).await?;
            tag.may_replace(&content, &manifest).await?;
            if self.settings.dry_run {
                content.copy_contents(&manifest).await?;
                return Ok(Status::WouldCopy(name.digest.clone()));
            }
            tag.put(&content, &manifest).await
        };
        let result = result.await;
        if result.is_err() {
            self.lacks(name).await;
        }
        tag.end(result, None);
    }

    async fn lacks(&self, name: &Name) {
        let tag = name.tag.as_deref().unwrap_or_default();
        self.lacking.lock().await.insert(tag.split('.').next().unwrap_or_default().to_owned());
    }

    fn start<'n>(&self, name: &'n Name) -> NameLoad<'n> {
        NameLoad::start(name, destination(self.target, self.name, name), self.on_event)
    }

    fn content<'c>(&'c self, load: &'c NameLoad<'_>) -> ContentCopy<'c> {
        ContentCopy {
            layout: self.layout,
            store: self.store,
            repository: &self.repository,
            destination: &load.destination,
            blobs: self.blobs,
            backoff: self.settings.backoff,
            max_concurrent_blobs: self.settings.max_concurrent_blobs,
            dry_run: self.settings.dry_run,
            progress: &load.progress,
            on_sent: load.on_sent(),
        }
    }
}

/// Where a name goes.
pub(super) fn destination(target: &Arc<Target>, repository: &str, name: &Name) -> Destination {
    Destination {
        target: Arc::clone(target),
        repository: repository.to_owned(),
        tag: name.tag.clone(),
        digest: name.tag.is_none().then(|| name.digest.clone()),
    }
}
