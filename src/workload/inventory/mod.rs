//! Which image uses there are, given the objects of a cluster or of manifest files, in whatever order they come.
//!
//! A Pod or a Job that a counted workload made folds into that workload: it adds what the workload's own template
//! lacks, and the digests that run. One that nothing counted made counts itself.

mod intern;
mod nodes;
mod record;
mod uses;

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    hash::RandomState,
    sync::Arc,
};

use intern::{Interner, Pairs};
use nodes::{Nodes, Touched};
use record::Record;
pub(super) use record::{Key, Kind};

use super::object::Object;
use crate::model::{ImageUse, WorkloadId, WorkloadKind};

/// A difference between what the cluster runs and what was told before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// This workload has these image uses now, and no others; there is at least one.
    Set {
        /// Whose.
        workload: WorkloadId,
        /// Init, regular, ephemeral containers; then what its Pods have beyond its template.
        uses: Vec<ImageUse>,
    },
    /// This workload runs no images any more, or counts under its owner.
    Removed(WorkloadId),
    /// All that was there when watching began has been told. Comes once.
    Ready,
}

/// All objects that are known, and what was told of them.
pub(super) struct Inventory {
    counted: Vec<WorkloadKind>,
    grace: u8,
    interner: Interner,
    objects: HashMap<Key, Record>,
    /// The objects that name this one as their controller, whether it is known or not.
    children: HashMap<Key, BTreeSet<Key>>,
    /// Controllers that are named but not known, and for how many rounds they have been missed.
    absent: BTreeMap<Key, u8>,
    /// The labels of namespaces; none where they can't be read.
    namespaces: Option<HashMap<Arc<str>, Pairs>>,
    absent_namespaces: BTreeMap<Arc<str>, u8>,
    /// None where nobody asks what Pods run on.
    nodes: Option<Nodes>,
    tells_missing_images: bool,
    changed: BTreeSet<Key>,
    told: HashMap<Key, u64>,
    hasher: RandomState,
}

impl Inventory {
    /// An empty inventory that counts workloads of the kinds `counted`.
    ///
    /// An object whose controller or namespace is to be known but is not yet, or not any more, is held back for
    /// `grace` rounds of [`Inventory::age`]: watches of different kinds do not keep step, and a Pod outlives its
    /// deleted Deployment by some seconds. After that it counts itself.
    pub fn new(counted: &[WorkloadKind], grace: u8) -> Self {
        Self {
            counted: counted.to_vec(),
            grace,
            interner: Interner::default(),
            objects: HashMap::new(),
            children: HashMap::new(),
            absent: BTreeMap::new(),
            namespaces: None,
            absent_namespaces: BTreeMap::new(),
            nodes: None,
            tells_missing_images: false,
            changed: BTreeSet::new(),
            told: HashMap::new(),
            hasher: RandomState::new(),
        }
    }

    /// From now on a container that names no image is a use of one, of an empty name. The API server takes none in a Pod;
    /// in a template it takes a blank, which a controller of somebody's replaces, so that in a cluster it is no mistake.
    pub fn tell_missing_images(&mut self) {
        self.tells_missing_images = true;
    }

    /// What names an object here; nothing for one without a name or the start of one.
    pub fn key(&mut self, kind: Kind, object: &Object<()>) -> Option<Key> {
        // Only in a manifest file an object may leave its name to the server.
        let name = object.metadata.name.as_deref().or(object.metadata.generate_name.as_deref())?;
        let namespace = object.metadata.namespace.as_deref().unwrap_or("default");
        Some(Key { kind, namespace: self.interner.text(namespace), name: name.into() })
    }

    /// Takes in an object as it is now.
    pub fn apply(&mut self, key: Key, object: &Object<()>) {
        let is_over = key.kind == Kind::Workload(WorkloadKind::Pod)
            && object.status.as_ref().and_then(|status| status.phase.as_ref()).is_some_and(
                // A Pod in a manifest that a person wrote has no phase: it is to run.
                |phase| !matches!(phase.0.as_str(), "" | "Pending" | "Running"),
            );
        if is_over {
            self.remove(&key);
            return;
        }
        let mut record = Record::new(key.kind, object, &mut self.interner);
        if self.nodes.is_none() {
            record.node = None;
        }
        let before = self.objects.get(&key);
        if let Some(before) = before {
            record.remember(before);
            if *before == record {
                return;
            }
        }
        let parent_before = before.and_then(|before| before.parent(&key));
        let parent = record.parent(&key).filter(|parent| self.keeps(parent.kind));
        self.touch(&key);
        if parent_before != parent {
            self.unlink(parent_before.as_ref(), &key);
            if let Some(parent) = parent {
                if !self.objects.contains_key(&parent) {
                    self.absent.entry(parent.clone()).or_insert(0);
                }
                self.children.entry(parent).or_default().insert(key.clone());
            }
        }
        self.absent.remove(&key);
        self.objects.insert(key.clone(), record);
        self.touch(&key);
    }

