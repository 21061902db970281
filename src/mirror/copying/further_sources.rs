//! Where an image may be had when its registry can't give it. These places are asked by digest only, and what they give is
//! verified: none of them decides what a tag means.

use std::{
    path::PathBuf,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::{sync::OnceCell, time::Instant};
use tracing::warn;

use crate::{
    mirror::job::CopyJob,
    model::{Digest, Failure, Reference, Retry, cut, error_chain},
    registry::{
        BlobStream, Descriptor, DigestReader, LayoutSource, Manifest, Registries, Repository, Store, StoreRepository,
        TransferPermit,
    },
};

/// How long a place is left alone after it failed: an image that it may not have need not wait for its timeouts.
const PAUSE_AFTER_FAILURE: Duration = Duration::from_secs(60);

/// The most characters of what one place answered in an error.
const MAX_ANSWER: usize = 300;

/// A place where images may be had.
pub struct FurtherSource {
    /// For logs and messages.
    pub name: String,
    /// It is asked for images with this registry, or this beginning of registry and repository, alone; none for all.
    pub prefix: Option<String>,
    /// Which place it is.
    pub place: FurtherPlace,
}

/// A kind of place.
pub enum FurtherPlace {
    /// A registry that has the repositories of other registries below `path`.
    Registry {
        /// Access with the credentials of sources.
        registries: Registries,
        /// `host[:port]`
        host: String,
        /// The path before what follows the prefix in an image's name; may be empty.
        path: String,
    },
    /// Another target: the image is where the policy places it there.
    Target {
        /// Its name.
        name: String,
        /// Its access.
        store: Store,
    },
    /// An image layout: a folder, or a tar file of one.
    Layout(PathBuf),
}

impl FurtherSource {
    /// What follows the prefix in an image's name; none if it does not begin with it. Without a prefix it is the whole name.
    fn rest(&self, image: &Reference) -> Option<String> {
        let name = format!("{}/{}", image.registry(), image.repository());
        let Some(prefix) = &self.prefix else {
            // As in the names that the prefix `$registry` makes.
            return Some(name.replace(':', "-"));
        };
        let rest = name.strip_prefix(prefix.as_str())?;
        if rest.is_empty() { Some(String::new()) } else { rest.strip_prefix('/').map(str::to_owned) }
    }

    fn may_have(&self, image: &Reference) -> bool {
        self.prefix.is_none() || self.rest(image).is_some()
    }
}

/// All further sources, and which of them fail.
#[derive(Default)]
pub(super) struct FurtherSources(Vec<Known>);

struct Known {
    source: FurtherSource,
    /// Opened when it is first needed: it may be mounted on the day of the outage.
    layout: OnceCell<LayoutSource>,
    failed: Mutex<Option<Failed>>,
}

#[derive(Clone)]
struct Failed {
    at: Instant,
    error: String,
}

impl FurtherSources {
    pub fn new(sources: Vec<FurtherSource>) -> Self {
        let known =
            sources.into_iter().map(|source| Known { source, layout: OnceCell::new(), failed: Mutex::default() });
        Self(known.collect())
    }

    /// Whether one of them may have the image.
    pub fn may_have(&self, image: &Reference) -> bool {
        self.0.iter().any(|known| known.source.may_have(image))
    }

    /// Whether one of them may have images of a registry.
    pub fn may_have_images_of(&self, registry: &str) -> bool {
        let is_of = |prefix: &String| prefix.split('/').next() == Some(registry);
        self.0.iter().any(|known| known.source.prefix.as_ref().is_none_or(is_of))
    }

    /// Whether targets are among them.
    pub fn have_targets(&self) -> bool {
        self.0.iter().any(|known| matches!(known.source.place, FurtherPlace::Target { .. }))
    }

    /// Those that may have a job's image.
    pub fn of<'a>(&'a self, job: &'a CopyJob) -> FurtherReads<'a> {
        let places = self.0.iter().filter_map(|known| {
            let access = match &known.source.place {
                FurtherPlace::Registry { registries, host, path } => {
                    let rest = known.source.rest(&job.source)?;
                    let repository = [path.as_str(), &rest].into_iter().filter(|part| !part.is_empty());
                    let repository = repository.collect::<Vec<_>>().join("/");
                    let is_own = *host == job.source.registry() && repository == job.source.repository();
                    if is_own || Reference::check_repository(&repository).is_err() {
                        return None;
                    }
                    Access::Reader(DigestReader::registry(registries, host, &repository))
                }
                FurtherPlace::Target { name, store } => {
                    let there = |place: &&crate::model::Destination| place.target.name == *name;
                    let place = job.other_destinations.iter().find(there)?;
                    known.source.may_have(&job.source).then_some(())?;
                    Access::Reader(store.reader(&place.repository))
                }
                FurtherPlace::Layout(_) => {
                    known.source.may_have(&job.source).then_some(())?;
                    Access::Layout
                }
            };
            Some(Place { known, access })
        });
        FurtherReads {
            places: places.collect(),
            first: AtomicUsize::new(0),
            precede_source: AtomicBool::new(job.source_unavailable.is_some()),
            source_failure: Mutex::default(),
            gave: Mutex::default(),
        }
    }
}

/// The further sources of one job.
pub(super) struct FurtherReads<'a> {
    places: Vec<Place<'a>>,
    /// The one that gave something last, and is asked first.
    first: AtomicUsize,
    /// They are asked before the image's registry, which fails.
    precede_source: AtomicBool,
    /// Why the image's registry did not give something that it was asked for, the first time.
    source_failure: Mutex<Option<Failure>>,
    /// Those that gave something.
    gave: Mutex<Vec<usize>>,
}

