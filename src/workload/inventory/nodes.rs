//! The platforms of nodes: what images need that run there, or may.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    sync::Arc,
};

use super::record::Key;
use crate::model::Platform;

/// All nodes that there are, and what Pods name besides: when a node goes its Pods outlive it by some minutes, and a Pod
/// may be known before its node is.
#[derive(Debug, Default)]
pub(super) struct Nodes {
    known: HashMap<Arc<str>, Node>,
    /// How many of the nodes that are there have which platform; none is the platform of those that do not say it.
    counts: BTreeMap<Option<Platform>, usize>,
    all: Option<BTreeSet<Platform>>,
}

#[derive(Debug, Default)]
struct Node {
    platform: Option<Platform>,
    is_there: bool,
    pods: HashSet<Key>,
}

/// Whose needs a change touches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Touched {
    Nobody,
    /// What runs on that node.
    Node,
    /// What may run on any.
    Everybody,
}

impl Nodes {
    /// A node has these labels.
    pub fn set(&mut self, name: Arc<str>, labels: &BTreeMap<String, String>) -> Touched {
        let label = |key: &str| labels.get(key).map(String::as_str).unwrap_or_default();
        // The kubelet sets and keeps both.
        let platform = Platform::new(label("kubernetes.io/os"), label("kubernetes.io/arch"), None);
        let node = self.known.entry(name).or_default();
        if node.is_there && node.platform == platform {
            return Touched::Nobody;
        }
        let before = std::mem::replace(&mut node.platform, platform.clone());
        let left = std::mem::replace(&mut node.is_there, true).then_some(before);
        let is_new = self.enters(platform);
        let was_last = left.is_some_and(|platform| self.leaves(&platform));
        if is_new || was_last { self.sum_up(Touched::Node) } else { Touched::Node }
    }

    /// A node is gone.
    pub fn remove(&mut self, name: &str) -> Touched {
        let Some(node) = self.known.get_mut(name).filter(|node| node.is_there) else { return Touched::Nobody };
        node.is_there = false;
        let platform = node.platform.clone();
        if node.pods.is_empty() {
            self.known.remove(name);
        }
        if self.leaves(&platform) { self.sum_up(Touched::Nobody) } else { Touched::Nobody }
    }

    /// A Pod runs on that node.
    pub fn enter(&mut self, node: Arc<str>, pod: Key) {
        self.known.entry(node).or_default().pods.insert(pod);
    }

    /// A Pod does not run on that node any more.
    pub fn leave(&mut self, node: &str, pod: &Key) {
        let Some(known) = self.known.get_mut(node) else { return };
        known.pods.remove(pod);
        if known.pods.is_empty() && !known.is_there {
            self.known.remove(node);
        }
    }

    /// The Pods on that node.
    pub fn pods(&self, node: &str) -> impl Iterator<Item = &Key> {
        self.known.get(node).into_iter().flat_map(|node| &node.pods)
    }

    /// Whether it is the first of its platform.
    fn enters(&mut self, platform: Option<Platform>) -> bool {
        let count = self.counts.entry(platform).or_default();
        *count += 1;
        *count == 1
    }

    /// Whether it was the last of its platform.
    fn leaves(&mut self, platform: &Option<Platform>) -> bool {
        let Some(count) = self.counts.get_mut(platform) else { return false };
        *count -= 1;
        let was_last = *count == 0;
        if was_last {
            self.counts.remove(platform);
        }
        was_last
    }

    fn sum_up(&mut self, at_least: Touched) -> Touched {
        let all: Option<BTreeSet<Platform>> = self.counts.keys().cloned().collect();
        let all = all.filter(|all| !all.is_empty());
        if self.all == all {
            return at_least;
        }
        self.all = all;
        Touched::Everybody
    }

    #[cfg(test)]
    pub fn is_empty(&self) -> bool {
        self.known.is_empty() && self.counts.is_empty()
    }

    /// The names of those that are there.
    pub fn names(&self) -> impl Iterator<Item = &Arc<str>> {
        self.known.iter().filter(|(_, node)| node.is_there).map(|(name, _)| name)
    }

