//! From decisions to rules, files and a report, for the target that covers most.

use std::{collections::BTreeMap, sync::Arc};

use super::{
    access::{MirrorAccess, MirrorLogin},
    files::{self, File, Laid},
    images::{DecidedUse, Image, ImageCopy, holdings, images},
    report::{
        API_VERSION, Counts, Difference, DifferenceKind, KIND, LaidFile, PulledBy, Report, ReportedImage, ReportedRule,
        ReportedTarget, Status,
    },
    rule::{Scope, join},
    runtime::Runtime,
    solution::Solution,
    solver,
};
use crate::model::{Digest, Target, TargetAddress, printable};

/// The most workloads that the report names of one image.
const MOST_WORKLOADS: usize = 20;

/// A target whose images nodes could pull.
#[derive(Clone, Debug)]
pub struct Candidate {
    /// The target; a registry.
    pub target: Arc<Target>,
    /// How nodes reach it.
    pub access: MirrorAccess,
}

/// What is wanted.
#[derive(Clone, Copy, Debug)]
pub struct Wanted {
    /// What reads the files.
    pub runtime: Runtime,
    /// Leave tags to the source registries.
    pub digest_only: bool,
    /// Only some platforms of images are mirrored.
    pub some_platforms: bool,
}

/// The result.
#[derive(Clone, Debug)]
pub struct Restored {
    /// What is covered and what is not.
    pub report: Report,
    /// The files, sorted.
    pub files: Vec<File>,
}

/// Rules, files and report for the candidate that covers most; of equals the first. None without a candidate that is a
/// registry.
pub fn restore(wanted: Wanted, candidates: &[Candidate], uses: &[DecidedUse]) -> Option<Restored> {
    let mut best: Option<Attempt<'_>> = None;
    for candidate in candidates {
        let Some(attempt) = Attempt::new(wanted, candidate, uses) else { continue };
        let is_better = best.as_ref().is_none_or(|best| attempt.score() > best.score());
        let is_complete = attempt.score() == attempt.images.len();
        if is_better {
            best = Some(attempt);
        }
        if is_complete {
            break;
        }
    }
    best.map(|attempt| attempt.finish(wanted, candidates))
}

/// What one target would give.
struct Attempt<'a> {
    candidate: &'a Candidate,
    host: &'a str,
    images: BTreeMap<String, Image>,
    solution: Solution,
}

impl<'a> Attempt<'a> {
    fn new(wanted: Wanted, candidate: &'a Candidate, uses: &[DecidedUse]) -> Option<Self> {
        let TargetAddress::Registry { host, .. } = candidate.target.address() else { return None };
        let images = images(uses, &candidate.target);
        let holdings = holdings(uses, host);
        let solution = solver::solve(wanted.runtime, wanted.digest_only, host, &images, &holdings);
        Some(Self { candidate, host, images, solution })
    }

    /// The number of images that would come from this target.
    fn score(&self) -> usize {
        self.images.iter().filter(|(name, image)| self.status(name, image) != Status::Uncovered).count()
    }

    fn status(&self, name: &str, image: &Image) -> Status {
        if image.is_named_at_mirror {
            Status::NamedAtMirror
        } else if self.solution.covered.contains_key(name) {
            Status::Covered
        } else {
            Status::Uncovered
        }
    }

    fn finish(self, wanted: Wanted, candidates: &[Candidate]) -> Restored {
        let runtime = wanted.runtime;
        let mut notes = self.notes(wanted, candidates);
        let laid = Laid { runtime, host: self.host, access: &self.candidate.access, solution: &self.solution };
        let files = files::files(&laid, &mut notes);
        let images: Vec<_> = self.images.iter().map(|(name, image)| self.reported(name, image, wanted)).collect();
        let differences = self.differences(runtime);
        let rules = self.rules();
        let count = |status| images.iter().filter(|image| image.status == status).count();
        let summary = Counts {
            images: images.len(),
            covered: count(Status::Covered),
            uncovered: count(Status::Uncovered),
            named_at_mirror: count(Status::NamedAtMirror),
            differences: differences.len(),
            rules: rules.len(),
            files: files.len(),
        };
        let laid_file = |file: &File| LaidFile {
            path: file.path.clone(),
            sha256: Digest::sha256(file.text.as_bytes()).hex().to_owned(),
        };
        let target = &self.candidate.target;
        let report = Report {
            api_version: API_VERSION.to_owned(),
            kind: KIND.to_owned(),
            runtime,
            target: ReportedTarget {
                name: printable(&target.name).into_owned(),
                registry: target.registry.clone(),
                scheme: self.candidate.access.scheme().to_owned(),
            },
            digest_only: wanted.digest_only,
            summary,
            images,
            differences,
            notes,
            rules,
            files: files.iter().map(laid_file).collect(),
        };
        Restored { report, files }
    }

