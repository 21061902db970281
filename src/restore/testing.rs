//! Decisions for tests.

use std::{collections::BTreeSet, sync::Arc};

use super::{Candidate, DecidedUse, MirrorAccess, Restored, Runtime, Wanted, restore};
use crate::model::{
    Container, ContainerKind, Decision, Destination, ImageUse, Reference, Target, TargetKind, Verdict, Workload,
    WorkloadId, WorkloadKind,
};

pub const DIGEST: &str = "sha256:0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a";

pub fn target_at(name: &str, registry: &str, prefix: &str) -> Arc<Target> {
    Arc::new(Target {
        name: name.to_owned(),
        kind: TargetKind::Docker,
        registry: registry.to_owned(),
        repo_prefix: prefix.to_owned(),
    })
}

pub fn target(prefix: &str) -> Arc<Target> {
    target_at("default", "r.example.com", prefix)
}

pub fn decided(workload: &str, image: &str, verdict: Verdict) -> DecidedUse {
    let id = WorkloadId { kind: WorkloadKind::Deployment, namespace: "shop".to_owned(), name: workload.to_owned() };
    let workload = Workload {
        id,
        uid: String::new(),
        owners: Vec::new(),
        labels: Default::default(),
        annotations: Default::default(),
        namespace_labels: Default::default(),
        created: 0,
    };
    let image_use = ImageUse {
        workload: Arc::new(workload),
        container: Container { name: "main".to_owned(), kind: ContainerKind::Regular },
        image: image.to_owned(),
        running: Vec::new(),
        platforms: None,
        pull_secrets: Vec::new(),
    };
    let conflicts = match &verdict {
        Verdict::Mirror { destinations, .. } => vec![None; destinations.len()],
        Verdict::Skip(_) | Verdict::Error { .. } => Vec::new(),
    };
    DecidedUse { image_use, decision: Decision { verdict, trace: Vec::new() }, conflicts }
}

/// Mirrored to these repositories of targets, under its own tag.
pub fn mirrored(image: &str, places: &[(&Arc<Target>, String)]) -> DecidedUse {
    let source: Reference = image.parse().unwrap();
    let destinations = places.iter().map(|(target, repository)| Destination {
        target: Arc::clone(target),
        repository: repository.clone(),
        tag: source.tag().map(str::to_owned),
        digest: source.digest().cloned(),
    });
    decided("web", image, Verdict::Mirror { destinations: destinations.collect(), source })
}

pub fn skipped(image: &str) -> DecidedUse {
    decided("web", image, Verdict::Skip("namespace skipped".to_owned()))
}

/// All of these images, mirrored as `policy` names their repositories; with the conflicts among them.
pub fn by_policy(target: &Arc<Target>, images: &[&str], policy: impl Fn(&Reference) -> String) -> Vec<DecidedUse> {
    let named = |image: &&str| mirrored(image, &[(target, policy(&image.parse().unwrap()))]);
    with_conflicts(images.iter().map(named).collect())
}

/// As `plan` finds them.
pub fn with_conflicts(mut uses: Vec<DecidedUse>) -> Vec<DecidedUse> {
    let claims: Vec<(String, Reference)> = uses
        .iter()
        .flat_map(|decided| match &decided.decision.verdict {
            Verdict::Mirror { source, destinations } => {
                destinations.iter().map(|destination| (destination.to_string(), source.clone())).collect()
            }
            Verdict::Skip(_) | Verdict::Error { .. } => Vec::new(),
        })
        .collect();
    for decided in &mut uses {
        let Verdict::Mirror { source, destinations } = &decided.decision.verdict else { continue };
        decided.conflicts = destinations
            .iter()
            .map(|destination| {
                let place = destination.to_string();
                let is_other = |(at, claimed): &&(String, Reference)| {
                    *at == place && without_version(claimed) != without_version(source)
                };
                claims.iter().find(is_other).map(|(_, other)| format!("{other} of deployment shop/other"))
            })
            .collect();
    }
    uses
}

fn without_version(reference: &Reference) -> (String, String) {
    (reference.registry().to_owned(), reference.repository().to_owned())
}

pub fn run(runtime: Runtime, target: &Arc<Target>, uses: &[DecidedUse]) -> Restored {
    run_with(runtime, target, MirrorAccess::default(), uses)
}

pub fn run_with(runtime: Runtime, target: &Arc<Target>, access: MirrorAccess, uses: &[DecidedUse]) -> Restored {
    let candidate = Candidate { target: Arc::clone(target), access };
    restore(Wanted { runtime, digest_only: false, some_platforms: false }, &[candidate], uses).unwrap()
}

/// The images with this status.
pub fn names(restored: &Restored, status: super::Status) -> BTreeSet<&str> {
    restored.report.images.iter().filter(|image| image.status == status).map(|image| image.image.as_str()).collect()
}

pub fn text<'r>(restored: &'r Restored, path: &str) -> &'r str {
    let found = restored.files.iter().find(|file| file.path == path);
    let paths = || restored.files.iter().map(|file| file.path.as_str()).collect::<Vec<_>>();
    found.map_or_else(|| panic!("{path} is not among {:?}", paths()), |file| file.text.as_str())
}
