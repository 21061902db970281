//! The platforms of nodes: those that images of their Pods need.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    sync::Arc,
};

use super::record::ObjectKey;
use crate::model::Platform;

/// All nodes, and those that only Pods name: Pods outlive a removed node by some minutes, and a Pod may be seen before its
/// node.
#[derive(Debug, Default)]
pub(super) struct Nodes {
    known: HashMap<Arc<str>, Node>,
    /// The number of existing nodes by platform; none is the platform of nodes without the labels.
    counts: BTreeMap<Option<Platform>, usize>,
    all: Option<BTreeSet<Platform>>,
}

#[derive(Debug, Default)]
struct Node {
    platform: Option<Platform>,
    exists: bool,
    pods: HashSet<ObjectKey>,
}

/// The Pods that a change concerns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Affected {
    None,
    /// Those on the node.
    Node,
    /// All, because those without a node may need any platform.
    All,
}

impl Nodes {
    pub fn set(&mut self, name: Arc<str>, labels: &BTreeMap<String, String>) -> Affected {
        let label = |key: &str| labels.get(key).map(String::as_str).unwrap_or_default();
        // The kubelet sets both.
        let platform = Platform::new(label("kubernetes.io/os"), label("kubernetes.io/arch"), None);
        let node = self.known.entry(name).or_default();
        if node.exists && node.platform == platform {
            return Affected::None;
        }
        let before = std::mem::replace(&mut node.platform, platform.clone());
        let removed = std::mem::replace(&mut node.exists, true).then_some(before);
        let is_new = self.add_platform(platform);
        let was_last = removed.is_some_and(|platform| self.remove_platform(&platform));
        if is_new || was_last { self.update_all(Affected::Node) } else { Affected::Node }
    }

    pub fn remove(&mut self, name: &str) -> Affected {
        let Some(node) = self.known.get_mut(name).filter(|node| node.exists) else { return Affected::None };
        node.exists = false;
        let platform = node.platform.clone();
        if node.pods.is_empty() {
            self.known.remove(name);
        }
        if self.remove_platform(&platform) { self.update_all(Affected::None) } else { Affected::None }
    }

    pub fn add_pod(&mut self, node: Arc<str>, pod: ObjectKey) {
        self.known.entry(node).or_default().pods.insert(pod);
    }

    pub fn remove_pod(&mut self, node: &str, pod: &ObjectKey) {
        let Some(known) = self.known.get_mut(node) else { return };
        known.pods.remove(pod);
        if known.pods.is_empty() && !known.exists {
            self.known.remove(node);
        }
    }

    pub fn pods(&self, node: &str) -> impl Iterator<Item = &ObjectKey> {
        self.known.get(node).into_iter().flat_map(|node| &node.pods)
    }

    /// Counts a node; true for the first of its platform.
    fn add_platform(&mut self, platform: Option<Platform>) -> bool {
        let count = self.counts.entry(platform).or_default();
        *count += 1;
        *count == 1
    }

    /// Uncounts a node; true for the last of its platform.
    fn remove_platform(&mut self, platform: &Option<Platform>) -> bool {
        let Some(count) = self.counts.get_mut(platform) else { return false };
        *count -= 1;
        let was_last = *count == 0;
        if was_last {
            self.counts.remove(platform);
        }
        was_last
    }

    fn update_all(&mut self, at_least: Affected) -> Affected {
        let all: Option<BTreeSet<Platform>> = self.counts.keys().cloned().collect();
        let all = all.filter(|all| !all.is_empty());
        if self.all == all {
            return at_least;
        }
        self.all = all;
        Affected::All
    }

    #[cfg(test)]
    pub fn is_empty(&self) -> bool {
        self.known.is_empty() && self.counts.is_empty()
    }

    /// The names of existing nodes.
    pub fn names(&self) -> impl Iterator<Item = &Arc<str>> {
        self.known.iter().filter(|(_, node)| node.exists).map(|(name, _)| name)
    }