    fn reported(&self, name: &str, image: &Image, wanted: Wanted) -> ReportedImage {
        let status = self.status(name, image);
        let by = image.source.as_ref().map(|_| if image.is_by_digest() { PulledBy::Digest } else { PulledBy::Tag });
        let obstacle = match status {
            Status::Uncovered => self.solution.obstacles.get(name).or_else(|| image.obstacles.first()),
            Status::Covered | Status::NamedAtMirror => None,
        };
        let place = |copy: &ImageCopy| {
            let place = format!("{}/{}", self.host, copy.path);
            match (image.source.as_ref().and_then(|source| source.digest()), &copy.tag) {
                (Some(digest), _) => format!("{place}@{digest}"),
                (None, Some(tag)) => format!("{place}:{tag}"),
                (None, None) => place,
            }
        };
        ReportedImage {
            image: name.to_owned(),
            status,
            by,
            mirror: self.solution.covered.get(name).map(place),
            reason: obstacle.map(ToString::to_string),
            remedy: obstacle.and_then(|obstacle| obstacle.remedy(wanted.runtime, &self.candidate.target)),
            uses: image.uses,
            workloads: image
                .workloads
                .iter()
                .take(MOST_WORKLOADS)
                .map(|workload| printable(&workload.to_string()).into_owned())
                .collect(),
        }
    }

    fn differences(&self, runtime: Runtime) -> Vec<Difference> {
        let another = self.solution.foreign.iter().map(|foreign| Difference {
            name: foreign.name.clone(),
            kind: DifferenceKind::AnotherImage,
            text: format!(
                "the mirror has the image of {} at {}, where {} would look for it; no tag is resolved by such a rule",
                foreign.owner,
                foreign.place,
                runtime.title()
            ),
        });
        let short = self
            .images
            .values()
            .filter(|image| image.source.is_some())
            .flat_map(|image| &image.written)
            .filter(|written| runtime.searches_registries() && has_no_registry(written));
        let short = short.map(|written| Difference {
            name: printable(written).into_owned(),
            kind: DifferenceKind::ShortName,
            text: "it has no registry; the mirror has Docker Hub's image, and the node takes the first of its \
                   unqualified-search-registries (or an alias): make docker.io the only one, or write the full name"
                .to_owned(),
        });
        let mut differences: Vec<_> = another.chain(short).collect();
        differences.sort();
        differences.dedup();
        differences
    }

    fn notes(&self, wanted: Wanted, candidates: &[Candidate]) -> Vec<String> {
        let (runtime, target, access) = (wanted.runtime, &self.candidate.target, &self.candidate.access);
        let mut notes = Vec::new();
        if candidates.len() > 1 {
            notes.push(format!(
                "of {} targets, {} ({}) covers most and is used; --target names another one",
                candidates.len(),
                printable(&target.name),
                target.registry
            ));
        }
        for rule in &self.solution.rules {
            if rule.tags && rule.scope == Scope::Registry && !rule.names_registry() {
                notes.push(format!(
                    "every tag of {} is looked for below {}/: nothing but images of {} may ever be pushed there; with \
                     `repoPrefix: $registry` each registry has a path of its own",
                    rule.registry,
                    join(self.host, &rule.mirror),
                    rule.registry
                ));
            }
        }
        match access.login {
            MirrorLogin::None => {}
            _ if matches!(runtime, Runtime::Docker) => notes.push(
                "Docker sends a mirror no login: allow anonymous pulls from the nodes' network".to_owned(),
            ),
            MirrorLogin::Password => notes.push(format!(
                "the program logs in at {}: allow anonymous pulls from the nodes' network, or fill in a login that can only \
                 pull, where the files say so",
                self.host
            )),
            MirrorLogin::Ecr => notes.push(format!(
                "tokens of {} end after 12 hours: something on the node has to renew what is filled in",
                self.host
            )),
        }
        if wanted.some_platforms {
            notes.push(
                "only some platforms are mirrored: where the mirror takes no index without the others, it has one with another \
                 digest, and an image named by the digest of its index is not found; `k8s-copycat drill` shows it"
                    .to_owned(),
            );
        }
        if access.wants_client_certificate {
            notes.push(format!(
                "{} is configured with a client certificate: give nodes one, where the files say so",
                self.host
            ));
        }
        if access.plain_http {
            notes.push(format!(
                "{} is reached by plain HTTP: nothing protects tags on their way to the nodes",
                self.host
            ));
        }
        notes
    }

    fn rules(&self) -> Vec<ReportedRule> {
        let rules = self.solution.rules.iter().map(|rule| ReportedRule {
            name: rule.subject(),
            scope: Some((&rule.scope).into()),
            mirror: join(self.host, &rule.mirror),
            tags: rule.tags,
        });
        let renames = self.solution.renames.iter().map(|rename| ReportedRule {
            name: rename.name.clone(),
            scope: None,
            mirror: rename.new_name.clone(),
            tags: true,
        });
        rules.chain(renames).collect()
    }
}

/// Whether runtimes take no part of a written name for a registry.
fn has_no_registry(written: &str) -> bool {
    match written.split_once('/') {
        Some((first, _)) => !(first.contains(['.', ':']) || first == "localhost"),
        None => !written.is_empty(),
    }
}
