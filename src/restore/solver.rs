//! Finds the rules that serve most images, and none by which a name could get another image.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::{
    holdings::{Foreign, Holdings},
    images::{Image, ImageCopy},
    obstacle::Obstacle,
    renames,
    rule::{Rule, Scope, escaped, prefix_of},
    runtime::{Reach, Runtime},
    solution::Solution,
};
use crate::model::{Reference, canonical_registry};

/// The places that a runtime asks one after another for one image. Each costs a request if it does not have it.
const MOST_PLACES: usize = 8;

/// An image that the mirror has.
struct Demand<'a> {
    name: &'a str,
    source: &'a Reference,
    image: &'a Image,
}

/// A possible rule: none if the runtime can't be told it without a name getting another image.
#[derive(Clone)]
struct Possible {
    rule: Option<Rule>,
    foreign: Option<Foreign>,
}

struct Solver<'a> {
    runtime: Runtime,
    digests_only: bool,
    host: &'a str,
    holdings: &'a Holdings,
    known: HashMap<(String, Scope, String), Possible>,
    solution: Solution,
}

/// The rules for `images` in the mirror at `host`.
pub fn solve(
    runtime: Runtime,
    digests_only: bool,
    host: &str,
    images: &BTreeMap<String, Image>,
    holdings: &Holdings,
) -> Solution {
    if runtime.reach() == Reach::Written {
        return renames::solve(host, images, holdings);
    }
    let mut solver =
        Solver { runtime, digests_only, host, holdings, known: HashMap::new(), solution: Solution::default() };
    let mut registries = BTreeMap::<&str, Vec<Demand<'_>>>::new();
    for (name, image) in images {
        if let Some(source) = &image.source
            && !image.is_named_at_mirror
            && !image.copies.is_empty()
        {
            registries.entry(source.registry()).or_default().push(Demand { name, source, image });
        }
    }
    for (registry, demands) in &registries {
        solver.solve_registry(registry, demands);
    }
    solver.solution
}

