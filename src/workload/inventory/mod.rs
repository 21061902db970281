//! The image uses in the objects of a cluster or of manifest files, in whatever order these arrive.
//!
//! A Pod or Job that is owned by a watched workload folds into that workload: it adds containers that the workload's own
//! template lacks, and the running digests. Without a watched owner it is a workload by itself.

mod intern;
mod namespaces;
mod nodes;
mod objects;
mod owners;
mod record;
mod uses;

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    hash::RandomState,
    sync::Arc,
};

use intern::Interner;
use nodes::{Affected, Nodes};
use objects::Objects;
use record::Record;
pub(super) use record::{ObjectKey, ObjectKind};

use super::object::Object;
use crate::model::{ImageUse, PullSecretScope, WorkloadId, WorkloadKind};

/// A difference between what the cluster runs and what was last reported.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// All image uses of a workload; at least one.
    Set {
        /// The workload.
        workload: WorkloadId,
        /// Init, regular, ephemeral containers, image volumes; then those that only its Pods have.
        uses: Vec<ImageUse>,
    },
    /// The workload runs no images any more, or folds into its owner.
    Removed(WorkloadId),
    /// Everything that existed at the start has been reported. Sent once.
    InventoryComplete,
}

/// A workload with more Pods than this is evaluated at most once a round when only its Pods change: the cost grows with
/// the number of Pods, and during a rollout each Pod changes several times.
const LARGE_WORKLOAD: usize = 200;

/// The labels of a namespace, which all its workloads share.
type Labels = Arc<BTreeMap<String, String>>;

/// All known objects, and what was reported of them.
pub(super) struct Inventory {
    watched: Vec<WorkloadKind>,
    intermediate_kinds: Vec<ObjectKind>,
    grace_rounds: u8,
    interner: Interner,
    objects: Objects,
    /// By controller, which may be unknown: the objects that it owns.
    children: HashMap<ObjectKey, BTreeSet<ObjectKey>>,
    /// Controllers that are named but unknown, with the rounds waited so far; removed after the grace period.
    missing_owners: BTreeMap<ObjectKey, u8>,
    /// The labels of namespaces; none if they cannot be read.
    namespaces: Option<HashMap<Arc<str>, Labels>>,
    /// Namespaces that have objects but are unknown, with the rounds waited so far.
    missing_namespaces: BTreeMap<Arc<str>, u8>,
    /// None if nodes are not tracked.
    nodes: Option<Nodes>,
    keep_missing_images: bool,
    pull_secrets: PullSecretScope,
    dirty: BTreeSet<ObjectKey>,
    /// Marked dirty again at the end of the round.
    deferred: BTreeSet<ObjectKey>,
    round: u64,
    reported: HashMap<ObjectKey, ReportedUses>,
    hasher: RandomState,
}

/// What was last reported of a workload.
struct ReportedUses {
    fingerprint: u64,
    /// The round of the last evaluation; none if the object itself has changed since.
    round: Option<u64>,
}

impl Inventory {
    /// An empty inventory that reports workloads of the kinds `watched`.
    ///
    /// An object whose controller or namespace is missing is held back for `grace_rounds` calls of
    /// [`Inventory::end_evaluation_round`]: watches of different kinds are not synchronised, and a Pod outlives its
    /// deleted Deployment by some seconds. After that it is a workload by itself.
    pub fn new(watched: &[WorkloadKind], grace_rounds: u8) -> Self {
        Self {
            watched: watched.to_vec(),
            intermediate_kinds: intermediate_kinds(watched),
            grace_rounds,
            interner: Interner::default(),
            objects: Objects::default(),
            children: HashMap::new(),
            missing_owners: BTreeMap::new(),
            namespaces: None,
            missing_namespaces: BTreeMap::new(),
            nodes: None,
            keep_missing_images: false,
            pull_secrets: PullSecretScope::Off,
            dirty: BTreeSet::new(),
            deferred: BTreeSet::new(),
            round: 0,
            reported: HashMap::new(),
            hasher: RandomState::new(),
        }
    }

    /// Reports containers without an image too, with an empty image. In a cluster they are not an error: a template may
    /// have a blank image that some controller replaces.
    pub fn keep_missing_images(&mut self) {
        self.keep_missing_images = true;
    }

    /// From now on, image uses in these namespaces carry their pull secrets. Call it before adding objects.
    pub fn set_pull_secrets(&mut self, namespaces: PullSecretScope) {
        self.pull_secrets = namespaces;
    }

