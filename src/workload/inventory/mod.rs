//! Which image uses there are, given the objects of a cluster or of manifest files, in whatever order they come.
//!
//! A Pod or a Job that a counted workload made folds into that workload: it adds what the workload's own template
//! lacks, and the digests that run. One that nothing counted made counts itself.

mod intern;
mod nodes;
mod objects;
mod record;
mod uses;

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    hash::RandomState,
    sync::Arc,
};

use intern::Interner;
use nodes::{Nodes, Touched};
use objects::Objects;
use record::Record;
pub(super) use record::{Key, Kind};

use super::object::{Object, bounded};
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

/// A workload with more Pods than this is not looked at more than once a round for their sake: each look costs as much
/// as there are Pods, and each Pod of a rollout gives cause for some.
const LARGE: usize = 200;

/// The labels of a namespace, which all its workloads share.
type Labels = Arc<BTreeMap<String, String>>;

/// All objects that are known, and what was told of them.
pub(super) struct Inventory {
    counted: Vec<WorkloadKind>,
    links: Vec<Kind>,
    grace: u8,
    interner: Interner,
    objects: Objects,
    /// The objects that name this one as their controller, whether it is known or not.
    children: HashMap<Key, BTreeSet<Key>>,
    /// Controllers that are named but not known, and for how many rounds they have been waited for; none that were given
    /// up.
    absent: BTreeMap<Key, u8>,
    /// The labels of namespaces; none where they can't be read.
    namespaces: Option<HashMap<Arc<str>, Labels>>,
    /// Namespaces that have objects but are not known, and for how many rounds they have been missed.
    absent_namespaces: BTreeMap<Arc<str>, u8>,
    /// None where nobody asks what Pods run on.
    nodes: Option<Nodes>,
    tells_missing_images: bool,
    changed: BTreeSet<Key>,
    /// To be looked at when the round is over.
    later: BTreeSet<Key>,
    round: u64,
    told: HashMap<Key, Told>,
    hasher: RandomState,
}

/// What was told of a workload.
struct Told {
    fingerprint: u64,
    /// The round in which it was looked at last; none where it has changed itself since.
    round: Option<u64>,
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
            links: links(counted),
            grace,
            interner: Interner::default(),
            objects: Objects::default(),
            children: HashMap::new(),
            absent: BTreeMap::new(),
            namespaces: None,
            absent_namespaces: BTreeMap::new(),
            nodes: None,
            tells_missing_images: false,
            changed: BTreeSet::new(),
            later: BTreeSet::new(),
            round: 0,
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

    /// Takes in an object as it is now; nothing of a kind that neither counts nor leads to one that does.
    pub fn apply(&mut self, key: Key, object: &Object<()>) {
        if !self.keeps(key.kind) {
            return;
        }
        let is_over = key.kind == Kind::Workload(WorkloadKind::Pod)
            && object.status.as_ref().and_then(|status| status.phase.as_ref()).is_some_and(
                // A Pod in a manifest that a person wrote has no phase: it is to run.
                |phase| !matches!(phase.0.as_str(), "" | "Pending" | "Running"),
            );
        if is_over {
            self.remove(&key);
            return;
        }
        let mut record = Record::new(key.kind, self.counts(key.kind), object, &mut self.interner);
        if self.nodes.is_none() {
            record.node = None;
        }
        if let Some(before) = self.objects.get(&key) {
            record.remember(before);
            if *before == record {
                return;
            }
            if before.controller == record.controller {
                self.replace(&key, record);
                return;
            }
            self.remove(&key);
        }
        self.add(key, record);
    }

    /// Takes in what was not known.
    fn add(&mut self, key: Key, record: Record) {
        if let Some(parent) = self.parent(&key, &record) {
            // One that others name as well is waited for already, or was given up.
            if self.grace > 0 && !self.children.contains_key(&parent) && !self.objects.contains(&parent) {
                self.absent.insert(parent.clone(), 0);
            }
            self.children.entry(parent).or_default().insert(key.clone());
        }
        self.absent.remove(&key);
        if let (Some(nodes), Some(node)) = (&mut self.nodes, &record.node) {
            nodes.enter(Arc::clone(node), key.clone());
        }
        self.objects.insert(key.clone(), record);
        self.touch_family(&key);
    }

    /// What is known has changed, but not who made it: where it and its family count stays.
    fn replace(&mut self, key: &Key, record: Record) {
        let node = record.node.clone();
        let before = self.objects.insert(key.clone(), record).and_then(|before| before.node);
        if let Some(nodes) = self.nodes.as_mut().filter(|_| before != node) {
            if let Some(node) = before {
                nodes.leave(&node, key);
            }
            if let Some(node) = node {
                nodes.enter(node, key.clone());
            }
        }
        if let Some(told) = self.told.get_mut(key) {
            told.round = None;
        }
        self.touch(key);
    }

