//! Sources and a target, the images that are to go from the ones to the other, and what goes wrong with each.

use std::time::Instant;

use super::case::{Case, TAG};
use crate::support::{
    Access, PASSWORD, Silent, USER, Workload, deployment,
    faulty::{Fault, Faulty, Kind},
};

/// The sources, each with its own way to know its users.
pub const SOURCES: [Access; 3] = [Access::Anonymous, Access::Basic, Access::Token];

/// In the place of a source's number: a host that accepts connections and never answers.
pub const SILENT: usize = SOURCES.len();

/// At the request of this kind before which so many others came, this went wrong.
pub type Played = (Kind, usize, Fault);

/// All of it.
pub struct World {
    pub target: Faulty,
    access: Access,
    sources: [Faulty; SOURCES.len()],
    pub silent: Silent,
}

impl World {
    /// The sources hold the images; the target knows its users by `access`, and holds nothing.
    pub fn new(access: Access, cases: &[Case]) -> Self {
        let (target, sources) = (Faulty::start(access), SOURCES.map(Faulty::start));
        let world = Self { target, access, sources, silent: Silent::start() };
        for case in cases {
            if let Some(source) = world.source(case) {
                source.hold(&case.repository, TAG, &case.image);
                source.plan(&case.repository, &case.at_source);
            }
            world.target.plan(&case.repository, &case.at_target);
            if case.lax {
                world.target.make_lax(&case.repository);
            }
        }
        world
    }

    /// None where it never answers.
    fn source(&self, case: &Case) -> Option<&Faulty> {
        self.sources.get(case.source)
    }

    fn source_host(&self, case: &Case) -> String {
        self.source(case).map_or_else(|| self.silent.host(), Faulty::host)
    }

    /// The image as a workload writes it.
    pub fn reference(&self, case: &Case) -> String {
        case.reference(&self.source_host(case))
    }

    /// A workload for each image, in their order.
    pub fn workloads(&self, cases: &[Case]) -> Vec<Workload> {
        let workload = |(number, case)| deployment(&format!("app-{number:04}")).image(&self.reference(case));
        cases.iter().enumerate().map(workload).collect()
    }

    /// The configuration of a program that waits so many seconds, and not between two tries.
    pub fn config(&self, timeout: u32) -> String {
        let login = |access| match access {
            Access::Anonymous => String::new(),
            Access::Basic | Access::Token => format!(", username: {USER}, password: '{PASSWORD}'"),
        };
        let mut config = format!(
            "targetKind: docker\ndocker: {{ registry: '{}'{} }}\n\
             requestTimeout: {timeout}\nregistryRetryBackoff: 0\nmaxConcurrentReconciles: 8\nregistryCredentials:\n",
            self.target.host(),
            login(self.access)
        );
        for (source, access) in self.sources.iter().zip(SOURCES).filter(|(_, access)| *access != Access::Anonymous) {
            config.push_str(&format!("- {{ registry: '{}'{} }}\n", source.host(), login(access)));
        }
        config
    }

    /// Whether a failure's text names the registry and the repository that an image was to come from or go to. Of a host
    /// that keeps failing not every image need be asked for.
    pub fn is_cause(&self, case: &Case, text: &str) -> bool {
        let hosts = [self.source_host(case), self.target.host()];
        hosts.iter().any(|host| text.contains(host))
            && (text.starts_with("not tried: ") || text.contains(&case.repository))
    }

    /// What went wrong with an image.
    pub fn played(&self, case: &Case) -> Vec<Played> {
        self.source(case).into_iter().chain([&self.target]).flat_map(|it| it.played(&case.repository)).collect()
    }

    /// When an image had all its tags at the target.
    pub fn since(&self, case: &Case) -> Option<Instant> {
        self.target.since(&case.repository, &case.tags())
    }

    /// What an image has that is not at the target.
    pub fn lacking(&self, case: &Case) -> Vec<String> {
        self.target.lacks(&case.repository, &case.tags(), &case.image)
    }

    /// What the program did that it must not do.
    pub fn violations(&self) -> Vec<String> {
        self.sources.iter().chain([&self.target]).flat_map(Faulty::violations).collect()
    }
}