struct Place<'a> {
    known: &'a Known,
    access: Access,
}

enum Access {
    Reader(DigestReader),
    Layout,
}

/// A further source that is ready to be read.
pub(super) struct Opened<'a> {
    index: usize,
    pub name: &'a str,
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
    pub fn is_empty(&self) -> bool {
        self.places.is_empty()
    }

    /// Whether they are asked before the image's registry, which fails.
    pub fn precede_source(&self) -> bool {
        self.precede_source.load(Ordering::Relaxed)
    }

    /// The image's registry was asked and did not give something. Unless it only lacks that, these are asked first from now on.
    pub fn source_failed(&self, failure: &Failure) {
        if failure.retry != Retry::Later {
            self.precede_source.store(!self.is_empty(), Ordering::Relaxed);
        }
        let mut first = self.source_failure.lock().unwrap_or_else(PoisonError::into_inner);
        first.get_or_insert_with(|| failure.clone());
    }

    /// Why the image's registry did not give something that it was asked for; none if it did, or was not asked.
    pub fn source_failure(&self) -> Option<Failure> {
        self.source_failure.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The names of those that gave something; none if the image's registry gave everything.
    pub fn gave(&self) -> Option<String> {
        let gave = self.gave.lock().unwrap_or_else(PoisonError::into_inner);
        let names = gave.iter().filter_map(|index| Some(self.places.get(*index)?.known.source.name.as_str()));
        (!gave.is_empty()).then(|| names.collect::<Vec<_>>().join(", "))
    }

    /// The repository that gave a part of the image, where its referrers may be too. A layout tells nothing of them.
    pub fn repository_that_gave(&self) -> Option<&Repository> {
        let gave = self.gave.lock().unwrap_or_else(PoisonError::into_inner).clone();
        gave.into_iter().find_map(|index| match &self.places.get(index)?.access {
            Access::Reader(DigestReader::Registry(repository)) => Some(&**repository),
            Access::Reader(DigestReader::Layout(_)) | Access::Layout => None,
        })
    }

    /// A manifest, from the first that has it.
    ///
    /// # Errors
    /// What each of them answered.
    pub async fn manifest(&self, digest: &Digest) -> Result<Manifest, Vec<String>> {
        let mut answers = Vec::new();
        for index in self.order() {
            let Some(opened) = self.open(index, &mut answers).await else { continue };
            match opened.reader.manifest(digest).await {
                Ok(Some(manifest)) => {
                    self.set_gave(&opened);
                    return Ok(manifest);
                }
                Ok(None) => answers.push(format!("{}: not found", opened.name)),
                Err(error) => answers.push(self.failed(&opened, &error_chain(&error), error.retry())),
            }
        }
        Err(answers)
    }

    /// Those that can be read now, in the order in which they are to be asked. Adds to `answers` why others can't.
    pub async fn opened(&self, answers: &mut Vec<String>) -> Vec<Opened<'a>> {
        let mut opened = Vec::with_capacity(self.places.len());
        for index in self.order() {
            opened.extend(self.open(index, answers).await);
        }
        opened
    }

    /// One of them gave a part of the image.
    pub fn set_gave(&self, opened: &Opened<'_>) {
        self.first.store(opened.index, Ordering::Relaxed);
        let mut gave = self.gave.lock().unwrap_or_else(PoisonError::into_inner);
        if !gave.contains(&opened.index) {
            gave.push(opened.index);
        }
    }

    /// One of them could not give a part. Returns its name and the reason; it is left alone for a while if it fails for other
    /// images too.
    pub fn failed(&self, opened: &Opened<'_>, error: &str, retry: Retry) -> String {
        if retry != Retry::Later
            && let Some(place) = self.places.get(opened.index)
        {
            place.known.set_failed(error);
        }
        answer(opened.name, error)
    }

    fn order(&self) -> impl Iterator<Item = usize> + use<> {
        let (first, count) = (self.first.load(Ordering::Relaxed), self.places.len());
        (0..count).map(move |number| (first + number) % count.max(1))
    }

    async fn open(&self, index: usize, answers: &mut Vec<String>) -> Option<Opened<'a>> {
        let place = self.places.get(index)?;
        let name = place.known.source.name.as_str();
        if let Some(error) = place.known.recent_failure() {
            answers.push(answer(name, &format!("not asked again yet: {error}")));
            return None;
        }
        let reader = match (&place.access, &place.known.source.place) {
            (Access::Reader(reader), _) => reader.clone(),
            (Access::Layout, FurtherPlace::Layout(path)) => {
                match place.known.layout.get_or_try_init(|| LayoutSource::open(path.clone())).await {
                    Ok(layout) => DigestReader::Layout(layout.clone()),
                    Err(error) => {
                        let error = error_chain(&error);
                        place.known.set_failed(&error);
                        answers.push(answer(name, &error));
                        return None;
                    }
                }
            }
            (Access::Layout, _) => return None,
        };
        Some(Opened { index, name, reader })
    }
}

