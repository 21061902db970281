//! Sources and a target that fail at random, and the images at the sources.

use std::{
    cell::{Cell, RefCell},
    time::{Duration, Instant},
};

use demo::Image;
use fastrand::Rng;

use super::catalog::Catalog;
use crate::{
    faults::{permanent_fault, transient_fault},
    support::{
        Access, PASSWORD, USER,
        faulty::{Fault, FaultyRegistry, RequestKind, RetryAfter},
    },
};

const SOURCES: [Access; 3] = [Access::Anonymous, Access::Basic, Access::Token];
/// Repositories of each type at each source.
const PLAIN: usize = 60;
const MOVING: usize = 10;
const PINNED: usize = 10;
/// Tags of a plain repository.
const TAGS: usize = 4;
/// One of so many requests fails while a registry fails at random.
const FAULT_RATE: usize = 12;

pub struct Registries {
    sources: [FaultyRegistry; SOURCES.len()],
    pub target: FaultyRegistry,
    catalog: RefCell<Catalog>,
    /// Source, number and digest of the images that a tag of a pinned repository had.
    pinned: RefCell<Vec<(usize, usize, String)>>,
    delayed: Cell<usize>,
    next_change: Cell<Instant>,
}

/// An image that is not at its source yet.
pub struct DelayedImage {
    pub at: Instant,
    source: usize,
    repository: String,
    image: Image,
}

impl Registries {
    pub fn start(random: &mut Rng) -> Self {
        let registries = Self {
            sources: SOURCES.map(FaultyRegistry::start),
            target: FaultyRegistry::start(Access::Token),
            catalog: RefCell::default(),
            pinned: RefCell::default(),
            delayed: Cell::new(0),
            next_change: Cell::new(Instant::now()),
        };
        for source in 0..SOURCES.len() {
            for number in 0..PLAIN {
                for tag in 0..TAGS {
                    registries.push(random, source, &plain(source, number), &tag.to_string());
                }
            }
            for number in 0..MOVING {
                registries.push(random, source, &moving(source, number), "1");
            }
            for number in 0..PINNED {
                for _ in 0..3 {
                    let digest = registries.push(random, source, &pinned(source, number), "1");
                    registries.pinned.borrow_mut().push((source, number, digest));
                }
            }
        }
        registries.push(random, 0, "platform/proxy", "1");
        registries
    }

    fn push(&self, random: &mut Rng, source: usize, repository: &str, tag: &str) -> String {
        let image = self.catalog.borrow_mut().create(random);
        self.sources[source].add_image(repository, tag, &image);
        image.digest().to_owned()
    }

    /// A reference for a workload, and the image if it is pushed later.
    pub fn reference(&self, random: &mut Rng) -> (String, Option<DelayedImage>) {
        let source = random.usize(..SOURCES.len());
        let host = self.sources[source].host();
        let reference = match random.u8(..100) {
            0..50 => {
                let tag = random.usize(..TAGS);
                format!("{host}/{}:{tag}", plain(source, random.usize(..PLAIN)))
            }
            50..62 => format!("{host}/{}:1", moving(source, random.usize(..MOVING))),
            62..70 => format!("{host}/{}:1", pinned(source, random.usize(..PINNED))),
            70..80 => {
                let all = self.pinned.borrow();
                let (source, number, digest) = &all[random.usize(..all.len())];
                let (host, name) = (self.sources[*source].host(), pinned(*source, *number));
                if random.bool() { format!("{host}/{name}:1@{digest}") } else { format!("{host}/{name}@{digest}") }
            }
            80..86 => {
                self.delayed.set(self.delayed.get() + 1);
                let repository = format!("delayed/app-{}", self.delayed.get());
                let reference = format!("{host}/{repository}:1");
                let at = Instant::now() + Duration::from_secs(random.u64(2..30));
                let image = self.catalog.borrow_mut().create(random);
                return (reference, Some(DelayedImage { at, source, repository, image }));
            }
            86..88 => format!("{host}/s{source}/missing-{}:1", random.u8(..20)),
            88 => format!("{host}/Not/A-Name:{}", random.u8(..5)),
            _ => format!("{}/platform/proxy:1", self.sources[0].host()),
        };
        (reference, None)
    }

