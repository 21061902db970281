//! Indexes that were made for a target from some platforms of the source's: whether they have the platforms that are wanted
//! now. Only the source's index tells which platforms there are.

use std::{
    collections::{BTreeSet, HashMap},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::time::timeout;

use crate::{
    mirror::{
        copying::{PlatformSettings, RequestedPlatforms, Source},
        job::CopyJob,
    },
    model::{Digest, ImagePart, PartProblem, PartProblemKind, Platform, error_chain},
    registry::{IndexEntry, Manifest, TagOrDigest},
};

/// Indexes of sources that are remembered; then they are forgotten, which costs a request each.
const MAX_REMEMBERED: usize = 1024;

/// Entries of an index that is remembered; real ones have a few dozen.
const MAX_ENTRIES: usize = 200;

/// The longest wait for the source.
const LONGEST_QUESTION: Duration = Duration::from_secs(60);

/// What the source of an index at a target says.
pub(super) enum WantedPlatforms {
    /// The source has the index itself: it was not made for this target.
    Original,
    Known {
        /// Of the target's index.
        required: BTreeSet<Digest>,
        /// What the index lacks.
        missing: Vec<PartProblem>,
    },
    NotKnown {
        /// Of the target's index, as far as it tells.
        required: BTreeSet<Digest>,
        reason: String,
    },
}

/// A repository of a source, and the digest of an index.
type IndexKey = (String, Digest);

/// The entries of the indexes of sources.
#[derive(Default)]
pub(super) struct SourceIndexes(Mutex<HashMap<IndexKey, Arc<[IndexEntry]>>>);

impl SourceIndexes {
    fn get(&self, key: &IndexKey) -> Option<Arc<[IndexEntry]>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(key).cloned()
    }

    fn insert(&self, key: IndexKey, entries: &Arc<[IndexEntry]>) {
        if entries.len() > MAX_ENTRIES {
            return;
        }
        let mut indexes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if indexes.len() >= MAX_REMEMBERED {
            indexes.clear();
        }
        indexes.insert(key, Arc::clone(entries));
    }
}

/// The question which platforms an index is to have.
pub(super) struct MadeIndex<'a> {
    pub job: &'a CopyJob,
    /// What the target has.
    pub made: &'a Manifest,
    /// The digest of the index that it was made from, as it says.
    pub of: &'a Digest,
    pub requested: &'a RequestedPlatforms,
    pub settings: Option<&'a PlatformSettings>,
    /// None if it is not to be asked.
    pub source: Option<&'a Source>,
    /// What the source's tag means now, if that is known.
    pub at_source: Option<&'a Digest>,
    pub indexes: &'a SourceIndexes,
}

/// What the source's index is.
enum AtSource {
    /// The target's.
    Target,
    /// The one that the target's was made from.
    Same(Arc<[IndexEntry]>),
    /// A newer one.
    Newer(Arc<[IndexEntry]>),
    Unknown(String),
}

