//! Sources and a target that fail at random, and the images at the sources.

use std::{
    cell::{Cell, RefCell},
    time::{Duration, Instant},
};

use demo::Image;
use fastrand::Rng;

use super::catalog::Catalog;
use crate::{
    faults::{passing, staying_fault},
    support::{
        Access, PASSWORD, USER,
        faulty::{Fault, Faulty, Kind, RetryAfter},
    },
};

const SOURCES: [Access; 3] = [Access::Anonymous, Access::Basic, Access::Token];
/// Repositories of each sort at each source.
const PLAIN: usize = 60;
const MOVING: usize = 10;
const PINNED: usize = 10;
/// Tags of a plain repository.
const TAGS: usize = 4;
/// One request in so many goes wrong while a registry fails at random.
const SELDOM: usize = 12;

/// All of them.
pub struct Registries {
    sources: [Faulty; SOURCES.len()],
    pub target: Faulty,
    catalog: RefCell<Catalog>,
    /// Digests that the tag of a pinned repository meant, by source and number.
    pinned: RefCell<Vec<(usize, usize, String)>>,
    late: Cell<usize>,
    next_weather: Cell<Instant>,
}

/// A reference that is not at its source yet.
pub struct Late {
    pub at: Instant,
    source: usize,
    repository: String,
    image: Image,
}

impl Registries {
    pub fn start(random: &mut Rng) -> Self {
        let registries = Self {
            sources: SOURCES.map(Faulty::start),
            target: Faulty::start(Access::Token),
            catalog: RefCell::default(),
            pinned: RefCell::default(),
            late: Cell::new(0),
            next_weather: Cell::new(Instant::now()),
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
        let image = self.catalog.borrow_mut().make(random);
        self.sources[source].hold(repository, tag, &image);
        image.digest().to_owned()
    }

    /// A reference as a workload may write it. Where the image comes later, that too.
    pub fn reference(&self, random: &mut Rng) -> (String, Option<Late>) {
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
                self.late.set(self.late.get() + 1);
                let repository = format!("late/app-{}", self.late.get());
                let reference = format!("{host}/{repository}:1");
                let at = Instant::now() + Duration::from_secs(random.u64(2..30));
                let image = self.catalog.borrow_mut().make(random);
                return (reference, Some(Late { at, source, repository, image }));
            }
            86..88 => format!("{host}/s{source}/missing-{}:1", random.u8(..20)),
            88 => format!("{host}/Not/A-Name:{}", random.u8(..5)),
            _ => format!("{}/platform/proxy:1", self.sources[0].host()),
        };
        (reference, None)
    }

    /// A tag at a source means another image from now on.
    pub fn move_tag(&self, random: &mut Rng) {
        let (source, repository) = (random.usize(..SOURCES.len()), random.usize(..MOVING));
        self.push(random, source, &moving(source, repository), "1");
    }

    /// What was late comes now.
    pub fn push_late(&self, late: &Late) {
        self.sources[late.source].hold(&late.repository, "1", &late.image);
    }

    /// Now and then one registry begins to fail, or fails in another way, or no more.
    pub fn change_weather(&self, random: &mut Rng) {
        if Instant::now() < self.next_weather.get() {
            return;
        }
        self.next_weather.set(Instant::now() + Duration::from_millis(random.u64(500..5000)));
        let which = random.usize(..=SOURCES.len());
        let (registry, at_target) = self.sources.get(which).map_or((&self.target, true), |source| (source, false));
        match random.u8(..10) {
            0..3 => registry.heal(),
            3 => registry.fail(|_| Some(Fault::Hang)),
            // A whole hour: whoever believes it does nothing more before the end.
            4 => registry.fail(|_| Some(Fault::Status(503, RetryAfter::Seconds(3600)))),
            5 => registry.fail(|_| Some(Fault::Status(500, RetryAfter::Unsaid))),
            _ => {
                let mut random = random.fork();
                registry.fail(move |at| {
                    let hits = random.usize(..SELDOM) == 0;
                    hits.then(|| fault(&mut random, at)).filter(|_| !at_target || at != Kind::BlobGet)
                });
            }
        }
    }

    /// Nothing goes wrong any more.
    pub fn calm(&self) {
        self.all().for_each(Faulty::heal);
    }

    pub fn faults(&self) -> usize {
        self.all().map(Faulty::faults).sum()
    }

    pub fn violations(&self) -> Vec<String> {
        self.all().flat_map(Faulty::violations).collect()
    }

    fn all(&self) -> impl Iterator<Item = &Faulty> {
        self.sources.iter().chain([&self.target])
    }

    /// The digest that a tag, or a digest, has at its source; none where there is no such image.
    pub fn digest(&self, host: &str, repository: &str, reference: &str) -> Option<String> {
        let source = self.sources.iter().find(|source| source.host() == host)?;
        source.digest(repository, reference)
    }

    /// What the target lacks of the image with this digest, byte for byte, and of these tags.
    pub fn lacks(&self, repository: &str, tags: &[String], digest: &str) -> Vec<String> {
        self.target.lacks(repository, tags, self.catalog.borrow().get(digest))
    }

    /// The program's, with pauses short enough that an hour of trouble fits into a minute.
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

/// Whatever may go wrong at a request, but that images in one repository lose what they share: of those that have
/// arrived nobody would notice.
fn fault(random: &mut Rng, at: Kind) -> Fault {
    loop {
        let fault = match random.u8(..20) {
            0 => staying_fault(random, at, false),
            1 => Fault::DripHead(random.usize(..200)),
            _ => passing(random, at, false),
        };
        if !matches!(fault, Fault::LostPart(_)) {
            return fault;
        }
    }
}
