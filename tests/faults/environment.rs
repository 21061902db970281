//! Sources, a target, the images to copy between them, and their faults.

use std::time::Instant;

use super::case::{Case, TAG};
use crate::support::{
    Access, PASSWORD, SilentHost, USER, Workload, deployment,
    faulty::{Fault, FaultyRegistry, RequestKind, ScheduledFault},
};

/// The kind of authentication of each source.
pub const SOURCES: [Access; 3] = [Access::Anonymous, Access::Basic, Access::Token];

/// Instead of the index of a source: a host that accepts connections and never answers.
pub const SILENT_SOURCE: usize = SOURCES.len();

/// Kind of the request, how many of that kind came before, and the fault.
pub type InjectedFault = (RequestKind, usize, Fault);

pub struct TestEnvironment {
    pub target: FaultyRegistry,
    access: Access,
    sources: [FaultyRegistry; SOURCES.len()],
    pub silent: SilentHost,
}

impl TestEnvironment {
    /// Adds the images to the sources; the target is empty.
    pub fn new(access: Access, cases: &[Case]) -> Self {
        let (target, sources) = (FaultyRegistry::start(access), SOURCES.map(FaultyRegistry::start));
        let environment = Self { target, access, sources, silent: SilentHost::start() };
        for case in cases {
            if let Some(source) = environment.source(case) {
                source.add_image(&case.repository, TAG, &case.image);
                if let Some(signature) = &case.signature {
                    source.add_referrer(&case.repository, &case.image, signature);
                }
                source.schedule(&case.repository, &case.source_faults);
            }
            environment.target.schedule(&case.repository, &case.target_faults);
            if case.skips_validation {
                environment.target.skip_validation(&case.repository);
            }
        }
        environment
    }

    /// Replaces all faults of an image's registries.
    pub fn reschedule(&self, case: &Case, source_faults: &[ScheduledFault], target_faults: &[ScheduledFault]) {
        if let Some(source) = self.source(case) {
            source.reschedule(&case.repository, source_faults);
        }
        self.target.reschedule(&case.repository, target_faults);
    }

    /// None for the silent host.
    fn source(&self, case: &Case) -> Option<&FaultyRegistry> {
        self.sources.get(case.source)
    }

    /// Where the image comes from.
    pub fn source_host(&self, case: &Case) -> String {
        self.source(case).map_or_else(|| self.silent.host(), FaultyRegistry::host)
    }

    /// The reference in the workload.
    pub fn reference(&self, case: &Case) -> String {
        case.reference(&self.source_host(case))
    }

    /// A workload for each image, in order.
    pub fn workloads(&self, cases: &[Case]) -> Vec<Workload> {
        let workload = |(number, case)| deployment(&format!("app-{number:04}")).image(&self.reference(case));
        cases.iter().enumerate().map(workload).collect()
    }

    /// A configuration with this request timeout in seconds, and without retry backoff.
    pub fn config(&self, timeout: u32) -> String {
        let login = |access| match access {
            Access::Anonymous => String::new(),
            Access::Basic | Access::Token => format!(", username: {USER}, password: '{PASSWORD}'"),
        };
        let mut config = format!(
            "targetKind: docker\ndocker: {{ registry: '{}'{} }}\n\
             referrers: all\nrequestTimeout: {timeout}\nregistryRetryBackoff: 0\nmaxConcurrentReconciles: 8\nregistryCredentials:\n",
            self.target.host(),
            login(self.access)
        );
        for (source, access) in self.sources.iter().zip(SOURCES).filter(|(_, access)| *access != Access::Anonymous) {
            config.push_str(&format!("- {{ registry: '{}'{} }}\n", source.host(), login(access)));
        }
        config
    }

    /// Whether an error text names the registry and repository of the source or the target. Images of a failing host may be
    /// reported as not tried.
    pub fn is_cause(&self, case: &Case, text: &str) -> bool {
        let hosts = [self.source_host(case), self.target.host()];
        hosts.iter().any(|host| text.contains(host))
            && (text.starts_with("not tried: ") || text.contains(&case.repository))
    }

    /// The faults that were injected for an image.
    pub fn injected(&self, case: &Case) -> Vec<InjectedFault> {
        self.source(case).into_iter().chain([&self.target]).flat_map(|it| it.injected(&case.repository)).collect()
    }

    /// When the target first had all tags of an image.
    pub fn tagged_at(&self, case: &Case) -> Option<Instant> {
        self.target.tagged_at(&case.repository, &case.tags())
    }

    /// What of an image is missing at the target.
    pub fn missing(&self, case: &Case) -> Vec<String> {
        self.target.missing_content(&case.repository, &case.tags(), &case.image)
    }

    /// What of the signature is missing at the target.
    pub fn missing_signature(&self, case: &Case) -> Vec<String> {
        let missing = |signature| self.target.missing_referrer(&case.repository, &case.image, signature);
        case.signature.as_ref().map(missing).unwrap_or_default()
    }

    /// Whether the target's list of what refers to an image is there and has its signature.
    pub fn lists_signature(&self, case: &Case) -> bool {
        let is_entry = |missing: &String| missing.starts_with("the entry");
        case.signature.is_some() && !self.missing_signature(case).iter().any(is_entry)
    }

    /// What the program did that it must not do.
    pub fn violations(&self) -> Vec<String> {
        self.sources.iter().chain([&self.target]).flat_map(FaultyRegistry::violations).collect()
    }
}
