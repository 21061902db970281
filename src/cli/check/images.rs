//! Which images would be mirrored: their sources and destinations are what is worth checking.

use std::{
    collections::{BTreeMap, BTreeSet, HashSet},
    path::PathBuf,
    time::Duration,
};

use tokio::time::timeout;

use super::finding::{Finding, Group};
use crate::{
    cli::{build, collect},
    config::Config,
    mirror::{Conflicts, DesiredImage},
    model::{ImageUse, Reference, Verdict, error_chain},
    policy::Policy,
    workload::Namespaces,
};

/// To list the workloads of a large cluster, and to decide on them.
const DEADLINE: Duration = Duration::from_secs(60);

/// The images that would be mirrored, by where they come from and where they go to.
#[derive(Default)]
pub struct Images {
    /// By registry: one of its images, and the number of different ones.
    pub sources: BTreeMap<String, (Reference, usize)>,
    /// By target: one repository that is written to.
    pub repositories: BTreeMap<String, String>,
    /// The image uses that are mirrored and have pull secrets.
    pub with_pull_secrets: Vec<UseWithPullSecrets>,
}

/// An image use that is mirrored, and has pull secrets.
pub struct UseWithPullSecrets {
    pub source: Reference,
    pub image_use: ImageUse,
}

/// Of the cluster, or of `files`.
pub async fn images(config: &Config, files: &[PathBuf], policy: &Policy) -> (Vec<Finding>, Images) {
    let uses = match timeout(DEADLINE, collect::image_uses(config, files)).await {
        Ok(Ok(uses)) => uses,
        Ok(Err(error)) => {
            let remedy = "correct what it says; until then no source is checked";
            return (vec![Group::Images.failed("workloads", error_chain(&error), remedy)], Images::default());
        }
        Err(_) => {
            let found = format!("not listed within {} s", DEADLINE.as_secs());
            return (vec![Group::Images.failed("workloads", found, "check the API server's load")], Images::default());
        }
    };
    let empty_namespaces = if files.is_empty() { empty_namespaces(config, &uses) } else { Vec::new() };
    let workloads: HashSet<_> = uses.iter().map(|image_use| image_use.workload.id.clone()).collect();
    let (containers, mut skipped, mut undecided) = (uses.len(), 0, 0);
    let mut sources: BTreeMap<String, BTreeSet<Reference>> = BTreeMap::new();
    let mut repositories = BTreeMap::new();
    let Ok(decisions) = timeout(DEADLINE, policy.decide(uses.clone())).await else {
        let found = format!("the plugins did not decide on {containers} containers within {} s", DEADLINE.as_secs());
        let remedy = "find the slow plugin with `k8s-copycat plan`";
        return (vec![Group::Images.failed("workloads", found, remedy)], Images::default());
    };
    let mut desired = Vec::new();
    let mut with_pull_secrets = Vec::new();
    for (image_use, decision) in uses.into_iter().zip(decisions) {
        match decision.verdict {
            Verdict::Mirror { source, destinations } => {
                if !image_use.pull_secrets.is_empty() {
                    with_pull_secrets.push(UseWithPullSecrets { source: source.clone(), image_use: image_use.clone() });
                }
                for destination in &destinations {
                    let repository = || destination.repository.clone();
                    repositories.entry(destination.target.name.clone()).or_insert_with(repository);
                }
                sources.entry(source.registry().to_owned()).or_default().insert(source.clone());
                desired.push(DesiredImage { image_use, source, destinations });
            }
            Verdict::Skip(_) => skipped += 1,
            Verdict::Error { .. } => undecided += 1,
        }
    }
    let images: usize = sources.values().map(BTreeSet::len).sum();
    let conflicts = Conflicts::among(desired).destinations();
    let mut found = format!(
        "{} of {}: {} to mirror, {skipped} skipped, {undecided} undecided",
        counted(containers, "container"),
        counted(workloads.len(), "workload"),
        counted(images, "image")
    );
    if conflicts > 0 {
        found += &format!(", {} with a conflict", counted(conflicts, "destination"));
    }
    let finding = match (undecided, conflicts) {
        (0, 0) => Group::Images.ok("workloads", found),
        (_, 0) => Group::Images.warning("workloads", found, "`k8s-copycat plan` names the undecided ones"),
        (_, _) => {
            let remedy = "`k8s-copycat plan` names them; for conflicts add $registry to the repository prefix, or a pathMap rule";
            Group::Images.warning("workloads", found, remedy)
        }
    };
    let sources = sources.into_iter().filter_map(|(registry, images)| {
        let count = images.len();
        Some((registry, (images.into_iter().next()?, count)))
    });
    let findings = [finding].into_iter().chain(empty_namespaces).collect();
    (findings, Images { sources: sources.collect(), repositories, with_pull_secrets })
}

/// A namespace with another name than intended would be mirrored without an error: there is nothing in it.
fn empty_namespaces(config: &Config, uses: &[ImageUse]) -> Vec<Finding> {
    let used: HashSet<&str> = uses.iter().map(|image_use| image_use.workload.id.namespace.as_str()).collect();
    let Namespaces::Named(names) = build::watch_settings(config).namespaces else { return Vec::new() };
    let empty = names.iter().filter(|name| !used.contains(name.as_str()));
    let finding = |name: &String| {
        let remedy = "correct includeNamespaces if the namespace has another name";
        Group::Images.warning(format!("namespace {name}"), "no workload with a container is in it", remedy)
    };
    empty.map(finding).collect()
}

/// `1 image`, `2 images`
pub fn counted(count: usize, what: &str) -> String {
    if count == 1 { format!("1 {what}") } else { format!("{count} {what}s") }
}