    /// The object is gone.
    pub fn remove(&mut self, key: &Key) {
        let Some(record) = self.objects.get(key) else { return };
        let (parent, node) = (self.parent(key, record), record.node.clone());
        self.touch_family(key);
        self.objects.remove(key);
        if let Some(parent) = parent {
            self.unlink(&parent, key);
        }
        if let (Some(nodes), Some(node)) = (&mut self.nodes, node) {
            nodes.leave(&node, key);
        }
        if self.grace > 0 && self.children.contains_key(key) {
            self.absent.insert(key.clone(), 0);
        }
        if !self.objects.has_any_in(&key.namespace) {
            self.absent_namespaces.remove(&key.namespace);
        }
    }

    /// Removes every object of that kind, and of that namespace where one is given, that `seen` lacks.
    pub fn retain(&mut self, kind: Kind, namespace: Option<&str>, seen: &HashSet<Key>) {
        let known = self.objects.keys(namespace).filter(|key| key.kind == kind);
        let gone: Vec<Key> = known.filter(|key| !seen.contains(*key)).cloned().collect();
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
                let labels: BTreeMap<String, String> =
                    bounded(labels).map(|(key, value)| (key.clone(), value.clone())).collect();
                if namespaces.get(&name).is_some_and(|known| **known == labels) {
                    return;
                }
                namespaces.insert(Arc::clone(&name), Arc::new(labels));
                self.absent_namespaces.remove(&name);
            }
            None => {
                namespaces.remove(&name);
            }
        }
        self.changed.extend(self.objects.keys(Some(&name)).cloned());
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
        let touched = match labels {
            Some(labels) => nodes.set(self.interner.text(name), labels),
            None => nodes.remove(name),
        };
        match touched {
            Touched::Nobody => {}
            Touched::Node => {
                let pods: Vec<Key> = nodes.pods(name).cloned().collect();
                for pod in &pods {
                    self.touch(pod);
                }
            }
            Touched::Everybody => self.changed.extend(self.objects.keys(None).cloned()),
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
        self.round += 1;
        self.changed.append(&mut self.later);
        for rounds in self.absent.values_mut().chain(self.absent_namespaces.values_mut()) {
            *rounds = rounds.saturating_add(1);
        }
        let grace = self.grace;
        let given_up: Vec<Key> = self.absent.extract_if(.., |_, rounds| *rounds >= grace).map(|(key, _)| key).collect();
        for key in &given_up {
            self.touch_family(key);
        }
    }

    /// What differs from what was told before, each workload once, in the order of kind, namespace and name.
    pub fn changes(&mut self) -> Vec<Change> {
        let mut changes = Vec::new();
        for key in std::mem::take(&mut self.changed) {
            let Kind::Workload(kind) = key.kind else { continue };
            let id = || WorkloadId { kind, namespace: key.namespace.to_string(), name: key.name.to_string() };
            let uses = if self.root(&key).as_ref() == Some(&key) {
                if self.awaits_namespace(&key) || self.was_looked_at(&key) {
                    self.later.insert(key);
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
            let told = Told { fingerprint, round: Some(self.round) };
            if self.told.get(&key).map(|told| told.fingerprint) != Some(fingerprint) {
                changes.push(Change::Set { workload: id(), uses });
            }
            self.told.insert(key, told);
        }
        changes
    }

    /// Whether it is large, and was looked at in this round since it has changed itself.
    fn was_looked_at(&self, root: &Key) -> bool {
        self.told.get(root).is_some_and(|told| told.round == Some(self.round)) && self.is_large(root)
    }

    fn is_large(&self, root: &Key) -> bool {
        let Some(children) = self.children.get(root) else { return false };
        let below = |child| self.children.get(child).map_or(0, BTreeSet::len);
        children.len() > LARGE || children.len() + children.iter().map(below).sum::<usize>() > LARGE
    }

    fn counts(&self, kind: Kind) -> bool {
        matches!(kind, Kind::Workload(kind) if self.counted.contains(&kind))
    }

    /// Whether objects of this kind come in at all: what is counted, and what leads from a Pod to its owner.
    fn keeps(&self, kind: Kind) -> bool {
        self.counts(kind) || self.links.contains(&kind)
    }

    /// The object that made this one, as far as such objects come in.
    fn parent(&self, key: &Key, record: &Record) -> Option<Key> {
        record.parent(key).filter(|parent| self.keeps(parent.kind))
    }

    /// Under which counted object this one counts; nothing while that is open, or if there is none.
    fn root(&self, key: &Key) -> Option<Key> {
        let mut root = None;
        let mut at = key.clone();
        loop {
            let record = self.objects.get(&at)?;
            let parent = self.parent(&at, record);
            if self.counts(at.kind) {
                root = Some(at);
            }
            let Some(parent) = parent else { break };
            if self.absent.contains_key(&parent) {
                return None;
            }
            if !self.objects.contains(&parent) {
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

    /// This object, and what it counts under, have to be looked at again.
    fn touch(&mut self, key: &Key) {
        self.changed.extend(self.root(key));
        self.changed.insert(key.clone());
    }

    /// The same for all of its family.
    fn touch_family(&mut self, key: &Key) {
        for member in self.family(key) {
            self.touch(&member);
        }
    }

    fn unlink(&mut self, parent: &Key, child: &Key) {
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