    /// The platforms that Pods on these nodes need; all platforms for a Pod without a node, and for a workload without
    /// Pods. None if one of the platforms is unknown.
    pub fn needed<'a>(&self, pods: impl Iterator<Item = Option<&'a str>>) -> Option<BTreeSet<Platform>> {
        let mut needed = BTreeSet::new();
        for node in pods {
            match node {
                Some(name) => {
                    let platform = self.known.get(name)?.platform.as_ref()?;
                    if !needed.contains(platform) {
                        needed.insert(platform.clone());
                    }
                }
                None => needed.extend(self.all.clone()?),
            }
        }
        if needed.is_empty() { self.all.clone() } else { Some(needed) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{model::WorkloadKind, workload::inventory::ObjectKind};

    fn labels(os: &str, architecture: &str) -> BTreeMap<String, String> {
        [("kubernetes.io/os", os), ("kubernetes.io/arch", architecture), ("other", "x")]
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .into()
    }

    fn needed(nodes: &Nodes, pods: &[Option<&str>]) -> Option<Vec<String>> {
        nodes.needed(pods.iter().copied()).map(|set| set.iter().map(ToString::to_string).collect())
    }

    fn platforms(names: &[&str]) -> Option<Vec<String>> {
        Some(names.iter().map(|name| (*name).to_owned()).collect())
    }

    fn pod(name: &str) -> ObjectKey {
        ObjectKey { kind: ObjectKind::Workload(WorkloadKind::Pod), namespace: "shop".into(), name: name.into() }
    }

    #[test]
    fn pods_need_their_nodes_platforms_or_else_all_platforms() {
        let mut nodes = Nodes::default();
        assert_eq!(needed(&nodes, &[]), None, "no node is known");
        assert_eq!(nodes.set("a".into(), &labels("linux", "amd64")), Affected::All);
        assert_eq!(nodes.set("a".into(), &labels("linux", "amd64")), Affected::None);
        assert_eq!(nodes.set("b".into(), &labels("linux", "amd64")), Affected::Node);
        assert_eq!(nodes.set("c".into(), &labels("linux", "arm64")), Affected::All);
        assert_eq!(needed(&nodes, &[Some("a"), Some("b")]), platforms(&["linux/amd64"]));
        assert_eq!(needed(&nodes, &[Some("a"), Some("c")]), platforms(&["linux/amd64", "linux/arm64"]));
        for pods in [&[][..], &[None], &[Some("a"), None]] {
            assert_eq!(needed(&nodes, pods), platforms(&["linux/amd64", "linux/arm64"]), "{pods:?}");
        }
        assert_eq!(needed(&nodes, &[Some("a"), Some("unknown")]), None);
    }

    #[test]
    fn a_node_without_labels_has_an_unknown_platform() {
        let mut nodes = Nodes::default();
        nodes.set("a".into(), &labels("linux", "amd64"));
        assert_eq!(nodes.set("b".into(), &BTreeMap::new()), Affected::All);
        assert_eq!(needed(&nodes, &[]), None);
        assert_eq!(needed(&nodes, &[Some("b")]), None);
        assert_eq!(needed(&nodes, &[Some("a")]), platforms(&["linux/amd64"]));
        nodes.set("b".into(), &labels("windows", "amd64"));
        assert_eq!(needed(&nodes, &[]), platforms(&["linux/amd64", "windows/amd64"]));
        assert_eq!(nodes.set("b".into(), &labels("linux", "amd64")), Affected::All);
        assert_eq!(needed(&nodes, &[]), platforms(&["linux/amd64"]));
    }

    #[test]
    fn a_removed_node_is_kept_while_pods_name_it() {
        let mut nodes = Nodes::default();
        for (name, architecture) in [("a", "amd64"), ("b", "arm64"), ("c", "arm64")] {
            nodes.set(name.into(), &labels("linux", architecture));
        }
        nodes.add_pod("b".into(), pod("one"));
        nodes.add_pod("b".into(), pod("two"));
        assert_eq!(nodes.remove("b"), Affected::None);
        assert_eq!(needed(&nodes, &[Some("b")]), platforms(&["linux/arm64"]));
        assert_eq!(nodes.names().count(), 2);
        assert_eq!(nodes.remove("c"), Affected::All, "it was the last of its platform");
        assert_eq!(needed(&nodes, &[]), platforms(&["linux/amd64"]));
        nodes.remove_pod("b", &pod("one"));
        assert_eq!(needed(&nodes, &[Some("b")]), platforms(&["linux/arm64"]));
        nodes.remove_pod("b", &pod("two"));
        assert_eq!(needed(&nodes, &[Some("b")]), None, "no Pod names it any more");
        assert_eq!(nodes.remove("never"), Affected::None);
        assert_eq!(nodes.known.len(), 1);
    }

    #[test]
    fn a_node_known_only_from_pods_is_dropped_with_them() {
        let mut nodes = Nodes::default();
        nodes.add_pod("a".into(), pod("one"));
        assert_eq!(needed(&nodes, &[Some("a")]), None);
        assert_eq!(nodes.names().count(), 0);
        assert_eq!(nodes.set("a".into(), &labels("linux", "amd64")), Affected::All);
        assert_eq!(nodes.pods("a").count(), 1);
        nodes.remove("a");
        nodes.remove_pod("a", &pod("one"));
        assert!(nodes.known.is_empty());
    }
}
