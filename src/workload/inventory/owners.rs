//! Which workload an object folds into.

use super::{Inventory, ObjectKey, record::Record};

impl Inventory {
    /// The owner, if its kind is stored.
    pub(super) fn parent(&self, key: &ObjectKey, record: &Record) -> Option<ObjectKey> {
        record.parent(key).filter(|parent| self.is_kept(parent.kind))
    }

    /// The watched object that this one folds into; none while an owner is waited for, or if there is no such object.
    pub(super) fn root(&self, key: &ObjectKey) -> Option<ObjectKey> {
        let mut root = None;
        let mut current = key.clone();
        loop {
            let record = self.objects.get(&current)?;
            let parent = self.parent(&current, record);
            if self.is_watched(current.kind) {
                root = Some(current);
            }
            let Some(parent) = parent else { break };
            if self.missing_owners.contains_key(&parent) {
                return None;
            }
            if !self.objects.contains(&parent) {
                break;
            }
            current = parent;
        }
        root
    }

    /// The object, which may be unknown, and everything that folds into it.
    pub(super) fn descendants(&self, key: &ObjectKey) -> Vec<ObjectKey> {
        let mut found = vec![key.clone()];
        let mut next = 0;
        while let Some(member) = found.get(next) {
            let children = self.children.get(member).into_iter().flatten().cloned().collect::<Vec<_>>();
            found.extend(children);
            next += 1;
        }
        found
    }

    /// Marks the object, and the workload that it folds into, for evaluation.
    pub(super) fn mark_dirty(&mut self, key: &ObjectKey) {
        self.dirty.extend(self.root(key));
        self.dirty.insert(key.clone());
    }

    pub(super) fn mark_descendants_dirty(&mut self, key: &ObjectKey) {
        for member in self.descendants(key) {
            self.mark_dirty(&member);
        }
    }

    pub(super) fn unlink(&mut self, parent: &ObjectKey, child: &ObjectKey) {
        if let Some(children) = self.children.get_mut(parent) {
            children.remove(child);
            if children.is_empty() {
                self.children.remove(parent);
                self.missing_owners.remove(parent);
            }
        }
    }
}