impl Solver<'_> {
    fn solve_registry(&mut self, registry: &str, demands: &[Demand<'_>]) {
        let whole = self.candidates(demands, |demand, copy| {
            Some((Scope::Registry, prefix_of(&copy.path, demand.source.repository())?.to_owned()))
        });
        match self.runtime.reach() {
            Reach::Registry | Reach::DockerHub | Reach::Written => self.choose(demands, whole, MOST_PLACES),
            Reach::Subtree | Reach::Repository => self.solve_repositories(registry, demands, whole),
        }
        self.explain(demands);
    }

    /// One rule for the registry if it does as much as one for each repository.
    fn solve_repositories(&mut self, registry: &str, demands: &[Demand<'_>], whole: BTreeMap<Rule, BTreeSet<usize>>) {
        let (scope, most): (fn(String) -> Scope, _) = match self.runtime.reach() {
            Reach::Repository => (Scope::Repository, 1),
            _ => (Scope::Subtree, MOST_PLACES),
        };
        let single = self.candidates(demands, |demand, copy| {
            Some((scope(demand.source.repository().to_owned()), copy.path.clone()))
        });
        let servable: BTreeSet<usize> = single.values().flatten().copied().collect();
        if let Some((rule, served)) = whole.into_iter().find(|(_, served)| served.is_superset(&servable)) {
            return self.choose(demands, BTreeMap::from([(rule, served)]), 1);
        }
        let mut repositories = BTreeMap::<Scope, BTreeMap<Rule, BTreeSet<usize>>>::new();
        for (rule, served) in single {
            repositories.entry(rule.scope.clone()).or_default().insert(rule, served);
        }
        for candidates in repositories.into_values() {
            self.choose(demands, candidates, most);
        }
        if self.runtime == Runtime::K3s {
            self.shadow(registry);
        }
    }

    /// All rules that serve any of the images, with those that they serve.
    fn candidates(
        &mut self,
        demands: &[Demand<'_>],
        place: impl Fn(&Demand<'_>, &ImageCopy) -> Option<(Scope, String)>,
    ) -> BTreeMap<Rule, BTreeSet<usize>> {
        let mut candidates = BTreeMap::<Rule, BTreeSet<usize>>::new();
        for (index, demand) in demands.iter().enumerate() {
            for copy in &demand.image.copies {
                let Some((scope, mirror)) = place(demand, copy) else { continue };
                let Some(rule) = self.possible(demand.source.registry(), scope, mirror).rule else { continue };
                if serves(&rule, demand, copy) {
                    candidates.entry(rule).or_default().insert(index);
                }
            }
        }
        candidates
    }

    fn possible(&mut self, registry: &str, scope: Scope, mirror: String) -> Possible {
        let key = (registry.to_owned(), scope, mirror);
        if let Some(known) = self.known.get(&key) {
            return known.clone();
        }
        let (registry, scope, mirror) = key.clone();
        let is_hub = canonical_registry(&registry) == "docker.io";
        let is_expressible = match self.runtime.reach() {
            Reach::DockerHub => registry == "docker.io" && mirror.is_empty(),
            // One of k3s's two readers of rewrites puts `library/` before a repository of Docker Hub without a slash.
            Reach::Repository => !is_hub || scope == Scope::Registry || mirror.contains('/'),
            Reach::Registry | Reach::Subtree | Reach::Written => true,
        };
        let mut rule = Rule { registry, scope, mirror, tags: true };
        let foreign = self.holdings.foreign(&rule, self.host);
        rule.tags = !self.digests_only && foreign.is_none();
        let is_safe = rule.tags || self.runtime.can_leave_tags();
        let possible = Possible { rule: (is_expressible && is_safe).then_some(rule), foreign };
        self.known.insert(key, possible.clone());
        possible
    }

    /// The fewest rules that serve the most: again and again the one that serves most of the rest.
    fn choose(&mut self, demands: &[Demand<'_>], mut candidates: BTreeMap<Rule, BTreeSet<usize>>, most: usize) {
        for _ in 0..most {
            // Of equals the first.
            let best = candidates.iter().rev().max_by_key(|(_, served)| served.len());
            let Some((rule, served)) = best.filter(|(_, served)| !served.is_empty()) else { return };
            let (rule, served) = (rule.clone(), served.clone());
            for others in candidates.values_mut() {
                others.retain(|index| !served.contains(index));
            }
            for demand in served.iter().filter_map(|index| demands.get(*index)) {
                let copy = demand.image.copies.iter().find(|copy| {
                    rule.repository_at(&copy.path).as_deref() == Some(demand.source.repository())
                        && serves(&rule, demand, copy)
                });
                if let Some(copy) = copy {
                    self.solution.covered.insert(demand.name.to_owned(), copy.clone());
                }
            }
            if !rule.tags && !self.digests_only {
                let possible = self.possible(&rule.registry, rule.scope.clone(), rule.mirror.clone());
                self.solution.foreign.extend(possible.foreign);
            }
            self.solution.rules.push(rule);
        }
    }

    /// k3s asks the mirror for a repository that no rewrite matches too, under its own name. Where that is another name's, a
    /// rewrite leads it to a place that holds nothing.
    fn shadow(&mut self, registry: &str) {
        let rewritten: BTreeSet<&str> = self
            .solution
            .rules
            .iter()
            .filter(|rule| rule.registry == registry)
            .filter_map(|rule| match &rule.scope {
                Scope::Repository(repository) => Some(repository.as_str()),
                Scope::Registry | Scope::Subtree(_) => None,
            })
            .collect();
        if rewritten.is_empty() {
            return;
        }
        let first = |path: &str| path.split('/').next().unwrap_or_default().to_owned();
        let rewritten_firsts: BTreeSet<String> = rewritten.iter().map(|repository| first(repository)).collect();
        let mut shadowed = BTreeSet::new();
        for repository in self.holdings.unchanged_foreign(registry).filter(|path| !rewritten.contains(path)) {
            let first = first(repository);
            // One pattern may not match what another rewrites: their order is not defined.
            shadowed.insert(match rewritten_firsts.contains(&first) {
                true => format!("^{}$", escaped(repository)),
                false => format!("^{}(/.*)?$", escaped(&first)),
            });
        }
        if !shadowed.is_empty() {
            self.solution.shadowed.insert(registry.to_owned(), shadowed.into_iter().collect());
        }
    }

    /// Notes why images that the mirror has are left out.
    fn explain(&mut self, demands: &[Demand<'_>]) {
        for demand in demands {
            if self.solution.covered.contains_key(demand.name) {
                continue;
            }
            let Some(obstacle) = demand.image.copies.iter().map(|copy| self.obstacle(demand, copy)).min() else {
                continue;
            };
            if let Obstacle::Foreign { foreign, .. } = &obstacle {
                self.solution.foreign.insert(foreign.clone());
            }
            self.solution.obstacles.insert(demand.name.to_owned(), obstacle);
        }
    }

    fn obstacle(&mut self, demand: &Demand<'_>, copy: &ImageCopy) -> Obstacle {
        let (registry, repository) = (demand.source.registry(), demand.source.repository());
        let place = format!("{}/{}", self.host, copy.path);
        if !demand.image.is_by_digest() {
            match &copy.tag {
                _ if self.digests_only => return Obstacle::Tag,
                Some(tag) if demand.source.tag() != Some(tag) => return Obstacle::OtherTag(tag.clone()),
                _ => {}
            }
        }
        let prefix = prefix_of(&copy.path, repository).map(str::to_owned);
        let (scope, mirror) = match (self.runtime.reach(), prefix) {
            (Reach::DockerHub, _) if registry != "docker.io" => return Obstacle::NotDockerHub,
            (Reach::DockerHub, prefix) if prefix.as_deref() != Some("") => return Obstacle::Path(place),
            (Reach::Registry | Reach::DockerHub | Reach::Written, None) => {
                let repository = repository.to_owned();
                return Obstacle::NoPrefix { runtime: self.runtime.title(), place, repository };
            }
            (Reach::Registry | Reach::DockerHub | Reach::Written, Some(prefix)) => (Scope::Registry, prefix),
            (Reach::Repository, _) if canonical_registry(registry) == "docker.io" && !copy.path.contains('/') => {
                return Obstacle::NoSlash(place);
            }
            (Reach::Subtree, _) => (Scope::Subtree(repository.to_owned()), copy.path.clone()),
            (Reach::Repository, _) => (Scope::Repository(repository.to_owned()), copy.path.clone()),
        };
        let subject =
            Rule { registry: registry.to_owned(), scope: scope.clone(), mirror: String::new(), tags: true }.subject();
        match self.possible(registry, scope, mirror).foreign {
            Some(foreign) => Obstacle::Foreign { subject, foreign },
            None if self.runtime.reach() == Reach::Repository => Obstacle::TooMany { subject, limit: 1 },
            None => Obstacle::TooMany { subject, limit: MOST_PLACES },
        }
    }
}

/// Whether the rule, which leads to the repository of `copy`, gives the image that `demand` names.
fn serves(rule: &Rule, demand: &Demand<'_>, copy: &ImageCopy) -> bool {
    demand.image.is_by_digest() || (rule.tags && copy.tag.as_deref() == demand.source.tag())
}