impl Known {
    fn recent_failure(&self) -> Option<String> {
        let failed = self.failed.lock().unwrap_or_else(PoisonError::into_inner);
        failed.as_ref().filter(|failed| failed.at.elapsed() < PAUSE_AFTER_FAILURE).map(|failed| failed.error.clone())
    }

    fn set_failed(&self, error: &str) {
        warn!(
            source = self.source.name,
            error,
            seconds = PAUSE_AFTER_FAILURE.as_secs(),
            "a further source fails; it is asked again after `seconds`"
        );
        let failed = Failed { at: Instant::now(), error: cut(error, MAX_ANSWER).into_owned() };
        *self.failed.lock().unwrap_or_else(PoisonError::into_inner) = Some(failed);
    }
}

fn answer(name: &str, error: &str) -> String {
    format!("{name}: {}", cut(error, MAX_ANSWER))
}

/// A failure of the image's registry, with what the further sources answered.
pub(super) fn with_answers(failure: Failure, answers: &[String]) -> Failure {
    if answers.is_empty() {
        return failure;
    }
    Failure { message: format!("{}; further sources: {}", failure.message, answers.join("; ")), ..failure }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(prefix: Option<&str>) -> FurtherSource {
        let place = FurtherPlace::Layout("/nowhere".into());
        FurtherSource { name: "test".to_owned(), prefix: prefix.map(str::to_owned), place }
    }

    #[test]
    fn a_prefix_ends_with_a_part_of_the_name() {
        for (prefix, image, rest) in [
            (None, "nginx", Some("docker.io/library/nginx")),
            (None, "localhost:5000/a/b", Some("localhost-5000/a/b")),
            (Some("docker.io"), "nginx", Some("library/nginx")),
            (Some("docker.io"), "docker.io.example/a", None),
            (Some("quay.io/acme"), "quay.io/acme/app:1", Some("app")),
            (Some("quay.io/acme"), "quay.io/acme", Some("")),
            (Some("quay.io/acme"), "quay.io/acme-corp/app", None),
            (Some("localhost:5000"), "localhost:5000/a/b", Some("a/b")),
        ] {
            let found = source(prefix).rest(&image.parse().unwrap());
            assert_eq!(found.as_deref(), rest, "{prefix:?} {image}");
        }
    }

    #[tokio::test]
    async fn what_the_places_answered_is_told_and_one_that_fails_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("layout");
        let name = format!("layout {}", path.display());
        let place = FurtherSource { name, prefix: None, place: FurtherPlace::Layout(path.clone()) };
        let sources = FurtherSources::new(vec![place]);
        let job = crate::mirror::testing::job("docker.io/library/nginx:1");
        let digest = Digest::sha256(b"");
        let first = sources.of(&job).manifest(&digest).await.unwrap_err();
        assert!(first.len() == 1 && first[0].contains("No such file"), "{first:?}");
        std::fs::create_dir(&path).unwrap();
        let second = sources.of(&job).manifest(&digest).await.unwrap_err();
        assert!(second[0].contains("not asked again yet"), "{second:?}");
        let failure = Failure { kind: crate::model::FailureKind::Source, message: "gone".into(), retry: Retry::Later };
        let message = with_answers(failure, &second).message;
        assert!(message.starts_with("gone; further sources: layout /"), "{message}");
    }
}
