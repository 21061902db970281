//! What the mirror's registry holds, as far as decisions tell: which repository belongs to which source name.

use std::collections::{BTreeMap, BTreeSet};

use super::rule::Rule;
use crate::model::TargetAddress;

/// Repositories at the mirror's registry, by their full paths, with the names whose images they hold.
#[derive(Clone, Debug, Default)]
pub struct Holdings {
    /// By the destinations of decisions.
    decided: BTreeMap<String, BTreeSet<String>>,
    /// By workloads that name them as the registry's own. They may be copies of other names all the same.
    named: BTreeMap<String, BTreeSet<String>>,
}

/// A name that a rule would give the image of another one.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Foreign {
    /// The name.
    pub name: String,
    /// The repository at the mirror that it would get, with the registry.
    pub place: String,
    /// Whose image is there.
    pub owner: String,
}

/// The name of a repository, the same for all names of a registry.
pub fn source_name(registry: &str, repository: &str) -> String {
    TargetAddress::registry(registry).canonical_repository(repository)
}

impl Holdings {
    pub fn add(&mut self, path: String, owner: String) {
        self.decided.entry(path).or_default().insert(owner);
    }

    /// A repository that a workload names by the mirror's registry.
    pub fn add_named(&mut self, path: String, name: String) {
        self.named.entry(path).or_default().insert(name);
    }

    /// A name within the rule's scope that would get another name's image.
    pub fn foreign(&self, rule: &Rule, host: &str) -> Option<Foreign> {
        let foreign = |(path, owners): (&str, &BTreeSet<String>)| {
            let name = source_name(&rule.registry, &rule.repository_at(path)?);
            let owner = owners.iter().find(|owner| **owner != name)?.clone();
            Some(Foreign { name, place: format!("{host}/{path}"), owner })
        };
        let decided = within(&self.decided, &rule.mirror).find_map(foreign);
        // What is below the registry's own name is a copy of its images, whoever names it by the mirror.
        decided
            .or_else(|| (!rule.names_registry()).then(|| within(&self.named, &rule.mirror).find_map(foreign)).flatten())
    }

    /// The names of `registry` that would get another name's image if their repositories were looked up unchanged.
    pub fn unchanged_foreign<'h>(&'h self, registry: &'h str) -> impl Iterator<Item = &'h str> {
        let is_foreign = move |path: &str, owners: &BTreeSet<String>| {
            let name = source_name(registry, path);
            owners.iter().any(|owner| *owner != name)
        };
        let all = self.decided.iter().chain(&self.named);
        all.filter(move |(path, owners)| is_foreign(path, owners)).map(|(path, _)| path.as_str())
    }
}

/// The repository `path`, and with an empty path all of them, or else those below it.
fn within<'h>(
    held: &'h BTreeMap<String, BTreeSet<String>>,
    path: &str,
) -> impl Iterator<Item = (&'h str, &'h BTreeSet<String>)> + use<'h> {
    let exact = held.get_key_value(path);
    let below = if path.is_empty() { String::new() } else { format!("{path}/") };
    let ranged = held.range(below.clone()..).take_while(move |(held, _)| held.starts_with(&below));
    exact.into_iter().chain(ranged).map(|(held, owners)| (held.as_str(), owners))
}

#[cfg(test)]
mod tests {
    use super::{super::rule::Scope, *};

    fn holdings(held: &[(&str, &str)]) -> Holdings {
        let mut holdings = Holdings::default();
        held.iter().for_each(|(path, owner)| holdings.add((*path).to_owned(), (*owner).to_owned()));
        holdings
    }

    fn rule(registry: &str, scope: Scope, mirror: &str) -> Rule {
        Rule { registry: registry.to_owned(), scope, mirror: mirror.to_owned(), tags: true }
    }

    #[test]
    fn a_repository_has_what_is_below_it_and_no_neighbour() {
        let all = holdings(&[("a", "1"), ("a-b", "2"), ("a/b", "3"), ("a/c/d", "4"), ("ab", "5")]);
        let paths = |path: &str| within(&all.decided, path).map(|(path, _)| path.to_owned()).collect::<Vec<_>>();
        assert_eq!(paths("a"), ["a", "a/b", "a/c/d"]);
        assert_eq!(paths("a/c"), ["a/c/d"]);
        assert_eq!(paths("").len(), 5);
    }

    #[test]
    fn a_rule_is_foreign_if_a_name_outside_the_decisions_gets_another_image() {
        let all = holdings(&[("library/nginx", "docker.io/library/nginx"), ("acme/app", "quay.io/acme/app")]);
        let found = all.foreign(&rule("docker.io", Scope::Registry, ""), "r.io").unwrap();
        assert_eq!(found.name, "docker.io/acme/app");
        assert_eq!((found.place.as_str(), found.owner.as_str()), ("r.io/acme/app", "quay.io/acme/app"));
        let nginx = Scope::Subtree("library/nginx".to_owned());
        assert_eq!(all.foreign(&rule("docker.io", nginx, "library/nginx"), "r.io"), None);
        // Docker Hub under its other name is Docker Hub.
        let nginx = Scope::Repository("library/nginx".to_owned());
        assert_eq!(all.foreign(&rule("registry-1.docker.io", nginx, "library/nginx"), "r.io"), None);
    }

    #[test]
    fn a_subtree_is_foreign_if_something_below_it_is() {
        let all = holdings(&[("app", "docker.io/library/app"), ("app/web", "quay.io/app/web")]);
        let app = |scope| rule("docker.io", scope, "app");
        assert_eq!(all.foreign(&app(Scope::Repository("library/app".to_owned())), "r.io"), None);
        let found = all.foreign(&app(Scope::Subtree("library/app".to_owned())), "r.io").unwrap();
        assert_eq!(found.name, "docker.io/library/app/web");
    }

    #[test]
    fn a_copy_that_is_named_by_the_mirror_is_foreign_unless_its_path_has_the_registry() {
        let mut all = Holdings::default();
        for path in ["m/docker.io/library/redis", "m/library/redis"] {
            all.add_named(path.to_owned(), format!("r.io/{path}"));
        }
        assert_eq!(all.foreign(&rule("docker.io", Scope::Registry, "m/docker.io"), "r.io"), None);
        let found = all.foreign(&rule("docker.io", Scope::Registry, "m"), "r.io").unwrap();
        assert_eq!(found.owner, "r.io/m/docker.io/library/redis");
    }

    #[test]
    fn two_owners_of_a_repository_are_foreign_to_each_other() {
        let all = holdings(&[("app", "docker.io/library/app"), ("app", "quay.io/app")]);
        for (registry, repository, owner) in
            [("docker.io", "library/app", "quay.io/app"), ("quay.io", "app", "docker.io/library/app")]
        {
            let rule = rule(registry, Scope::Repository(repository.to_owned()), "app");
            assert_eq!(all.foreign(&rule, "r.io").unwrap().owner, owner);
        }
    }
}
