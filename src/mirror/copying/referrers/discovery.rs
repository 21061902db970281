//! What the source has beside an image.

use std::{
    collections::HashSet,
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
};

use futures::{StreamExt, stream};
use tokio::sync::Mutex;

use super::{budget::MAX_REFERRERS_OF_IMAGE, selection::ReferrerSelection, subjects::Subjects};
use crate::{
    mirror::copying::{
        endpoints::{Endpoints, ReferrerOrigin},
        source::Source,
    },
    model::{Digest, Failure, ReferrerFailure, ReferrerOutcome, Retry},
    registry::{Error, ReferrerEntry, ReferrerList},
};

/// Subjects whose referrers are looked for at once.
const CONCURRENT_LOOKS: usize = 4;

/// What the source has beside one manifest; never empty.
#[derive(Debug)]
pub(in crate::mirror) struct SubjectReferrers {
    pub subject: Digest,
    pub listed: Vec<ReferrerEntry>,
    pub tags: Vec<DigestTag>,
}

/// A tag that names the digest it belongs to.
#[derive(Debug)]
pub(in crate::mirror) struct DigestTag {
    pub tag: String,
    /// What it would be as a referrer.
    pub artifact_type: &'static str,
    pub digest: Digest,
}

/// What the source has beside an image.
#[derive(Debug, Default)]
pub(in crate::mirror) struct Discovery {
    pub subjects: Vec<SubjectReferrers>,
    /// The subjects whose referrers are not known.
    pub outcome: ReferrerOutcome,
}

impl Discovery {
    /// Whether nothing is to be copied.
    pub fn is_empty(&self) -> bool {
        self.subjects.is_empty()
    }

    pub fn failed(failure: ReferrerFailure) -> Self {
        let mut discovery = Self::default();
        discovery.fail(failure);
        discovery
    }

    /// Adds a failure to what was found.
    pub fn fail(&mut self, failure: ReferrerFailure) {
        self.outcome.fail(failure);
    }
}

/// What was learnt during one look at an image.
#[derive(Default)]
pub(in crate::mirror) struct Look {
    /// Whether the source, and the further source in its place, were found to have no referrers API: each is asked once for an
    /// image.
    has_no_api: [AtomicBool; 2],
    /// Referrers found so far, for all manifests of the image.
    count: AtomicUsize,
    /// Whether the source did not answer: further requests would take as long.
    is_silent: AtomicBool,
}

impl Look {
    /// The look begins, perhaps once more.
    pub fn begin(&self) {
        self.count.store(0, Ordering::Relaxed);
        self.is_silent.store(false, Ordering::Relaxed);
    }
}

/// Looks at the source for what belongs to an image: for each manifest one request to the referrers API, or up to two for
/// the index that takes its place, and one for each tag.
pub(in crate::mirror) struct Discoverer<'a> {
    asked: Asked<'a>,
    selection: &'a ReferrerSelection,
    look: &'a Look,
}

/// Who is asked.
#[derive(Clone, Copy)]
enum Asked<'a> {
    /// The source of a copy, or what gave the image in its place.
    OfCopy(&'a Endpoints<'a>),
    Source(&'a Source),
}

impl<'a> Asked<'a> {
    fn origin(self) -> Result<ReferrerOrigin<'a>, Failure> {
        match self {
            Self::OfCopy(endpoints) => endpoints.referrer_origin(),
            Self::Source(source) => Ok(ReferrerOrigin::Source(source)),
        }
    }
}

impl<'a> Discoverer<'a> {
    /// Asks where a copy reads.
    pub(super) fn of_copy(endpoints: &'a Endpoints<'a>, selection: &'a ReferrerSelection, look: &'a Look) -> Self {
        Self { asked: Asked::OfCopy(endpoints), selection, look }
    }

    /// Asks the source and nothing else.
    pub fn of_source(source: &'a Source, selection: &'a ReferrerSelection, look: &'a Look) -> Self {
        Self { asked: Asked::Source(source), selection, look }
    }