    /// Moves a tag at a source to another image.
    pub fn move_tag(&self, random: &mut Rng) {
        let (source, repository) = (random.usize(..SOURCES.len()), random.usize(..MOVING));
        self.push(random, source, &moving(source, repository), "1");
    }

    /// Pushes a delayed image.
    pub fn push_delayed(&self, delayed: &DelayedImage) {
        self.sources[delayed.source].add_image(&delayed.repository, "1", &delayed.image);
    }

    /// Now and then lets one registry fail, fail in another way, or recover.
    pub fn change_faults(&self, random: &mut Rng) {
        if Instant::now() < self.next_change.get() {
            return;
        }
        self.next_change.set(Instant::now() + Duration::from_millis(random.u64(500..5000)));
        let which = random.usize(..=SOURCES.len());
        let (registry, at_target) = self.sources.get(which).map_or((&self.target, true), |source| (source, false));
        match random.u8(..10) {
            0..3 => registry.clear_faults(),
            3 => registry.fail_with(|_| Some(Fault::Hang)),
            // An hour: longer than the test runs.
            4 => registry.fail_with(|_| Some(Fault::Status(503, RetryAfter::Seconds(3600)))),
            5 => registry.fail_with(|_| Some(Fault::Status(500, RetryAfter::Absent))),
            _ => {
                let mut random = random.fork();
                registry.fail_with(move |at| {
                    let hits = random.usize(..FAULT_RATE) == 0;
                    hits.then(|| fault(&mut random, at)).filter(|_| !at_target || at != RequestKind::BlobGet)
                });
            }
        }
    }

    /// Stops all faults.
    pub fn clear_faults(&self) {
        self.all().for_each(FaultyRegistry::clear_faults);
    }

    pub fn faults(&self) -> usize {
        self.all().map(FaultyRegistry::faults).sum()
    }

    pub fn violations(&self) -> Vec<String> {
        self.all().flat_map(FaultyRegistry::violations).collect()
    }

    fn all(&self) -> impl Iterator<Item = &FaultyRegistry> {
        self.sources.iter().chain([&self.target])
    }

    /// The digest of a tag or digest at its source, if the image exists.
    pub fn digest(&self, host: &str, repository: &str, reference: &str) -> Option<String> {
        let source = self.sources.iter().find(|source| source.host() == host)?;
        source.digest(repository, reference)
    }

    /// What the target lacks of the image with this digest and these tags, compared byte for byte.
    pub fn missing_content(&self, repository: &str, tags: &[String], digest: &str) -> Vec<String> {
        self.target.missing_content(repository, tags, self.catalog.borrow().get(digest))
    }

    /// The configuration of the program, with short timeouts and few retries.
    pub fn config(&self, namespace: &str) -> String {
        let login = format!("username: {USER}, password: '{PASSWORD}'");
        let [_, basic, token] = &self.sources;
        format!(
            "targetKind: docker
docker: {{ registry: '{}', {login} }}
includeNamespaces: [{namespace}]
requestTimeout: 1
registryRetryAttempts: 3
registryRetryBackoff: 0
failureCooldownMinutes: 5
maxConcurrentReconciles: 4
registryCredentials:
- {{ registry: '{}', {login} }}
- {{ registry: '{}', {login} }}
",
            self.target.host(),
            basic.host(),
            token.host(),
        )
    }
}

fn plain(source: usize, number: usize) -> String {
    format!("s{source}/plain-{number}")
}

fn moving(source: usize, number: usize) -> String {
    format!("s{source}/moving-{number}")
}

fn pinned(source: usize, number: usize) -> String {
    format!("s{source}/pinned-{number}")
}

/// Any fault except that a repository loses content: images that were copied before may need it, and no client would notice.
fn fault(random: &mut Rng, at: RequestKind) -> Fault {
    loop {
        let fault = match random.u8(..20) {
            0 => permanent_fault(random, at, false),
            1 => Fault::TrickleHead(random.usize(..200)),
            _ => transient_fault(random, at, false),
        };
        if !matches!(fault, Fault::LoseContent(_)) {
            return fault;
        }
    }
}