    /// None for an object without `name` and `generateName`.
    pub fn key(&mut self, kind: ObjectKind, object: &Object) -> Option<ObjectKey> {
        // Only objects in manifest files may have no name yet.
        let name = object.metadata.name.as_deref().or(object.metadata.generate_name.as_deref())?;
        let namespace = object.metadata.namespace.as_deref().unwrap_or("default");
        Some(ObjectKey { kind, namespace: self.interner.text(namespace), name: name.into() })
    }

    /// Adds or updates an object. Kinds that are neither watched nor between a Pod and a watched kind are ignored.
    pub fn apply(&mut self, key: ObjectKey, object: &Object) {
        if !self.is_kept(key.kind) {
            return;
        }
        let has_ended = key.kind == ObjectKind::Workload(WorkloadKind::Pod)
            && object.status.as_ref().and_then(|status| status.phase.as_ref()).is_some_and(
                // A Pod in a hand-written manifest has no phase, and is meant to run.
                |phase| !matches!(phase.0.as_str(), "" | "Pending" | "Running"),
            );
        if has_ended {
            self.remove(&key);
            return;
        }
        let mut record = Record::new(key.kind, self.is_watched(key.kind), object, &mut self.interner);
        if self.nodes.is_none() {
            record.node = None;
        }
        if self.pull_secrets.covers(&key.namespace) {
            record = record.with_pull_secrets(key.kind, &key.namespace, object, &mut self.interner);
        }
        if let Some(before) = self.objects.get(&key) {
            record.keep_running_images(before);
            if *before == record {
                return;
            }
            if before.controller == record.controller {
                self.replace(&key, record);
                return;
            }
            self.remove(&key);
        }
        self.insert(key, record);
    }

    fn insert(&mut self, key: ObjectKey, record: Record) {
        if let Some(parent) = self.parent(&key, &record) {
            // An owner with other dependents is already waited for, or given up.
            if self.grace_rounds > 0 && !self.children.contains_key(&parent) && !self.objects.contains(&parent) {
                self.missing_owners.insert(parent.clone(), 0);
            }
            self.children.entry(parent).or_default().insert(key.clone());
        }
        self.missing_owners.remove(&key);
        if let (Some(nodes), Some(node)) = (&mut self.nodes, &record.node) {
            nodes.add_pod(Arc::clone(node), key.clone());
        }
        self.objects.insert(key.clone(), record);
        self.mark_descendants_dirty(&key);
    }

    /// The object has changed, but not its owner: it and its descendants fold into the same workload.
    fn replace(&mut self, key: &ObjectKey, record: Record) {
        let node = record.node.clone();
        let before = self.objects.insert(key.clone(), record).and_then(|before| before.node);
        if let Some(nodes) = self.nodes.as_mut().filter(|_| before != node) {
            if let Some(node) = before {
                nodes.remove_pod(&node, key);
            }
            if let Some(node) = node {
                nodes.add_pod(node, key.clone());
            }
        }
        if let Some(last) = self.reported.get_mut(key) {
            last.round = None;
        }
        self.mark_dirty(key);
    }

    pub fn remove(&mut self, key: &ObjectKey) {
        let Some(record) = self.objects.get(key) else { return };
        let (parent, node) = (self.parent(key, record), record.node.clone());
        self.mark_descendants_dirty(key);
        self.objects.remove(key);
        if let Some(parent) = parent {
            self.unlink(&parent, key);
        }
        if let (Some(nodes), Some(node)) = (&mut self.nodes, node) {
            nodes.remove_pod(&node, key);
        }
        if self.grace_rounds > 0 && self.children.contains_key(key) {
            self.missing_owners.insert(key.clone(), 0);
        }
        if !self.objects.has_any_in(&key.namespace) {
            self.missing_namespaces.remove(&key.namespace);
        }
    }

    /// Removes all objects of this kind (and namespace, if given) that are not in `seen`.
    pub fn retain(&mut self, kind: ObjectKind, namespace: Option<&str>, seen: &HashSet<ObjectKey>) {
        let known = self.objects.keys(namespace).filter(|key| key.kind == kind);
        let gone: Vec<ObjectKey> = known.filter(|key| !seen.contains(*key)).cloned().collect();
        for key in &gone {
            self.remove(key);
        }
    }

    /// From now on, image uses carry the platforms that they need. Call it before adding objects.
    pub fn track_nodes(&mut self) {
        self.nodes.get_or_insert_default();
    }

