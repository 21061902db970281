//! What a runtime is to do, and what it can't.

use std::collections::{BTreeMap, BTreeSet};

use super::{holdings::Foreign, images::ImageCopy, obstacle::Obstacle, rule::Rule};

/// One entry of kustomize's `images:`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Rename {
    /// As manifests write it.
    pub name: String,
    /// With the registry.
    pub new_name: String,
    pub new_tag: Option<String>,
}

/// What a runtime is to do.
#[derive(Debug, Default)]
pub struct Solution {
    /// Sorted by what they are about; of one subject in the order in which they are to be asked.
    pub rules: Vec<Rule>,
    /// Of k3s, by registry: repositories that would be looked up unchanged and then be another name's, as regular expressions.
    pub shadowed: BTreeMap<String, Vec<String>>,
    /// Of kustomize.
    pub renames: Vec<Rename>,
    /// Where the images come from, by their names.
    pub covered: BTreeMap<String, ImageCopy>,
    /// Why those that are in the mirror are left out.
    pub obstacles: BTreeMap<String, Obstacle>,
    /// Names that keep rules from serving tags.
    pub foreign: BTreeSet<Foreign>,
}
