//! Where an image is read, and with which credentials: those of matching pull secrets in turn, then the configured access.

use std::{
    fmt,
    sync::{Arc, OnceLock},
};

use tokio::sync::Mutex;
use tracing::debug;

use crate::{
    model::{Digest, PullLogin, PullSecretRefs, PullSecrets, Reference},
    registry::{Account, BlobStream, Descriptor, Error, Manifest, ReferrerList, Registries, Repository, TagOrDigest},
};

/// How many logins from pull secrets are tried for one image.
const MAX_LOGINS: usize = 32;

/// How many logins may be refused for another reason than rights, such as the quota of their account. More would load a
/// registry that limits everybody.
const MAX_REFUSALS: usize = 3;

/// How many reasons why pull secrets can't be used an error names.
const MAX_PROBLEMS: usize = 5;

/// The registries that images come from.
pub(in crate::mirror) struct Sources {
    pub registries: Registries,
    /// None if pull secrets are not used.
    pub pull_secrets: Option<Arc<dyn PullSecrets>>,
}

impl Sources {
    /// Sends nothing yet. Of `refs`, secrets are read when the source is needed.
    pub fn source(&self, image: &Reference, refs: &[Arc<PullSecretRefs>]) -> Source {
        let configured = self.registries.repository(image.registry(), image.repository());
        let pull_secrets = self.pull_secrets.as_ref().filter(|_| !refs.is_empty());
        let search = pull_secrets.map(|pull_secrets| Search {
            registries: self.registries.clone(),
            pull_secrets: Arc::clone(pull_secrets),
            image: image.clone(),
            refs: refs.to_vec(),
            chosen: OnceLock::new(),
            progress: Mutex::default(),
        });
        Source { configured, search }
    }
}

/// The repository of one image, for one job.
pub(in crate::mirror) struct Source {
    configured: Repository,
    /// None if there is nothing but the configured access.
    search: Option<Search>,
}

/// The search for credentials that open the image. The first that do are kept for the job.
struct Search {
    registries: Registries,
    pull_secrets: Arc<dyn PullSecrets>,
    image: Reference,
    refs: Vec<Arc<PullSecretRefs>>,
    chosen: OnceLock<Repository>,
    progress: Mutex<Progress>,
}

#[derive(Default)]
struct Progress {
    candidates: Vec<Candidate>,
    /// How many of `refs` have been read.
    read: usize,
    problems: Vec<String>,
    /// Whether a further attempt may find more.
    is_incomplete: bool,
    /// What became of the last question, if nothing opened the image.
    tried: Vec<String>,
}

#[derive(Clone)]
struct Candidate {
    login: PullLogin,
    repository: Repository,
    /// It is not sent again: repeated rejections get accounts locked.
    is_rejected: bool,
}

/// `pull secret shop/regcred`
impl fmt::Display for Candidate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "pull secret {}/{}", self.login.namespace, self.login.secret)
    }
}

impl Source {
    /// The repository as it was opened; with the configured access, if it was not read yet.
    pub fn repository(&self) -> &Repository {
        self.search.as_ref().and_then(|search| search.chosen.get()).unwrap_or(&self.configured)
    }

    /// As [`Repository::head`].
    pub async fn head(&self, selector: TagOrDigest<'_>) -> Result<Option<Digest>, Error> {
        self.ask(|repository| async move { repository.head(selector).await }).await
    }

    /// As [`Repository::manifest`].
    pub async fn manifest(&self, selector: TagOrDigest<'_>) -> Result<Manifest, Error> {
        let ask = |repository: Repository| async move { repository.manifest(selector).await.map(Some) };
        match self.ask(ask).await? {
            Some(manifest) => Ok(manifest),
            // Never: every answer above is a manifest or an error.
            None => self.configured.manifest(selector).await,
        }
    }

    /// As [`Repository::referrers`].
    pub async fn referrers(&self, subject: &Digest) -> Result<Option<ReferrerList>, Error> {
        self.choose(subject).await?;
        self.repository().referrers(subject).await
    }

    /// As [`Repository::fallback_referrers`].
    pub async fn fallback_referrers(&self, subject: &Digest) -> Result<ReferrerList, Error> {
        self.choose(subject).await?;
        self.repository().fallback_referrers(subject).await
    }

    /// Finds what opens the image, by its manifest: for other questions "not found" may be an answer.
    async fn choose(&self, manifest: &Digest) -> Result<(), Error> {
        if self.search.as_ref().is_some_and(|search| search.chosen.get().is_none()) {
            self.head(TagOrDigest::Digest(manifest)).await?;
        }
        Ok(())
    }

    /// As [`Repository::blob`].
    pub fn blob(&self, descriptor: &Descriptor) -> BlobStream {
        self.repository().blob(descriptor)
    }

    /// As [`Repository::is_up`].
    pub async fn is_up(&self) -> bool {
        self.repository().is_up().await
    }

    /// With what the image could not be opened, and whether a further attempt may have more; none if no pull secret could
    /// be tried.
    pub async fn tried(&self) -> Option<(String, bool)> {
        let progress = self.search.as_ref()?.progress.lock().await;
        let note = progress.note()?;
        Some((note, progress.is_incomplete))
    }

