//! Sources and a target, the images that are to go from the ones to the other, and what goes wrong with each.

use super::case::{Case, TAG};
use crate::support::{
    Access, PASSWORD, USER, Workload, deployment,
    faulty::{Fault, Faulty, Kind},
};

/// The sources, each with its own way to know its users.
pub const SOURCES: [Access; 3] = [Access::Anonymous, Access::Basic, Access::Token];

/// At the request of this kind before which so many others came, this went wrong.
pub type Played = (Kind, usize, Fault);

/// All of it.
pub struct World {
    pub target: Faulty,
    access: Access,
    sources: [Faulty; SOURCES.len()],
}

impl World {
    /// The sources hold the images; the target knows its users by `access`, and holds nothing.
    pub fn new(access: Access, cases: &[Case]) -> Self {
        let world = Self { target: Faulty::start(access), access, sources: SOURCES.map(Faulty::start) };
        for case in cases {
            let source = world.source(case);
            source.hold(&case.repository, TAG, &case.image);
            source.plan(&case.repository, &case.at_source);
            world.target.plan(&case.repository, &case.at_target);
            if case.lax {
                world.target.make_lax(&case.repository);
            }
        }
        world
    }

    fn source(&self, case: &Case) -> &Faulty {
        &self.sources[case.source]
    }

    /// The image as a workload writes it.
    pub fn reference(&self, case: &Case) -> String {
        case.reference(&self.source(case).host())
    }

    /// A workload for each image.
    pub fn workloads(&self, cases: &[Case]) -> Vec<Workload> {
        let workload = |(number, case)| deployment(&format!("app-{number}")).image(&self.reference(case));
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

    /// Whether a failure's text names the registry and the repository that an image was to come from or go to.
    pub fn is_cause(&self, case: &Case, text: &str) -> bool {
        [self.source(case), &self.target].iter().any(|it| text.contains(&it.host())) && text.contains(&case.repository)
    }

    /// What went wrong with an image.
    pub fn played(&self, case: &Case) -> Vec<Played> {
        [self.source(case), &self.target].iter().flat_map(|it| it.played(&case.repository)).collect()
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
