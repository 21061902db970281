//! The order of the lists of referrers of a repository: those of an image before those of its SBOMs.

use std::collections::{HashMap, HashSet, VecDeque};

/// The positions of lists in the order in which they are loaded. `lists` has the tag of each, and the tags under which the
/// lists of what it names would be.
pub(super) fn in_order(lists: &[(&str, Vec<String>)]) -> Vec<usize> {
    let positions: HashMap<&str, usize> = lists.iter().enumerate().map(|(at, (tag, _))| (*tag, at)).collect();
    let below = |at: usize| {
        let tags = lists.get(at).into_iter().flat_map(|(_, tags)| tags);
        tags.filter_map(|tag| positions.get(tag.as_str()).copied())
    };
    let below_others: HashSet<usize> = (0..lists.len()).flat_map(below).collect();
    let mut order = Vec::with_capacity(lists.len());
    let mut seen = HashSet::new();
    // Lists that name each other in a circle come last, in any order.
    let roots = (0..lists.len()).filter(|at| !below_others.contains(at)).chain(0..lists.len());
    for root in roots {
        let mut next = VecDeque::from([root]);
        while let Some(at) = next.pop_front() {
            if seen.insert(at) {
                order.push(at);
                next.extend(below(at));
            }
        }
    }
    order
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_refers_to_a_referrer_comes_after_it() {
        let tags = |tags: &[&str]| tags.iter().map(|&tag| tag.to_owned()).collect::<Vec<_>>();
        let lists = [
            ("signature of the sbom", tags(&[])),
            ("sbom", tags(&["signature of the sbom", "no list"])),
            ("one of a circle", tags(&["other of a circle"])),
            ("image", tags(&["sbom"])),
            ("other of a circle", tags(&["one of a circle"])),
            ("itself", tags(&["itself"])),
        ];
        assert_eq!(in_order(&lists), [3, 1, 0, 2, 4, 5]);
        assert_eq!(in_order(&[]), [0; 0]);
    }
}