    async fn ask<T, F>(&self, ask: impl Fn(Repository) -> F) -> Result<Option<T>, Error>
    where
        F: Future<Output = Result<Option<T>, Error>>,
    {
        let Some(search) = &self.search else { return ask(self.configured.clone()).await };
        if let Some(chosen) = search.chosen.get() {
            return ask(chosen.clone()).await;
        }
        // Others wait for the outcome instead of trying the same.
        let mut progress = search.progress.lock().await;
        if let Some(chosen) = search.chosen.get() {
            drop(progress);
            return ask(chosen.clone()).await;
        }
        progress.tried.clear();
        let (mut missing, mut denied, mut refused) = (None, None, None);
        let mut refusals = 0;
        let mut index = 0;
        while let Some(candidate) = search.candidate(&mut progress, index).await {
            index += 1;
            if candidate.is_rejected {
                progress.tried.push(format!("{candidate}: denied"));
                continue;
            }
            match ask(candidate.repository.clone()).await {
                Ok(Some(found)) => {
                    debug!(source = %search.image, secret = %candidate, "the source is read with a pull secret");
                    let _ = search.chosen.set(candidate.repository);
                    return Ok(Some(found));
                }
                Ok(None) => progress.tried.push(format!("{candidate}: not found")),
                Err(error) if error.is_not_found() => {
                    progress.tried.push(format!("{candidate}: not found"));
                    missing = Some(error);
                }
                Err(error) if error.is_denied() => {
                    progress.tried.push(format!("{candidate}: denied"));
                    progress.set_rejected(index - 1, error.is_unauthorized());
                    if error.is_login_rejected() {
                        candidate.repository.set_login_rejected();
                    }
                    denied = Some(error);
                }
                // Malformed, or its account is limited: another namespace's login may do.
                Err(error) if error.is_refused() && refusals < MAX_REFUSALS => {
                    progress.tried.push(format!("{candidate}: {error}"));
                    refused = Some(error);
                    refusals += 1;
                }
                // The registry fails: the next login would not fare better.
                Err(error) => return Err(error.with_note(&format!("with {candidate}"))),
            }
        }
        let account = match self.configured.account() {
            Account::Anonymous => "anonymous".to_owned(),
            account => format!("configured credentials ({account})"),
        };
        match ask(self.configured.clone()).await {
            Ok(Some(found)) => {
                let _ = search.chosen.set(self.configured.clone());
                return Ok(Some(found));
            }
            Ok(None) => progress.tried.push(format!("{account}: not found")),
            Err(error) if error.is_not_found() => {
                progress.tried.push(format!("{account}: not found"));
                missing = Some(error);
            }
            Err(error) if error.is_denied() => {
                progress.tried.push(format!("{account}: denied"));
                denied = Some(error);
            }
            Err(error) => return Err(error),
        }
        // An account that may read the repository knows best whether something is there.
        let Some(error) = refused.or(missing).or(denied) else { return Ok(None) };
        let error = progress.note().iter().fold(error, |error, note| error.with_note(note));
        Err(if progress.is_incomplete { error.retried_soon() } else { error })
    }
}

impl Search {
    /// The next login to try. Reads secrets only as far as necessary.
    async fn candidate(&self, progress: &mut Progress, index: usize) -> Option<Candidate> {
        while index >= progress.candidates.len() && progress.candidates.len() < MAX_LOGINS {
            let refs = self.refs.get(progress.read)?;
            progress.read += 1;
            let found = self.pull_secrets.logins(refs, &self.image).await;
            progress.is_incomplete |= found.is_incomplete;
            for problem in found.problems {
                if !progress.problems.contains(&problem) {
                    progress.problems.push(problem);
                }
            }
            for login in found.logins {
                let is_known = |known: &Candidate| {
                    (&known.login.namespace, &known.login.secret, &known.login.login)
                        == (&login.namespace, &login.secret, &login.login)
                };
                if progress.candidates.len() < MAX_LOGINS && !progress.candidates.iter().any(is_known) {
                    let (registry, name) = (self.image.registry(), self.image.repository());
                    let repository =
                        self.registries.repository_with_login(registry, name, &login.namespace, &login.login);
                    let is_rejected = repository.is_login_rejected();
                    progress.candidates.push(Candidate { login, repository, is_rejected });
                }
            }
        }
        progress.candidates.get(index).cloned()
    }
}

impl Progress {
    fn set_rejected(&mut self, index: usize, is_rejected: bool) {
        if let Some(candidate) = self.candidates.get_mut(index) {
            candidate.is_rejected |= is_rejected;
        }
    }

    /// What was tried, and why no more could be; none if there is nothing to add to an error.
    fn note(&self) -> Option<String> {
        let mut parts = Vec::new();
        if !self.candidates.is_empty() {
            parts.push(format!("tried {}", self.tried.join(", ")));
        }
        parts.extend(self.problems.iter().take(MAX_PROBLEMS).cloned());
        if let Some(more) = self.problems.len().checked_sub(MAX_PROBLEMS).filter(|more| *more > 0) {
            parts.push(format!("and {more} more pull secrets can't be used"));
        }
        (!parts.is_empty()).then(|| parts.join("; "))
    }
}

#[cfg(test)]
mod tests;
