//! The image uses of one workload.

use std::{
    cmp::Reverse,
    collections::{HashMap, HashSet},
    hash::{BuildHasher, Hash, Hasher as _, RandomState},
    sync::Arc,
};

use super::{
    Inventory, Key, Kind,
    record::{ContainerRecord, Place, Record},
};
use crate::model::{Container, ImageUse, Owner, Running, Workload, WorkloadId, WorkloadKind};

impl Inventory {
    /// The uses of the workload `root`: its own containers, then what its family has beyond them.
    pub(super) fn uses(&self, root: &Key, id: WorkloadId) -> Vec<ImageUse> {
        let Some(record) = self.objects.get(root) else { return Vec::new() };
        let family = self.family(root);
        let members = || family.iter().filter_map(|key| Some((key, self.objects.get(key)?)));

        let mut containers: Vec<&ContainerRecord> = record.containers.iter().collect();
        let mut places: HashMap<Place<'_>, usize> =
            containers.iter().copied().map(ContainerRecord::place).zip(0..).collect();
        let mut extra: Vec<&ContainerRecord> = members()
            .flat_map(|(_, member)| &member.containers)
            .filter(|container| !places.contains_key(&container.place()))
            .collect();
        extra.sort_by_key(|container| container.place());
        extra.dedup_by_key(|container| container.place());
        for container in extra {
            places.insert(container.place(), containers.len());
            containers.push(container);
        }

        let mut pods: Vec<(&Key, &Record)> =
            members().filter(|(key, _)| key.kind == Kind::Workload(WorkloadKind::Pod)).collect();
        pods.sort_by_key(|(key, pod)| (Reverse(pod.created), &key.name));
        let mut runs: Vec<Runs<'_>> = containers.iter().map(|_| Runs::default()).collect();
        for (_, pod) in &pods {
            for container in &pod.containers {
                let place = places.get(&container.place()).copied();
                if let Some(runs) = place.and_then(|place| runs.get_mut(place)) {
                    runs.add(container.running.as_deref(), pod);
                }
            }
        }

        let workload = Arc::new(self.workload(root, record, id));
        containers
            .into_iter()
            .zip(runs)
            .filter(|(container, _)| self.tells_missing_images || !container.image.is_empty())
            .map(|(container, runs)| ImageUse {
                platforms: self.nodes.as_ref().and_then(|nodes| nodes.needed(runs.nodes.into_iter())),
                workload: Arc::clone(&workload),
                container: Container { name: container.name.to_string(), kind: container.kind },
                image: container.image.to_string(),
                running: runs
                    .images
                    .into_iter()
                    .filter_map(|(text, since)| Some(Running { image: text.parse().ok()?, since }))
                    .collect(),
            })
            .collect()
    }

    fn workload(&self, key: &Key, record: &Record, id: WorkloadId) -> Workload {
        let namespace_labels = self.namespaces.as_ref().and_then(|namespaces| namespaces.get(&key.namespace));
        Workload {
            id,
            uid: record.uid.to_string(),
            owners: self.owners(key, record),
            labels: record.labels.to_map(),
            annotations: record.annotations.to_map(),
            namespace_labels: namespace_labels.cloned().unwrap_or_default(),
            created: record.created,
        }
    }

    /// The chain of controllers, nearest first, as far as it is known.
    fn owners(&self, key: &Key, record: &Record) -> Vec<Owner> {
        let mut owners = Vec::new();
        let mut at = Some((key.clone(), record));
        while let Some((key, record)) = at {
            owners.extend(record.controller.as_ref().map(super::record::Controller::to_owner));
            at = record.parent(&key).and_then(|parent| {
                let record = self.objects.get(&parent)?;
                Some((parent, record))
            });
        }
        owners
    }
}

/// What the Pods of a workload run in one container, and where.
#[derive(Default)]
struct Runs<'a> {
    /// Each with when the newest Pod that runs it was made; the newest first.
    images: Vec<(&'a str, i64)>,
    known: HashSet<&'a str>,
    nodes: HashSet<Option<&'a str>>,
}

impl<'a> Runs<'a> {
    /// The next Pod, none newer than the ones before.
    fn add(&mut self, image: Option<&'a str>, pod: &'a Record) {
        self.nodes.insert(pod.node.as_deref());
        if let Some(image) = image
            && self.known.insert(image)
        {
            self.images.push((image, pod.created));
        }
    }
}

/// A number that differs when anything in these uses of one workload does. Its key is random for each inventory, so
/// that nobody can make two uses that share it.
pub(super) fn fingerprint(hasher: &RandomState, uses: &[ImageUse]) -> u64 {
    let mut state = hasher.build_hasher();
    if let Some(first) = uses.first() {
        let Workload { id, uid, owners, labels, annotations, namespace_labels, created } = first.workload.as_ref();
        (id, uid, owners, labels, annotations, namespace_labels, created).hash(&mut state);
    }
    for ImageUse { workload: _, container, image, running, platforms } in uses {
        (container, image, platforms).hash(&mut state);
        // A newer Pod with an image that runs already is no change.
        for Running { image, since: _ } in running {
            image.hash(&mut state);
        }
    }
    state.finish()
}