    /// Adds what is found to `found`, which has a part of it if the future is dropped.
    pub async fn discover(&self, subjects: &Subjects, found: &Mutex<Discovery>) {
        if subjects.is_cut {
            let referrer = "further images of the index".to_owned();
            let message = format!("only the first {} are looked at for referrers", subjects.digests.len());
            found.lock().await.fail(ReferrerFailure { referrer, message, retry: Retry::Later });
        }
        // The first one finds out whether there is an API.
        let mut digests = subjects.digests.iter().cloned();
        if let Some(first) = digests.next() {
            let mut first = self.look_at(first).await;
            if let Ok(ReferrerOrigin::Further(_, name)) = self.asked.origin()
                && let (SubjectReferrers { subject, listed, tags }, failures) = &mut first
                && listed.is_empty()
                && tags.is_empty()
                && failures.is_empty()
            {
                // It may list none although there are some: a cache does not always serve them.
                let message = format!("{name} has none, and the source does not have the image");
                failures.push(ReferrerFailure { referrer: subject.to_string(), message, retry: Retry::Soon });
            }
            add(&mut *found.lock().await, first);
        }
        let mut looks = stream::iter(digests).map(|subject| self.look_at(subject)).buffered(CONCURRENT_LOOKS);
        while let Some(look) = looks.next().await {
            add(&mut *found.lock().await, look);
        }
    }

    async fn look_at(&self, subject: Digest) -> (SubjectReferrers, Vec<ReferrerFailure>) {
        let mut failures = Vec::new();
        if self.look.is_silent.load(Ordering::Relaxed) {
            return (SubjectReferrers { subject, listed: Vec::new(), tags: Vec::new() }, failures);
        }
        let origin = match self.asked.origin() {
            Ok(origin) => origin,
            Err(Failure { message, retry, .. }) => {
                failures.push(ReferrerFailure { referrer: subject.to_string(), message, retry });
                return (SubjectReferrers { subject, listed: Vec::new(), tags: Vec::new() }, failures);
            }
        };
        let listed = match self.listed(&origin, &subject).await {
            Ok(list) => {
                if list.is_cut {
                    let message = format!(
                        "the source lists more than {} referrers; further ones are not copied",
                        list.entries.len()
                    );
                    failures.push(ReferrerFailure { referrer: subject.to_string(), message, retry: Retry::Later });
                }
                list.entries
            }
            Err(error) => {
                failures.push(self.failure(&subject.to_string(), &error));
                Vec::new()
            }
        };
        let mut seen = HashSet::new();
        let mut accepted = |entry: &ReferrerEntry| {
            entry.artifact_type.as_deref().is_none_or(|artifact_type| self.selection.accepts(artifact_type))
                && seen.insert(entry.digest.clone())
        };
        let listed: Vec<_> = listed.into_iter().filter(|entry| accepted(entry)).collect();
        let found = self.look.count.fetch_add(listed.len(), Ordering::Relaxed);
        let room = MAX_REFERRERS_OF_IMAGE.saturating_sub(found);
        if listed.len() > room {
            let message =
                format!("the image has more than {MAX_REFERRERS_OF_IMAGE} referrers; further ones are not copied");
            failures.push(ReferrerFailure { referrer: subject.to_string(), message, retry: Retry::Later });
        }
        let listed = listed.into_iter().take(room).collect();
        let mut tags = Vec::new();
        for (suffix, artifact_type) in self.selection.digest_tags() {
            if self.look.is_silent.load(Ordering::Relaxed) {
                break;
            }
            let tag = format!("{}.{suffix}", subject.referrers_tag());
            match origin.head(&tag).await {
                Ok(Some(digest)) => tags.push(DigestTag { tag, artifact_type, digest }),
                Ok(None) => {}
                Err(error) => failures.push(self.failure(&tag, &error)),
            }
        }
        (SubjectReferrers { subject, listed, tags }, failures)
    }

    fn failure(&self, referrer: &str, error: &Error) -> ReferrerFailure {
        if error.retry() != Retry::Later {
            self.look.is_silent.store(true, Ordering::Relaxed);
        }
        ReferrerFailure { referrer: referrer.to_owned(), message: error.to_string(), retry: error.retry() }
    }

    async fn listed(&self, origin: &ReferrerOrigin<'_>, subject: &Digest) -> Result<ReferrerList, Error> {
        let [at_source, further] = &self.look.has_no_api;
        let has_no_api = if matches!(origin, ReferrerOrigin::Source(_)) { at_source } else { further };
        if !has_no_api.load(Ordering::Relaxed) {
            if let Some(list) = origin.referrers(subject).await? {
                return Ok(list);
            }
            has_no_api.store(true, Ordering::Relaxed);
        }
        origin.fallback_referrers(subject).await
    }
}

fn add(discovery: &mut Discovery, (found, failures): (SubjectReferrers, Vec<ReferrerFailure>)) {
    failures.into_iter().for_each(|failure| discovery.outcome.fail(failure));
    if !found.listed.is_empty() || !found.tags.is_empty() {
        discovery.subjects.push(found);
    }
}
