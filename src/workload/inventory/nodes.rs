//! The platforms of nodes: what images need that run there, or may.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
};

use crate::model::Platform;

/// All nodes that there are, and those gone ones that Pods still name: when a node goes its Pods outlive it by some
/// minutes.
#[derive(Debug, Default)]
pub(super) struct Nodes {
    known: HashMap<Arc<str>, Node>,
    all: Option<BTreeSet<Platform>>,
}

#[derive(Debug, PartialEq, Eq)]
struct Node {
    platform: Option<Platform>,
    is_there: bool,
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
        let node = Node { platform, is_there: true };
        if self.known.get(&name) == Some(&node) {
            return Touched::Nobody;
        }
        self.known.insert(name, node);
        self.sum_up(Touched::Node)
    }

    /// A node is gone. `is_named` says which ones Pods still name.
    pub fn remove(&mut self, name: &str, is_named: impl Fn(&str) -> bool) -> Touched {
        let Some(node) = self.known.get_mut(name) else { return Touched::Nobody };
        node.is_there = false;
        self.known.retain(|name, node| node.is_there || is_named(name));
        self.sum_up(Touched::Nobody)
    }

    fn sum_up(&mut self, at_least: Touched) -> Touched {
        let nodes = self.known.values().filter(|node| node.is_there);
        let all: Option<BTreeSet<Platform>> = nodes.map(|node| node.platform.clone()).collect();
        let all = all.filter(|all| !all.is_empty());
        if self.all == all {
            return at_least;
        }
        self.all = all;
        Touched::Everybody
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
                Some(name) => needed.extend([self.known.get(name)?.platform.clone()?]),
                None => needed.extend(self.all.clone()?),
            }
        }
        if needed.is_empty() { self.all.clone() } else { Some(needed) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
    }

    #[test]
    fn a_node_that_is_gone_is_known_as_long_as_pods_name_it() {
        let mut nodes = Nodes::default();
        for (name, architecture) in [("a", "amd64"), ("b", "arm64"), ("c", "arm64")] {
            nodes.set(name.into(), &labels("linux", architecture));
        }
        assert_eq!(nodes.remove("b", |name| name == "b"), Touched::Nobody);
        assert_eq!(needed(&nodes, &[Some("b")]), platforms(&["linux/arm64"]));
        assert_eq!(nodes.names().count(), 2);
        assert_eq!(nodes.remove("c", |_| false), Touched::Everybody, "no node is left of its kind");
        assert_eq!(needed(&nodes, &[]), platforms(&["linux/amd64"]));
        assert_eq!(needed(&nodes, &[Some("b")]), None, "no Pod named it any more");
        assert_eq!(nodes.remove("never", |_| false), Touched::Nobody);
    }
}