    /// The object is gone.
    pub fn remove(&mut self, key: &Key) {
        let Some(record) = self.objects.get(key) else { return };
        let parent = record.parent(key);
        self.touch(key);
        self.objects.remove(key);
        self.unlink(parent.as_ref(), key);
        if self.children.contains_key(key) {
            self.absent.insert(key.clone(), 0);
        }
    }

    /// Removes every object of that kind, and of that namespace where one is given, that `seen` lacks.
    pub fn retain(&mut self, kind: Kind, namespace: Option<&str>, seen: &HashSet<Key>) {
        let gone: Vec<Key> = self
            .objects
            .keys()
            .filter(|key| key.kind == kind && namespace.is_none_or(|namespace| *key.namespace == *namespace))
            .filter(|key| !seen.contains(*key))
            .cloned()
            .collect();
        for key in &gone {
            self.remove(key);
        }
    }

    /// From now on a workload waits for its namespace's labels.
    pub fn expect_namespaces(&mut self) {
        self.namespaces.get_or_insert_default();
    }

    /// The namespace has these labels; none when it is gone.
    pub fn namespace(&mut self, name: &str, labels: Option<&BTreeMap<String, String>>) {
        let name = self.interner.text(name);
        let namespaces = self.namespaces.get_or_insert_default();
        match labels {
            Some(labels) => {
                let labels = self.interner.pairs(labels);
                if namespaces.get(&name) == Some(&labels) {
                    return;
                }
                namespaces.insert(Arc::clone(&name), labels);
                self.absent_namespaces.remove(&name);
            }
            None => {
                namespaces.remove(&name);
            }
        }
        self.changed.extend(self.objects.keys().filter(|key| key.namespace == name).cloned());
    }

    /// Removes every namespace that `seen` lacks.
    pub fn retain_namespaces(&mut self, seen: &HashSet<String>) {
        let known = self.namespaces.iter().flat_map(HashMap::keys);
        let gone: Vec<Arc<str>> = known.filter(|name| !seen.contains(name.as_ref())).cloned().collect();
        for name in gone {
            self.namespace(&name, None);
        }
    }

    /// Whether such a namespace is known; nothing where namespaces can't be read.
    pub fn knows_namespace(&self, name: &str) -> Option<bool> {
        self.namespaces.as_ref().map(|namespaces| namespaces.contains_key(name))
    }

    /// From now on uses tell the platforms that they need. To be called before anything is taken in.
    pub fn expect_nodes(&mut self) {
        self.nodes.get_or_insert_default();
    }

    /// The node has these labels; none when it is gone.
    pub fn node(&mut self, name: &str, labels: Option<&BTreeMap<String, String>>) {
        let Some(nodes) = &mut self.nodes else { return };
        let objects = &self.objects;
        let touched = match labels {
            Some(labels) => nodes.set(self.interner.text(name), labels),
            None => nodes.remove(name, |name| objects.values().any(|record| record.node.as_deref() == Some(name))),
        };
        let is_touched = |record: &Record| match touched {
            Touched::Nobody => false,
            Touched::Node => record.node.as_deref() == Some(name),
            Touched::Everybody => true,
        };
        let keys: Vec<Key> =
            objects.iter().filter(|(_, record)| is_touched(record)).map(|(key, _)| key.clone()).collect();
        for key in &keys {
            self.touch(key);
        }
    }

    /// Removes every node that `seen` lacks.
    pub fn retain_nodes(&mut self, seen: &HashSet<String>) {
        let known = self.nodes.iter().flat_map(Nodes::names);
        let gone: Vec<Arc<str>> = known.filter(|name| !seen.contains(name.as_ref())).cloned().collect();
        for name in gone {
            self.node(&name, None);
        }
    }

