//! Names that kustomize changes in manifests. It matches a name as it is written, whatever its tag or digest.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    holdings::Holdings,
    images::{Image, ImageCopy},
    obstacle::Obstacle,
    rule::{Rule, Scope},
    solution::{Rename, Solution},
};
use crate::model::Algorithm;

/// The images that one written name stands for.
type SameName<'a> = BTreeMap<&'a str, &'a Image>;

/// The renames for `images` in the mirror at `host`. An image is covered if each of its written names is renamed.
pub fn solve(host: &str, images: &BTreeMap<String, Image>, holdings: &Holdings) -> Solution {
    let mut solution = Solution::default();
    let mut names = BTreeMap::<&str, SameName<'_>>::new();
    for (key, image) in images.iter().filter(|(_, image)| !image.is_named_at_mirror) {
        for written in &image.written {
            names.entry(without_version(written)).or_default().insert(key, image);
        }
    }
    let all: Vec<&str> = names.keys().copied().collect();
    let mut left_out = BTreeSet::new();
    for (name, same) in &names {
        match rename(name, &all, host, same, holdings) {
            Ok((rename, path)) => {
                for (key, image) in same {
                    if let Some(copy) = image.copies.iter().find(|copy| copy.path == path) {
                        solution.covered.insert((*key).to_owned(), copy.clone());
                    }
                }
                solution.renames.push(rename);
            }
            Err(obstacle) => {
                for (key, image) in same {
                    left_out.insert((*key).to_owned());
                    if !image.copies.is_empty() {
                        solution.obstacles.insert((*key).to_owned(), obstacle.clone());
                    }
                }
            }
        }
    }
    solution.covered.retain(|key, _| !left_out.contains(key));
    for obstacle in solution.obstacles.values() {
        if let Obstacle::Foreign { foreign, .. } = obstacle {
            solution.foreign.insert(foreign.clone());
        }
    }
    solution
}

/// The rename, and the repository at the mirror that it leads to.
fn rename(
    name: &str,
    names: &[&str],
    host: &str,
    same: &SameName<'_>,
    holdings: &Holdings,
) -> Result<(Rename, String), Obstacle> {
    // kustomize takes a name for a regular expression, and knows digests of SHA-256.
    let is_matched = |image: &&Image| {
        let digest = image.source.as_ref().and_then(|source| source.digest());
        // It renames images of containers only, not those of volumes.
        !image.is_in_volume && digest.is_none_or(|digest| digest.algorithm() == Algorithm::Sha256)
    };
    if name.contains(['[', '+', '*', '?', '(', '|', '\\', '$', '^']) || !same.values().all(is_matched) {
        return Err(Obstacle::NotRenamed);
    }
    if let Some(other) = names.iter().find(|other| **other != name && matches(name, other)) {
        return Err(Obstacle::NamePattern { name: name.to_owned(), other: (*other).to_owned() });
    }
    if let Some((other, _)) = same.iter().find(|(_, image)| image.copies.is_empty()) {
        return Err(Obstacle::NameOfOther { name: name.to_owned(), other: (*other).to_owned() });
    }
    let changes_tag = same.len() > 1;
    let paths = |image: &Image| -> BTreeSet<String> {
        let tag = image.source.as_ref().and_then(|source| source.tag());
        let is_usable = |copy: &&ImageCopy| {
            image.is_by_digest() || copy.tag.as_deref() == tag || (!changes_tag && copy.tag.is_some())
        };
        image.copies.iter().filter(is_usable).map(|copy| copy.path.clone()).collect()
    };
    let mut common: Option<BTreeSet<String>> = None;
    for image in same.values() {
        let here = paths(image);
        common = Some(common.map_or(here.clone(), |common| common.intersection(&here).cloned().collect()));
    }
    let path = common.and_then(|common| common.into_iter().next());
    let path = path.ok_or_else(|| Obstacle::DifferentPlaces(name.to_owned()))?;
    let mut new_tag = None;
    for image in same.values() {
        let Some(source) = &image.source else { continue };
        let scope = Scope::Repository(source.repository().to_owned());
        let rule = Rule { registry: source.registry().to_owned(), scope, mirror: path.clone(), tags: true };
        if let Some(foreign) = holdings.foreign(&rule, host) {
            return Err(Obstacle::Foreign { subject: name.to_owned(), foreign });
        }
        let copy = image.copies.iter().find(|copy| copy.path == path);
        new_tag = copy
            .and_then(|copy| copy.tag.clone())
            .filter(|tag| !image.is_by_digest() && source.tag() != Some(tag.as_str()));
    }
    Ok((Rename { name: name.to_owned(), new_name: format!("{host}/{path}"), new_tag }, path))
}

/// A written image without its tag and digest.
fn without_version(written: &str) -> &str {
    let name = written.split_once('@').map_or(written, |(name, _)| name);
    match name.rsplit_once(':') {
        Some((name, tag)) if !tag.contains('/') => name,
        _ => name,
    }
}

/// Whether `other` matches the name as a regular expression, in which a dot stands for any character.
fn matches(name: &str, other: &str) -> bool {
    name.len() == other.len() && name.bytes().zip(other.bytes()).all(|(one, other)| one == other || one == b'.')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_written_name_ends_before_tag_and_digest() {
        for (written, name) in [
            ("nginx", "nginx"),
            ("nginx:1", "nginx"),
            ("localhost:5000/app", "localhost:5000/app"),
            ("localhost:5000/app:1@sha256:00", "localhost:5000/app"),
            ("quay.io/a/b@sha256:00", "quay.io/a/b"),
        ] {
            assert_eq!(without_version(written), name);
        }
    }

    #[test]
    fn a_dot_in_a_name_matches_every_character() {
        assert!(matches("quay.io/app", "quay-io/app"));
        assert!(!matches("quay-io/app", "quay.io/app") && !matches("quay.io/app", "quay.io/apps"));
    }
}
