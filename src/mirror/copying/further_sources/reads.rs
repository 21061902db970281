//! What the further sources give for one job.

use std::{
    path::PathBuf,
    sync::{
        Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::time::{Instant, timeout};

use super::Known;
use crate::{
    model::{Digest, Failure, Retry, cut, error_chain},
    registry::{BlobStream, Descriptor, DigestReader, Manifest, Repository, StoreRepository, TransferPermit},
};

/// The most characters of what one place answered in an error.
const MAX_ANSWER: usize = 300;

/// The longest wait for a manifest, all attempts together: a cache may have to fetch it first.
const LONGEST_MANIFEST: Duration = Duration::from_secs(60);

/// How long a place may take to show that it answers otherwise.
const PROBE_TIMEOUT: Duration = Duration::from_secs(10);

/// The further sources that may have one job's image.
pub(in crate::mirror::copying) struct FurtherReads<'a> {
    places: Vec<Place<'a>>,
    /// The one that gave something last, and is asked first.
    first: AtomicUsize,
    /// They are asked before the image's registry, which fails.
    precede_source: AtomicBool,
    /// Why the image's registry did not give something that it was asked for.
    source_failure: Mutex<Option<Failure>>,
    /// Those that gave something.
    gave: Mutex<Vec<usize>>,
    /// The one that gave the image's own manifest.
    gave_root: OnceLock<usize>,
    were_asked: AtomicBool,
    /// Whether one that fails was not asked.
    skipped: AtomicBool,
}

/// A further source that gave something.
pub(in crate::mirror::copying) struct Given<'a> {
    pub name: &'a str,
    /// None for a layout.
    pub repository: Option<&'a Repository>,
}

/// One of them.
pub(super) struct Place<'a> {
    pub known: &'a Known,
    pub access: Access,
}

pub(super) enum Access {
    Reader(DigestReader),
    Layout(PathBuf),
}

/// A further source that is ready to be read.
pub(in crate::mirror::copying) struct Opened<'a> {
    index: usize,
    known: &'a Known,
    reader: DigestReader,
}

impl Opened<'_> {
    pub fn blob(&self, blob: &Descriptor) -> BlobStream {
        self.reader.blob(blob)
    }

    pub async fn permit(&self, target: &StoreRepository) -> TransferPermit {
        self.reader.permit(target).await
    }
}

impl<'a> FurtherReads<'a> {
    pub(super) fn new(places: Vec<Place<'a>>, precede_source: bool) -> Self {
        Self {
            places,
            first: AtomicUsize::new(0),
            precede_source: AtomicBool::new(precede_source),
            source_failure: Mutex::default(),
            gave: Mutex::default(),
            gave_root: OnceLock::new(),
            were_asked: AtomicBool::new(false),
            skipped: AtomicBool::new(false),
        }
    }

    pub fn is_empty(&self) -> bool {
        self.places.is_empty()
    }

    /// Whether they are asked before the image's registry, which fails.
    pub fn precede_source(&self) -> bool {
        self.precede_source.load(Ordering::Relaxed)
    }

    /// Whether each of them was asked for something.
    pub fn were_all_asked(&self) -> bool {
        self.were_asked.load(Ordering::Relaxed) && !self.skipped.load(Ordering::Relaxed)
    }

    /// The image's registry was asked and did not give something. Unless it only lacks that, these are asked first from now on.
    pub fn source_failed(&self, failure: &Failure) {
        let is_lack = failure.retry == Retry::Later;
        if !is_lack {
            self.precede_source.store(!self.is_empty(), Ordering::Relaxed);
        }
        let mut known = self.source_failure.lock().unwrap_or_else(PoisonError::into_inner);
        if known.as_ref().is_none_or(|known| known.retry == Retry::Later && !is_lack) {
            *known = Some(failure.clone());
        }
    }

    /// Why the image's registry did not give something that it was asked for; none if it did, or was not asked.
    pub fn source_failure(&self) -> Option<Failure> {
        self.source_failure.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The names of those that gave something, in the configured order.
    pub fn gave(&self) -> Vec<String> {
        let mut gave = self.given().clone();
        gave.sort_unstable();
        let names = gave.into_iter().filter_map(|index| Some(self.places.get(index)?.known.source.name.clone()));
        names.collect()
    }

    /// What gave the image's own manifest.
    pub fn root(&self) -> Option<Given<'_>> {
        self.gave_root.get().and_then(|index| self.given_by(*index))
    }