    /// One round of waiting is over.
    pub fn age(&mut self) {
        let mut given_up = Vec::new();
        for (key, rounds) in &mut self.absent {
            if *rounds < self.grace {
                *rounds += 1;
                if *rounds == self.grace {
                    given_up.push(key.clone());
                }
            }
        }
        for key in &given_up {
            self.touch(key);
        }
        for rounds in self.absent_namespaces.values_mut() {
            *rounds = rounds.saturating_add(1);
        }
    }

    /// What differs from what was told before, each workload once, in the order of kind, namespace and name.
    pub fn changes(&mut self) -> Vec<Change> {
        let mut changes = Vec::new();
        for key in std::mem::take(&mut self.changed) {
            let Kind::Workload(kind) = key.kind else { continue };
            let id = || WorkloadId { kind, namespace: key.namespace.to_string(), name: key.name.to_string() };
            let uses = if self.root(&key).as_ref() == Some(&key) {
                if self.awaits_namespace(&key) {
                    self.changed.insert(key);
                    continue;
                }
                self.uses(&key, id())
            } else {
                Vec::new()
            };
            if uses.is_empty() {
                if self.told.remove(&key).is_some() {
                    changes.push(Change::Removed(id()));
                }
                continue;
            }
            let fingerprint = uses::fingerprint(&self.hasher, &uses);
            if self.told.get(&key) != Some(&fingerprint) {
                changes.push(Change::Set { workload: id(), uses });
                self.told.insert(key, fingerprint);
            }
        }
        changes
    }

    fn counts(&self, kind: Kind) -> bool {
        matches!(kind, Kind::Workload(kind) if self.counted.contains(&kind))
    }

    /// Whether objects of this kind come in at all: what is counted, and what leads from a Pod to its owner.
    fn keeps(&self, kind: Kind) -> bool {
        self.counts(kind) || links(&self.counted).contains(&kind)
    }

    /// Under which counted object this one counts; nothing while that is open, or if there is none.
    fn root(&self, key: &Key) -> Option<Key> {
        let mut root = None;
        let mut at = key.clone();
        loop {
            let record = self.objects.get(&at)?;
            let parent = record.parent(&at);
            if self.counts(at.kind) {
                root = Some(at);
            }
            let Some(parent) = parent.filter(|parent| self.keeps(parent.kind)) else { break };
            if self.absent.get(&parent).is_some_and(|rounds| *rounds < self.grace) {
                return None;
            }
            if !self.objects.contains_key(&parent) {
                break;
            }
            at = parent;
        }
        root
    }

    /// This object and what folds into it, whether it is known itself or not.
    fn family(&self, key: &Key) -> Vec<Key> {
        let mut family = vec![key.clone()];
        let mut next = 0;
        while let Some(member) = family.get(next) {
            let children = self.children.get(member).into_iter().flatten().cloned().collect::<Vec<_>>();
            family.extend(children);
            next += 1;
        }
        family
    }

    /// Everything that this object has a part in has to be looked at again.
    fn touch(&mut self, key: &Key) {
        for member in self.family(key) {
            if let Some(root) = self.root(&member) {
                self.changed.insert(root);
            }
            self.changed.insert(member);
        }
    }

    fn unlink(&mut self, parent: Option<&Key>, child: &Key) {
        let Some(parent) = parent else { return };
        if let Some(children) = self.children.get_mut(parent) {
            children.remove(child);
            if children.is_empty() {
                self.children.remove(parent);
                self.absent.remove(parent);
            }
        }
    }

    fn awaits_namespace(&mut self, key: &Key) -> bool {
        match &self.namespaces {
            Some(namespaces) if !namespaces.contains_key(&key.namespace) => {
                let rounds = self.absent_namespaces.entry(Arc::clone(&key.namespace)).or_insert(0);
                *rounds < self.grace
            }
            _ => false,
        }
    }
}

/// What has to be known besides the counted kinds, by its metadata alone, so that Pods find their owners.
pub(super) fn links(counted: &[WorkloadKind]) -> Vec<Kind> {
    let mut links = Vec::new();
    if counted.contains(&WorkloadKind::Pod) {
        links.push(Kind::ReplicaSet);
        if !counted.contains(&WorkloadKind::Job) {
            links.push(Kind::Workload(WorkloadKind::Job));
        }
    }
    links
}

#[cfg(test)]
mod tests;
