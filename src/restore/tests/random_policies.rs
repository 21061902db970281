//! Random ways of naming: what each runtime would do with the rules is worked out here anew, from its files where they say
//! more, and compared with what the report claims.

use std::collections::{BTreeMap, BTreeSet};

use regex::Regex;
use serde::Deserialize;

use super::super::{
    testing::{DIGEST, mirrored, run, skipped, target, text, with_conflicts},
    *,
};
use crate::model::{Reference, Verdict};

const HOST: &str = "r.example.com";

#[derive(Deserialize)]
struct Registries {
    mirrors: BTreeMap<String, Mirror>,
}

#[derive(Deserialize)]
struct Mirror {
    #[serde(default)]
    rewrite: BTreeMap<String, String>,
}

/// A runtime with its rules.
struct Configured<'r> {
    report: &'r Report,
    /// Of k3s.
    rewrites: BTreeMap<String, Vec<(Regex, String)>>,
}

impl<'r> Configured<'r> {
    fn new(restored: &'r Restored) -> Self {
        let report = &restored.report;
        let mut rewrites = BTreeMap::new();
        if report.runtime == Runtime::K3s && !report.rules.is_empty() {
            let registries: Registries = serde_yaml::from_str(text(restored, "registries.yaml")).unwrap();
            for (registry, mirror) in registries.mirrors {
                let compiled = mirror.rewrite.into_iter().map(|(pattern, to)| (Regex::new(&pattern).unwrap(), to));
                rewrites.insert(registry, compiled.collect());
            }
        }
        Self { report, rewrites }
    }

    /// The repositories of the mirror that are asked for `registry/repository`, and whether for tags too.
    fn lookups(&self, registry: &str, repository: &str) -> Vec<(String, bool)> {
        let rules = || self.report.rules.iter().map(|rule| (rule, rule.mirror[HOST.len()..].trim_start_matches('/')));
        let name = format!("{registry}/{repository}");
        match self.report.runtime {
            Runtime::Kustomize => {
                // Written in full, but for Docker Hub's `library/`.
                let library = name.strip_prefix("docker.io/library/").filter(|rest| !rest.contains('/'));
                let short = library.map_or_else(|| name.clone(), |rest| format!("docker.io/{rest}"));
                let renamed = rules().filter(|(rule, _)| rule.name == name || rule.name == short);
                renamed.map(|(_, mirror)| (mirror.to_owned(), true)).collect()
            }
            Runtime::K3s => {
                let Some(rewrites) = self.rewrites.get(registry) else { return Vec::new() };
                let matching = rewrites.iter().filter(|(pattern, _)| pattern.is_match(repository));
                let matching: Vec<_> = matching.map(|(pattern, to)| pattern.replace_all(repository, to)).collect();
                assert!(matching.len() <= 1, "the order of rewrites is not defined: {matching:?}");
                let found = matching.first().map_or(repository, AsRef::as_ref);
                assert!(registry != "docker.io" || found.contains('/'), "one reader makes it library/{found}");
                vec![(found.to_owned(), true)]
            }
            Runtime::Containerd | Runtime::Talos | Runtime::Docker => rules()
                .filter(|(rule, _)| rule.name == registry)
                .map(|(rule, mirror)| (below(mirror, repository), rule.tags))
                .collect(),
            Runtime::Crio | Runtime::Openshift => {
                let is_prefix = |prefix: &str| {
                    name.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
                };
                let longest =
                    rules().map(|(rule, _)| &rule.name).filter(|prefix| is_prefix(prefix)).max_by_key(|p| p.len());
                let holding = rules().filter(|(rule, _)| Some(&rule.name) == longest);
                let asked = holding.map(|(rule, mirror)| {
                    let rest = name[rule.name.len()..].trim_start_matches('/');
                    (if rest.is_empty() { mirror.to_owned() } else { below(mirror, rest) }, rule.tags)
                });
                asked.collect()
            }
        }
    }
}

fn below(mirror: &str, rest: &str) -> String {
    if mirror.is_empty() { rest.to_owned() } else { format!("{mirror}/{rest}") }
}

const REGISTRIES: [&str; 4] = ["docker.io", "quay.io", "localhost:5000", "a.example.com"];
const REPOSITORIES: [&str; 8] = ["a", "a/b", "a/b/c", "library/a", "quay.io/a", "b.c", "b-c", "m/a"];

/// One of the ways in which destinations are named, for one image.
fn path(random: &mut fastrand::Rng, way: usize, source: &Reference) -> String {
    let (registry, repository) = (source.registry().replace(':', "-"), source.repository());
    match way {
        0 => repository.to_owned(),
        1 => format!("{registry}/{repository}"),
        2 => format!("m/{registry}/{repository}"),
        3 => format!("m/{repository}"),
        4 => format!("m/{}", repository.replace('/', "-")),
        5 => repository.rsplit('/').next().unwrap().to_owned(),
        6 => format!("team-{}/{repository}", random.usize(..3)),
        _ => {
            let way = random.usize(..7);
            path(random, way, source)
        }
    }
}

