//! The images of all uses, each once, with where the mirror has them.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    holdings::{Holdings, source_name},
    obstacle::Obstacle,
    rule::join,
};
use crate::model::{
    ContainerKind, Decision, Destination, ImageUse, Reference, Target, TargetAddress, Verdict, WorkloadId, cut_image,
    printable,
};

/// An image use and what was decided.
#[derive(Clone, Debug)]
pub struct DecidedUse {
    /// The image use.
    pub image_use: ImageUse,
    /// The decision on it.
    pub decision: Decision,
    /// For each destination of the decision the other image that claims it, if there is one, with its workload.
    pub conflicts: Vec<Option<String>>,
}

/// An image as workloads name it.
#[derive(Clone, Debug, Default)]
pub struct Image {
    /// None if the name is malformed.
    pub source: Option<Reference>,
    /// The texts that name it.
    pub written: BTreeSet<String>,
    pub workloads: BTreeSet<WorkloadId>,
    /// The number of containers.
    pub uses: usize,
    /// A volume has it.
    pub is_in_volume: bool,
    /// It is named as an image of the mirror itself.
    pub is_named_at_mirror: bool,
    pub copies: BTreeSet<ImageCopy>,
    /// Why some uses have no copy.
    pub obstacles: BTreeSet<Obstacle>,
}

/// Where the mirror has an image.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ImageCopy {
    /// The repository, with the target's own path.
    pub path: String,
    pub tag: Option<String>,
}

impl Image {
    /// Whether runtimes ask for a digest, and so can't get another image.
    pub fn is_by_digest(&self) -> bool {
        self.source.as_ref().is_some_and(|source| source.digest().is_some())
    }
}

/// All images by their names.
pub fn images(uses: &[DecidedUse], target: &Target) -> BTreeMap<String, Image> {
    let mut images = BTreeMap::<String, Image>::new();
    for DecidedUse { image_use, decision, conflicts } in uses {
        let source = image_use.image.parse::<Reference>().ok();
        let name = source.as_ref().map_or_else(|| shown(&image_use.image), ToString::to_string);
        let image = images.entry(name).or_default();
        image.uses += 1;
        image.is_in_volume |= image_use.container.kind == ContainerKind::Volume;
        image.written.insert(image_use.image.clone());
        image.workloads.insert(image_use.workload.id.clone());
        image.is_named_at_mirror |=
            source.as_ref().is_some_and(|source| target.address().contains(source.registry(), source.repository()));
        image.source = source;
        match &decision.verdict {
            Verdict::Skip(reason) => drop(image.obstacles.insert(Obstacle::Skipped(shown(reason)))),
            Verdict::Error { reason, .. } => drop(image.obstacles.insert(Obstacle::Undecided(shown(reason)))),
            Verdict::Mirror { destinations, .. } => {
                let at_target = destinations.iter().zip(conflicts).filter(|(at, _)| at.target.name == target.name);
                let mut is_at_target = false;
                for (destination, conflict) in at_target {
                    is_at_target = true;
                    let (path, tag) = (full_path(destination), destination.tag.clone());
                    if let Some(other) = conflict {
                        let place = destination.to_string();
                        image.obstacles.insert(Obstacle::Conflict { other: shown(other), place });
                    } else {
                        image.copies.insert(ImageCopy { path, tag });
                    }
                }
                if !is_at_target {
                    image.obstacles.insert(Obstacle::OtherTarget(target.name.clone()));
                }
            }
        }
    }
    images
}

/// What the registry `host` holds for which name: every destination at any target there, and the images that workloads name
/// as its own.
pub fn holdings(uses: &[DecidedUse], host: &str) -> Holdings {
    let mut holdings = Holdings::default();
    for DecidedUse { image_use, decision, .. } in uses {
        if let Verdict::Mirror { source, destinations } = &decision.verdict {
            let owner = source_name(source.registry(), source.repository());
            for destination in destinations.iter().filter(|destination| is_at(destination, host)) {
                holdings.add(full_path(destination), owner.clone());
            }
        }
        if let Ok(named) = image_use.image.parse::<Reference>()
            && is_same_registry(named.registry(), host)
        {
            holdings.add_named(named.repository().to_owned(), source_name(named.registry(), named.repository()));
        }
    }
    holdings
}

fn is_at(destination: &Destination, host: &str) -> bool {
    match destination.target.address() {
        TargetAddress::Registry { host: other, .. } => is_same_registry(other, host),
        TargetAddress::Layout(_) => false,
    }
}

fn is_same_registry(one: &str, other: &str) -> bool {
    source_name(one, "x") == source_name(other, "x")
}

fn full_path(destination: &Destination) -> String {
    match destination.target.address() {
        TargetAddress::Registry { path, .. } => join(path, &destination.repository),
        TargetAddress::Layout(_) => destination.repository.clone(),
    }
}

/// External text as it may be shown and stored.
fn shown(text: &str) -> String {
    if text.is_empty() { "(none)".to_owned() } else { printable(&cut_image(text)).into_owned() }
}