    /// Sets the labels of a node; none removes it.
    pub fn node(&mut self, name: &str, labels: Option<&BTreeMap<String, String>>) {
        let Some(nodes) = &mut self.nodes else { return };
        let affected = match labels {
            Some(labels) => nodes.set(self.interner.text(name), labels),
            None => nodes.remove(name),
        };
        match affected {
            Affected::None => {}
            Affected::Node => {
                let pods: Vec<ObjectKey> = nodes.pods(name).cloned().collect();
                for pod in &pods {
                    self.mark_dirty(pod);
                }
            }
            Affected::All => self.dirty.extend(self.objects.keys(None).cloned()),
        }
    }

    /// Removes all nodes that are not in `seen`.
    pub fn retain_nodes(&mut self, seen: &HashSet<String>) {
        let known = self.nodes.iter().flat_map(Nodes::names);
        let gone: Vec<Arc<str>> = known.filter(|name| !seen.contains(name.as_ref())).cloned().collect();
        for name in gone {
            self.node(&name, None);
        }
    }

    pub fn end_evaluation_round(&mut self) {
        self.round += 1;
        self.dirty.append(&mut self.deferred);
        for rounds in self.missing_owners.values_mut().chain(self.missing_namespaces.values_mut()) {
            *rounds = rounds.saturating_add(1);
        }
        let grace_rounds = self.grace_rounds;
        let expired: Vec<ObjectKey> =
            self.missing_owners.extract_if(.., |_, rounds| *rounds >= grace_rounds).map(|(key, _)| key).collect();
        for key in &expired {
            self.mark_descendants_dirty(key);
        }
    }

    /// The changes since the last call, one per workload, ordered by kind, namespace and name.
    pub fn changes(&mut self) -> Vec<Change> {
        let mut changes = Vec::new();
        for key in std::mem::take(&mut self.dirty) {
            let ObjectKind::Workload(kind) = key.kind else { continue };
            let id = || WorkloadId { kind, namespace: key.namespace.to_string(), name: key.name.to_string() };
            let uses = if self.root(&key).as_ref() == Some(&key) {
                if self.is_waiting_for_namespace(&key) || self.was_evaluated_this_round(&key) {
                    self.deferred.insert(key);
                    continue;
                }
                self.uses(&key, id())
            } else {
                Vec::new()
            };
            if uses.is_empty() {
                if self.reported.remove(&key).is_some() {
                    changes.push(Change::Removed(id()));
                }
                continue;
            }
            let fingerprint = uses::fingerprint(&self.hasher, &uses);
            let reported = ReportedUses { fingerprint, round: Some(self.round) };
            if self.reported.get(&key).map(|last| last.fingerprint) != Some(fingerprint) {
                changes.push(Change::Set { workload: id(), uses });
            }
            self.reported.insert(key, reported);
        }
        changes
    }

    /// Whether it is large, and has been evaluated in this round after its own last change.
    fn was_evaluated_this_round(&self, root: &ObjectKey) -> bool {
        self.reported.get(root).is_some_and(|last| last.round == Some(self.round)) && self.is_large(root)
    }

    fn is_large(&self, root: &ObjectKey) -> bool {
        let Some(children) = self.children.get(root) else { return false };
        let below = |child| self.children.get(child).map_or(0, BTreeSet::len);
        children.len() > LARGE_WORKLOAD || children.len() + children.iter().map(below).sum::<usize>() > LARGE_WORKLOAD
    }

    fn is_watched(&self, kind: ObjectKind) -> bool {
        matches!(kind, ObjectKind::Workload(kind) if self.watched.contains(&kind))
    }

    /// Whether objects of this kind are stored: watched kinds, and those between a Pod and a watched kind.
    fn is_kept(&self, kind: ObjectKind) -> bool {
        self.is_watched(kind) || self.intermediate_kinds.contains(&kind)
    }
}

/// The kinds between a Pod and its owner that have to be read besides `watched`, for their metadata only.
pub(super) fn intermediate_kinds(watched: &[WorkloadKind]) -> Vec<ObjectKind> {
    let mut intermediate_kinds = Vec::new();
    if watched.contains(&WorkloadKind::Pod) {
        intermediate_kinds.push(ObjectKind::ReplicaSet);
        if !watched.contains(&WorkloadKind::Job) {
            intermediate_kinds.push(ObjectKind::Workload(WorkloadKind::Job));
        }
    }
    intermediate_kinds
}

#[cfg(test)]
mod tests;