#[test]
fn no_name_gets_another_image_and_what_is_covered_is_found() {
    let target = target("");
    let (mut with_tags, mut without_tags, mut shadowing) = (0, 0, 0);
    for seed in 0..200 {
        let mut random = fastrand::Rng::with_seed(seed);
        let way = random.usize(..8);
        let mut uses = Vec::new();
        for _ in 0..random.usize(1..12) {
            let registry = *random.choice(&REGISTRIES).unwrap();
            let repository = random.choice(REPOSITORIES).unwrap();
            let version = match random.usize(..4) {
                0 => format!("@{DIGEST}"),
                number => format!(":{number}"),
            };
            let image = format!("{registry}/{repository}{version}");
            let source = image.parse().unwrap();
            uses.push(match random.usize(..10) {
                0 => skipped(&image),
                1 => skipped(&format!("{HOST}/{repository}:1")),
                _ => mirrored(&image, &[(&target, path(&mut random, way, &source))]),
            });
        }
        let uses = with_conflicts(uses);
        for runtime in Runtime::ALL {
            let restored = run(runtime, &target, &uses);
            check(&uses, &restored, &format!("seed {seed}, {runtime:?}"));
            with_tags += restored.report.rules.iter().filter(|rule| rule.tags).count();
            without_tags += restored.report.rules.iter().filter(|rule| !rule.tags).count();
            shadowing += usize::from(restored.files.iter().any(|file| file.text.contains("lead them nowhere")));
        }
    }
    // The ways are worth their time.
    assert!(with_tags > 1000 && without_tags > 50 && shadowing > 20, "{with_tags} {without_tags} {shadowing}");
}

fn check(uses: &[DecidedUse], restored: &Restored, what: &str) {
    // Whose images are where.
    let mut held = BTreeMap::<String, BTreeSet<String>>::new();
    for decided in uses {
        let named: Reference = decided.image_use.image.parse().unwrap();
        let owner = format!("{}/{}", named.registry(), named.repository());
        match &decided.decision.verdict {
            Verdict::Mirror { destinations, .. } => {
                destinations.iter().for_each(|at| {
                    held.entry(at.repository.clone()).or_default().insert(owner.clone());
                });
            }
            _ if named.registry() == HOST => {
                held.entry(named.repository().to_owned()).or_default().insert(owner);
            }
            _ => {}
        }
    }
    // All names that could mean something: those of the decisions, and every place of the mirror under every registry, as a
    // whole and in parts.
    let mut repositories: BTreeSet<String> = REPOSITORIES.map(str::to_owned).into();
    for place in held.keys() {
        let parts: Vec<&str> = place.split('/').collect();
        repositories.extend((0..parts.len()).map(|start| parts[start..].join("/")));
        repositories.extend(REPOSITORIES.iter().flat_map(|base| {
            (0..parts.len()).map(|start| format!("{base}/{}", parts[start..].join("/"))).collect::<Vec<_>>()
        }));
    }
    let configured = Configured::new(restored);
    for registry in REGISTRIES {
        for repository in &repositories {
            // No name of Docker Hub has one part.
            let repository = if registry == "docker.io" && !repository.contains('/') {
                format!("library/{repository}")
            } else {
                repository.clone()
            };
            let name = format!("{registry}/{repository}");
            for (place, tags) in configured.lookups(registry, &repository) {
                let owners = held.get(&place).cloned().unwrap_or_default();
                // A workload that names a copy by the mirror says nothing about whose copy it is; below the registry's name
                // it is the registry's.
                let own_place = format!("{}/{repository}", registry.replace(':', "-"));
                let is_copy = place == own_place || place.ends_with(&format!("/{own_place}"));
                let is_own = |owner: &String| *owner == name || (is_copy && owner.starts_with(HOST));
                assert!(!tags || owners.iter().all(is_own), "{what}: {name} gets {place} of {owners:?}");
            }
        }
    }
    for image in restored.report.images.iter().filter(|image| image.status == Status::Covered) {
        let source: Reference = image.image.parse().unwrap();
        let asked = configured.lookups(source.registry(), source.repository());
        let is_found = asked.iter().any(|(place, tags)| {
            let version = match (source.digest(), source.tag()) {
                (Some(digest), _) => format!("@{digest}"),
                (None, tag) => format!(":{}", tag.unwrap()),
            };
            (*tags || source.digest().is_some())
                && image.mirror.as_deref() == Some(&format!("{HOST}/{place}{version}"))
                && held[place].contains(&format!("{}/{}", source.registry(), source.repository()))
        });
        assert!(is_found, "{what}: {image:?} {asked:?}");
    }
}