    /// What Pods on these nodes need; what has no node, and what has no Pod, may come to any. None where that is not
    /// known of one of them.
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
    use crate::{model::WorkloadKind, workload::inventory::Kind};

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

    fn pod(name: &str) -> Key {
        Key { kind: Kind::Workload(WorkloadKind::Pod), namespace: "shop".into(), name: name.into() }
    }

    #[test]
    fn pods_need_what_their_nodes_are_and_without_a_node_what_any_is() {
        let mut nodes = Nodes::default();
        assert_eq!(needed(&nodes, &[]), None, "no node is known");
        assert_eq!(nodes.set("a".into(), &labels("linux", "amd64")), Touched::Everybody);
        assert_eq!(nodes.set("a".into(), &labels("linux", "amd64")), Touched::Nobody);
        assert_eq!(nodes.set("b".into(), &labels("linux", "amd64")), Touched::Node);
        assert_eq!(nodes.set("c".into(), &labels("linux", "arm64")), Touched::Everybody);
        assert_eq!(needed(&nodes, &[Some("a"), Some("b")]), platforms(&["linux/amd64"]));
        assert_eq!(needed(&nodes, &[Some("a"), Some("c")]), platforms(&["linux/amd64", "linux/arm64"]));
        for pods in [&[][..], &[None], &[Some("a"), None]] {
            assert_eq!(needed(&nodes, pods), platforms(&["linux/amd64", "linux/arm64"]), "{pods:?}");
        }
        assert_eq!(needed(&nodes, &[Some("a"), Some("unknown")]), None);
    }

    #[test]
    fn a_node_without_labels_may_be_anything() {
        let mut nodes = Nodes::default();
        nodes.set("a".into(), &labels("linux", "amd64"));
        assert_eq!(nodes.set("b".into(), &BTreeMap::new()), Touched::Everybody);
        assert_eq!(needed(&nodes, &[]), None);
        assert_eq!(needed(&nodes, &[Some("b")]), None);
        assert_eq!(needed(&nodes, &[Some("a")]), platforms(&["linux/amd64"]));
        nodes.set("b".into(), &labels("windows", "amd64"));
        assert_eq!(needed(&nodes, &[]), platforms(&["linux/amd64", "windows/amd64"]));
        assert_eq!(nodes.set("b".into(), &labels("linux", "amd64")), Touched::Everybody);
        assert_eq!(needed(&nodes, &[]), platforms(&["linux/amd64"]));
    }

    #[test]
    fn a_node_that_is_gone_is_known_as_long_as_pods_name_it() {
        let mut nodes = Nodes::default();
        for (name, architecture) in [("a", "amd64"), ("b", "arm64"), ("c", "arm64")] {
            nodes.set(name.into(), &labels("linux", architecture));
        }
        nodes.enter("b".into(), pod("one"));
        nodes.enter("b".into(), pod("two"));
        assert_eq!(nodes.remove("b"), Touched::Nobody);
        assert_eq!(needed(&nodes, &[Some("b")]), platforms(&["linux/arm64"]));
        assert_eq!(nodes.names().count(), 2);
        assert_eq!(nodes.remove("c"), Touched::Everybody, "no node is left of its kind");
        assert_eq!(needed(&nodes, &[]), platforms(&["linux/amd64"]));
        nodes.leave("b", &pod("one"));
        assert_eq!(needed(&nodes, &[Some("b")]), platforms(&["linux/arm64"]));
        nodes.leave("b", &pod("two"));
        assert_eq!(needed(&nodes, &[Some("b")]), None, "no Pod names it any more");
        assert_eq!(nodes.remove("never"), Touched::Nobody);
        assert_eq!(nodes.known.len(), 1);
    }

    #[test]
    fn a_node_that_only_pods_know_is_forgotten_with_them() {
        let mut nodes = Nodes::default();
        nodes.enter("a".into(), pod("one"));
        assert_eq!(needed(&nodes, &[Some("a")]), None);
        assert_eq!(nodes.names().count(), 0);
        assert_eq!(nodes.set("a".into(), &labels("linux", "amd64")), Touched::Everybody);
        assert_eq!(nodes.pods("a").count(), 1);
        nodes.remove("a");
        nodes.leave("a", &pod("one"));
        assert!(nodes.known.is_empty());
    }
}