    /// A repository that gave a part of the image.
    pub fn repository(&self) -> Option<Given<'_>> {
        let gave = self.given().clone();
        gave.into_iter().filter_map(|index| self.given_by(index)).find(|given| given.repository.is_some())
    }

    fn given_by(&self, index: usize) -> Option<Given<'_>> {
        let place = self.places.get(index)?;
        let repository = match &place.access {
            Access::Reader(DigestReader::Registry(repository)) => Some(&**repository),
            Access::Reader(DigestReader::Layout(_)) | Access::Layout(_) => None,
        };
        Some(Given { name: &place.known.source.name, repository })
    }

    /// The image's own manifest.
    ///
    /// # Errors
    /// As [`Self::manifest`].
    pub async fn root_manifest(&self, digest: &Digest) -> Result<Manifest, Vec<String>> {
        let manifest = self.manifest(digest).await?;
        let _ = self.gave_root.set(self.first.load(Ordering::Relaxed));
        Ok(manifest)
    }

    /// A manifest, from the first that has it.
    ///
    /// # Errors
    /// What each of them answered.
    pub async fn manifest(&self, digest: &Digest) -> Result<Manifest, Vec<String>> {
        let mut answers = Vec::new();
        for index in self.order() {
            let Some(opened) = self.open(index, &mut answers).await else { continue };
            let name = &opened.known.source.name;
            match timeout(LONGEST_MANIFEST, opened.reader.manifest(digest)).await {
                Ok(Ok(Some(manifest))) => {
                    self.set_gave(&opened);
                    return Ok(manifest);
                }
                Ok(Ok(None)) => {
                    opened.known.answered();
                    answers.push(answer(name, "not found"));
                }
                Ok(Err(error)) => answers.push(self.failed(&opened, &error_chain(&error), error.retry()).await),
                Err(_) => {
                    let late = format!("no manifest within {} s", LONGEST_MANIFEST.as_secs());
                    answers.push(self.failed(&opened, &late, Retry::Soon).await);
                }
            }
        }
        Err(answers)
    }

    /// The order in which they are to be asked.
    pub fn order(&self) -> impl Iterator<Item = usize> + use<> {
        let (first, count) = (self.first.load(Ordering::Relaxed), self.places.len());
        (0..count).map(move |number| (first + number) % count.max(1))
    }

    /// One of them, ready to be read. Adds to `answers` why it can't be.
    pub async fn open(&self, index: usize, answers: &mut Vec<String>) -> Option<Opened<'a>> {
        let Place { known, access } = self.places.get(index)?;
        self.were_asked.store(true, Ordering::Relaxed);
        let name = &known.source.name;
        if let Err(error) = known.admission.admit(Instant::now()) {
            self.skipped.store(true, Ordering::Relaxed);
            answers.push(answer(name, &format!("not asked again yet: {error}")));
            return None;
        }
        let reader = match access {
            Access::Reader(reader) => reader.clone(),
            Access::Layout(path) => match known.layout.open(path).await {
                Ok(reader) => reader,
                Err(error) => {
                    known.failed(&error);
                    answers.push(answer(name, &error));
                    return None;
                }
            },
        };
        Some(Opened { index, known, reader })
    }

    /// One of them gave a part of the image.
    pub fn set_gave(&self, opened: &Opened<'_>) {
        opened.known.answered();
        self.first.store(opened.index, Ordering::Relaxed);
        let mut gave = self.given();
        if !gave.contains(&opened.index) {
            gave.push(opened.index);
        }
    }

    /// One of them could not give a part. Returns its name and the reason. It is left alone for a while if it does not answer
    /// otherwise either.
    pub async fn failed(&self, opened: &Opened<'_>, error: &str, retry: Retry) -> String {
        let known = opened.known;
        let is_up = retry == Retry::Later
            || match &opened.reader {
                DigestReader::Registry(repository) => {
                    timeout(PROBE_TIMEOUT, repository.is_up()).await.unwrap_or_default()
                }
                DigestReader::Layout(_) => false,
            };
        if is_up {
            known.answered();
        } else {
            known.failed(error);
        }
        answer(&known.source.name, error)
    }

    fn given(&self) -> MutexGuard<'_, Vec<usize>> {
        self.gave.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn answer(name: &str, error: &str) -> String {
    format!("{name}: {}", cut(error, MAX_ANSWER))
}
