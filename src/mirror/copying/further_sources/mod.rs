//! Where an image may be had when its registry can't give it. These places are asked by digest only, and what they give is
//! verified: none of them decides what a tag means.

mod admission;
mod layout_file;
mod reads;

use std::path::PathBuf;

use tokio::time::Instant;
use tracing::{info, warn};

pub(super) use self::reads::{FurtherReads, Given, Opened};
use self::{
    admission::Admission,
    layout_file::LayoutFile,
    reads::{Access, Place},
};
use crate::{
    mirror::job::CopyJob,
    model::{Failure, Reference},
    registry::{DigestReader, Registries, Store},
};

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

    fn is_for(&self, image: &Reference) -> bool {
        self.prefix.is_none() || self.rest(image).is_some()
    }

    fn is_for_registry(&self, registry: &str) -> bool {
        self.prefix.as_ref().is_none_or(|prefix| prefix.split('/').next() == Some(registry))
    }
}

/// All further sources, and which of them fail.
#[derive(Default)]
pub(super) struct FurtherSources(Vec<Known>);

/// A further source, and what is known of it.
struct Known {
    source: FurtherSource,
    layout: LayoutFile,
    admission: Admission,
}

impl FurtherSources {
    pub fn new(sources: Vec<FurtherSource>) -> Self {
        let known = |source| Known { source, layout: LayoutFile::default(), admission: Admission::default() };
        Self(sources.into_iter().map(known).collect())
    }

    /// Whether one of them may have images of a registry.
    pub fn may_have_images_of(&self, registry: &str) -> bool {
        self.0.iter().any(|known| known.source.is_for_registry(registry))
    }

    /// Whether targets are among them.
    pub fn have_targets(&self) -> bool {
        self.0.iter().any(|known| matches!(known.source.place, FurtherPlace::Target { .. }))
    }

    /// Those that fail are asked again at once.
    pub fn end_pauses(&self) {
        for known in &self.0 {
            known.admission.answered();
        }
    }

    /// Those that may have a job's image.
    pub fn of<'a>(&'a self, job: &CopyJob) -> FurtherReads<'a> {
        let places = self.0.iter().filter_map(|known| Some(Place { known, access: known.access(job)? }));
        FurtherReads::new(places.collect(), job.source_unavailable.is_some())
    }
}

impl Known {
    /// None if it can't have the image.
    fn access(&self, job: &CopyJob) -> Option<Access> {
        match &self.source.place {
            FurtherPlace::Registry { registries, host, path } => {
                let rest = self.source.rest(&job.source)?;
                let parts = [path.as_str(), &rest].into_iter().filter(|part| !part.is_empty());
                let repository = parts.collect::<Vec<_>>().join("/");
                let is_own = *host == job.source.registry() && repository == job.source.repository();
                let is_valid = !is_own && Reference::check_repository(&repository).is_ok();
                is_valid.then(|| Access::Reader(DigestReader::registry(registries, host, &repository)))
            }
            FurtherPlace::Target { name, store } => {
                let mut others = job.other_destinations.iter().filter(|_| self.source.is_for(&job.source));
                let there = others.find(|destination| destination.target.name == *name)?;
                Some(Access::Reader(store.reader(&there.repository)))
            }
            FurtherPlace::Layout(path) => self.source.is_for(&job.source).then(|| Access::Layout(path.clone())),
        }
    }

    fn answered(&self) {
        if self.admission.answered() {
            info!(source = self.source.name, "the further source answers again");
        }
    }

    fn failed(&self, error: &str) {
        let pause = self.admission.failed(error, Instant::now());
        let seconds = pause.as_secs();
        warn!(source = self.source.name, error, seconds, "a further source fails; one copy asks it after `seconds`");
    }
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
    use crate::{
        mirror::testing,
        model::{Digest, FailureKind, Retry},
    };

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
        assert!(source(Some("quay.io/acme")).is_for_registry("quay.io") && source(None).is_for_registry("quay.io"));
        assert!(!source(Some("quay.io/acme")).is_for_registry("docker.io"));
    }

    #[tokio::test]
    async fn what_a_place_answered_is_told_and_one_that_fails_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("layout");
        let name = format!("layout {}", path.display());
        let place = FurtherSource { name, prefix: None, place: FurtherPlace::Layout(path.clone()) };
        let sources = FurtherSources::new(vec![place]);
        let job = testing::job("docker.io/library/nginx:1");
        let digest = Digest::sha256(b"");
        let first = sources.of(&job);
        let answers = first.manifest(&digest).await.unwrap_err();
        assert!(answers.len() == 1 && answers[0].contains("No such file"), "{answers:?}");
        std::fs::create_dir(&path).unwrap();
        let second = sources.of(&job);
        let answers = second.manifest(&digest).await.unwrap_err();
        assert!(answers[0].contains("not asked again yet"), "{answers:?}");
        assert!(first.were_all_asked() && !second.were_all_asked());
        let failure = Failure { kind: FailureKind::Source, message: "gone".into(), retry: Retry::Later };
        let message = with_answers(failure, &answers).message;
        assert!(message.starts_with("gone; further sources: layout /"), "{message}");
    }
}