impl MadeIndex<'_> {
    pub async fn wanted(&self) -> WantedPlatforms {
        if self.at_source == Some(self.made.digest()) {
            return WantedPlatforms::Original;
        }
        // A malformed index is noted where its contents are read.
        let entries = self.made.entries().ok().flatten().unwrap_or_default();
        let Some(source) = self.source else { return self.not_known(&entries, "it was not asked") };
        let key = self.key(self.of);
        if let Some(known) = self.indexes.get(&key) {
            return self.compare(&entries, &known);
        }
        // A silent source must not take the time in which the target is looked at.
        match timeout(LONGEST_QUESTION, self.ask(source, key)).await {
            Ok(AtSource::Target) => WantedPlatforms::Original,
            Ok(AtSource::Same(known)) => self.compare(&entries, &known),
            Ok(AtSource::Newer(newer)) => self.compare_platforms(&entries, &newer),
            Ok(AtSource::Unknown(reason)) => self.not_known(&entries, &reason),
            Err(_) => self.not_known(&entries, &format!("it did not answer within {}s", LONGEST_QUESTION.as_secs())),
        }
    }

    fn key(&self, digest: &Digest) -> IndexKey {
        (format!("{}/{}", self.job.source.registry(), self.job.source.repository()), digest.clone())
    }

    async fn ask(&self, source: &Source, key: IndexKey) -> AtSource {
        // A source that is a mirror itself has indexes that were made for it.
        if self.at_source != Some(self.of) {
            match source.head(TagOrDigest::Digest(self.made.digest())).await {
                Ok(Some(_)) => return AtSource::Target,
                Ok(None) => {}
                Err(error) => return AtSource::Unknown(error_chain(&error)),
            }
        }
        let of_manifest = |manifest: Manifest| match manifest.entries() {
            Ok(entries) => Ok(Arc::from(entries.unwrap_or_default())),
            Err(error) => Err(error.to_string()),
        };
        let error = match source.manifest(TagOrDigest::Digest(self.of)).await {
            Ok(manifest) => {
                return match of_manifest(manifest) {
                    Ok(entries) => {
                        self.indexes.insert(key, &entries);
                        AtSource::Same(entries)
                    }
                    Err(error) => AtSource::Unknown(error),
                };
            }
            Err(error) => error,
        };
        let newer = self.at_source.filter(|_| error.is_not_found());
        let Some(newer) = newer else { return AtSource::Unknown(error_chain(&error)) };
        match source.manifest(TagOrDigest::Digest(newer)).await.map(of_manifest) {
            Ok(Ok(entries)) => AtSource::Newer(entries),
            Ok(Err(error)) => AtSource::Unknown(error),
            Err(error) => AtSource::Unknown(error_chain(&error)),
        }
    }

    /// By the rule of copies: what they would select of the source's index has to be there.
    fn compare(&self, made: &[IndexEntry], source: &[IndexEntry]) -> WantedPlatforms {
        let wanted = self.requested.matching(source).kept;
        let there: BTreeSet<&Digest> = made.iter().map(|entry| &entry.digest).collect();
        let missing = source.iter().filter(|entry| wanted.contains(&entry.digest) && !there.contains(&entry.digest));
        let missing = missing.map(|entry| {
            let platform = entry
                .platform
                .as_ref()
                .map_or_else(|| "an entry without a platform".to_owned(), |platform| platform.to_string());
            self.lacks(&entry.digest, &platform)
        });
        let missing = missing.collect();
        let required = made.iter().map(|entry| entry.digest.clone()).filter(|digest| wanted.contains(digest)).collect();
        WantedPlatforms::Known { required, missing }
    }

    /// Of a newer index the digests are others; its platforms tell at least which ones the target lacks.
    fn compare_platforms(&self, made: &[IndexEntry], newer: &[IndexEntry]) -> WantedPlatforms {
        let wanted = self.requested.matching(newer).kept;
        let is_there = |platform: &Platform| made.iter().any(|entry| entry.platform.as_ref() == Some(platform));
        let missing = newer.iter().filter(|entry| wanted.contains(&entry.digest)).filter_map(|entry| {
            let platform = entry.platform.as_ref().filter(|platform| !is_there(platform))?;
            Some(self.lacks(&entry.digest, &platform.to_string()))
        });
        WantedPlatforms::Known { missing: missing.collect(), required: self.requested.matching(made).kept }
    }

    fn lacks(&self, digest: &Digest, platform: &str) -> PartProblem {
        let message = format!("{platform} is wanted now, and the index at the target was made without it");
        PartProblem { digest: digest.clone(), part: ImagePart::Manifest, kind: PartProblemKind::Missing, message }
    }

    /// Without the source: complete if it has all that is wanted, except what is known not to exist.
    fn not_known(&self, made: &[IndexEntry], why: &str) -> WantedPlatforms {
        let matching = self.requested.matching(made);
        let is_expected = |platform: &Platform| {
            self.settings.is_some_and(|settings| settings.expects_missing(&self.job.source, platform))
        };
        let missing: Vec<String> =
            matching.missing.iter().filter(|platform| !is_expected(platform)).map(ToString::to_string).collect();
        let question = match self.requested {
            RequestedPlatforms::All => {
                "all platforms are mirrored, and which ones there are only the source tells".to_owned()
            }
            RequestedPlatforms::Only(_) if missing.is_empty() => {
                return WantedPlatforms::Known { required: matching.kept, missing: Vec::new() };
            }
            RequestedPlatforms::Only(_) => {
                format!("whether the image exists for {}, too, only the source tells", missing.join(", "))
            }
        };
        let reason =
            format!("the target has an index that was made of some platforms of {}; {question}: {why}", self.of);
        WantedPlatforms::NotKnown { required: matching.kept, reason }
    }
}
